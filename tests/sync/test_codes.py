"""The table of codes says what PS3.16 says."""

import pytest
from pydicom.sr.codedict import codes as standard

from appliance.sync import codes


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (codes.ANATOMICAL_STRUCTURE, standard.SCT.AnatomicalStructure),
        (codes.ARTIFICIAL_INTELLIGENCE, standard.DCM.ArtificialIntelligence),
        (codes.BACKGROUND, standard.DCM.Background),
        (codes.PROCESSING_EQUIPMENT, standard.DCM.ProcessingEquipment),
        (codes.SEGMENTATION, standard.DCM.SegmentationImageDerivation),
        (codes.SOURCE_IMAGE, standard.DCM.SourceImageForImageProcessingOperation),
        (codes.ECHOCARDIOGRAPHY, standard.SCT.Echocardiography),
        (codes.EJECTION_FRACTION, standard.LN.LeftVentricularEjectionFractionByUS),
        (codes.END_DIASTOLIC_VOLUME, standard.LN.LeftVentricularEndDiastolicVolume),
        (codes.END_SYSTOLIC_VOLUME, standard.LN.LeftVentricularEndSystolicVolume),
        (codes.DIASTOLIC_AREA, standard.SCT.LeftVentricularDiastolicArea),
        (codes.SYSTOLIC_AREA, standard.SCT.LeftVentricularSystolicArea),
        (codes.ATRIAL_VOLUME, standard.SCT.LeftAtriumSystolicVolume),
        (codes.DISKS, standard.DCM.MethodOfDisksSinglePlane),
        (codes.AREA_LENGTH, standard.DCM.AreaLengthSinglePlane),
        (codes.STROKE_VOLUME, standard.SCT.StrokeVolume),
        (codes.BIPLANE_DISKS, standard.DCM.MethodOfDisksBiplane),
        (codes.BIPLANE_AREA_LENGTH, standard.DCM.AreaLengthBiplane),
        (codes.IMAGE_VIEW, standard.DCM.ImageView),
        (codes.VIEWS["A4C"], standard.SCT.ApicalFourChamber),
        (codes.VIEWS["A2C"], standard.SCT.ApicalTwoChamber),
        (codes.VALUE_UNKNOWN, standard.DCM.ValueUnknown),
        (codes.COMMENT, standard.DCM.Comment),
        (codes.PERCENT, standard.UCUM.Percent),
        (codes.SQUARE_CENTIMETRE, standard.UCUM.SquareCentimeter),
        (codes.REJECTED_FOR_QUALITY, standard.DCM.RejectedForQualityReasons),
    ],
)
def test_codes_are_those_of_the_standard(ours, theirs):
    assert ours == (theirs.value, theirs.scheme_designator, theirs.meaning)
