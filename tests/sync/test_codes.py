"""The table of codes says what PS3.16 says."""

import pytest
from pydicom.sr.codedict import codes as standard

from appliance.sync import codes


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (codes.ANATOMICAL_STRUCTURE, standard.SCT.AnatomicalStructure),
        (codes.ARTIFICIAL_INTELLIGENCE, standard.DCM.ArtificialIntelligence),
        (codes.PROCESSING_EQUIPMENT, standard.DCM.ProcessingEquipment),
        (codes.SEGMENTATION, standard.DCM.SegmentationImageDerivation),
        (codes.SOURCE_IMAGE, standard.DCM.SourceImageForImageProcessingOperation),
    ],
)
def test_codes_are_those_of_the_standard(ours, theirs):
    assert ours == (theirs.value, theirs.scheme_designator, theirs.meaning)
