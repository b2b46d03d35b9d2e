"""Measurements as the groups of a TID 1500 report: about which structure, on which frame, how.

A withheld number is told as "Value unknown" with its reason in words: a numeric item without a
value is legal too, and stops common readers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from appliance.errors import DeliveryError
from appliance.measures import Measures
from appliance.measures.chambers import LA, LV
from appliance.sync import codes, modules
from appliance.sync.codes import Code
from appliance.sync.document import Reference, concept
from appliance.sync.encode import plain
from appliance.sync.segments import Provenance, Structure, draw_heart

if TYPE_CHECKING:
    from highdicom.sr import AlgorithmIdentification, Measurement, SourceImageForSegmentation

_UNTOLD = "The reason was not recorded."


@dataclass(frozen=True)
class Drawn:
    """The label maps behind the numbers, as the segmentation holds them.

    Attributes
    ----------
    loop
        The object.
    segmentations
        One object that holds every structure, or one for each.
    indexes
        Frames of the loop (from 0) that a segmentation holds, rising.
    structures
        Its segments, in order.
    provenance
        What drew them.
    multi_frame
        Whether the loop has frames to number.
    view, view_by
        What the review was about: "A4C", "A2C" or "" when it isn't known; and the person who had
        set it, "" when the model told it.
    label_maps
        Whether a frame shows every structure of its object, and not one.
    """

    loop: Reference
    segmentations: Sequence[Reference]
    indexes: Sequence[int]
    structures: Sequence[Structure]
    provenance: Provenance
    multi_frame: bool
    view: str = ""
    view_by: str = ""
    label_maps: bool = False

    def segment(self, place: int) -> tuple[Reference, int]:
        """Return the object that holds a structure (from 0), and its SegmentNumber there."""
        if len(self.segmentations) == 1:
            return self.segmentations[0], place + 1
        return self.segmentations[place], 1

    def frame_number(self, place: int, frame: int) -> int:
        """Return the number (from 1) that a structure's frame has in its segmentation."""
        # As `bits.pack` orders them: all frames of the first segment, then all of the second.
        before = 0 if self.label_maps else (self.segment(place)[1] - 1) * len(self.indexes)
        return before + list(self.indexes).index(frame) + 1

    def measured(self, label: int) -> int:
        """Return where a measured structure stands among the segments, from 0.

        Raises
        ------
        NothingToReport
            When these aren't the structures that are measured, whatever their label values.
        """
        if not draw_heart(self.structures):
            raise NothingToReport(
                "build a report",
                "its model draws other structures than the apical heart, of which nothing is measured",
                "The masks are in the segmentation.",
            )
        return [structure.label for structure in self.structures].index(label)


class NothingToReport(DeliveryError):
    """A report would be empty; `subject` says why."""


@dataclass(frozen=True)
class Quantity:
    """A number with what it is, its unit and its method; `name` is the measure's in `withheld`."""

    name: str
    concept: Code
    unit: Code
    method: Code | None
    value: float | None


def groups(measures: Measures, drawn: Drawn) -> list[Any]:
    """Return the measurement groups (PS3.16 TID 1410, 1411), in the order a person reads them.

    The ejection fraction is about the ventricle of the whole loop; volumes and areas are about
    a structure on the frame they were measured on. What was measured on no frame is told with
    the loop.

    Raises
    ------
    NothingToReport
        When the model draws other structures than the apical heart.
    """
    ed, es = measures.ed_frame, measures.es_frame
    ventricle, atrium = drawn.measured(LV), drawn.measured(LA)
    on_frame: list[tuple[int, int | None, list[Quantity]]] = [
        (ventricle, ed, [_edv(measures), _area(measures, ed, codes.DIASTOLIC_AREA)]),
        (ventricle, es, [_esv(measures), _area(measures, es, codes.SYSTOLIC_AREA)]),
        (atrium, es, [_atrial(measures)]),
    ]
    whole, made = [_ef(measures), *_stroke(measures)], []
    for place, frame, quantities in on_frame:
        known = [item for item in quantities if item.value is not None or item.name]
        if frame not in drawn.indexes:
            whole += known
        else:
            made.append(_on_frame(measures, drawn, place, frame, known))
    return [_on_loop(measures, drawn, ventricle, whole), *made]


def quantities(measures: Measures) -> list[tuple[int, Quantity]]:
    """Return every number with the label of the structure it is about, in reading order.

    Those withheld are among them, without a value; an area nobody could measure is left out.
    """
    ed, es = measures.ed_frame, measures.es_frame
    areas = _area(measures, ed, codes.DIASTOLIC_AREA), _area(measures, es, codes.SYSTOLIC_AREA)
    ventricle = [_ef(measures), *_stroke(measures), _edv(measures), _esv(measures)]
    ventricle += [area for area in areas if area.value is not None]
    return [*((LV, item) for item in ventricle), (LA, _atrial(measures))]


def _ef(measures: Measures) -> Quantity:
    value = measures.ef_percent
    return Quantity("ef_percent", codes.EJECTION_FRACTION, codes.PERCENT, codes.DISKS, value)


def _stroke(measures: Measures) -> list[Quantity]:
    """What follows from two volumes is told where it is known, or was withheld for a reason."""
    name, value = "stroke_volume_ml", measures.stroke_volume_ml
    told = value is not None or name in measures.withheld
    made = Quantity(name, codes.STROKE_VOLUME, codes.MILLILITRE, codes.DISKS, value)
    return [made] if told else []


def _edv(measures: Measures) -> Quantity:
    name, value = codes.END_DIASTOLIC_VOLUME, measures.edv_ml
    return Quantity("edv_ml", name, codes.MILLILITRE, codes.DISKS, value)


def _esv(measures: Measures) -> Quantity:
    name, value = codes.END_SYSTOLIC_VOLUME, measures.esv_ml
    return Quantity("esv_ml", name, codes.MILLILITRE, codes.DISKS, value)


def _atrial(measures: Measures) -> Quantity:
    name, value = codes.ATRIAL_VOLUME, measures.la_volume_ml
    return Quantity("la_volume_ml", name, codes.MILLILITRE, codes.AREA_LENGTH, value)


def _area(measures: Measures, frame: int | None, name: Code) -> Quantity:
    """The cavity's area on a frame; nothing without a calibration, whose absence is told once."""
    curve = measures.lv_area_curve
    there = measures.area_unit == "cm2" and frame is not None and frame < len(curve)
    value = curve[frame] if there and frame is not None else None
    return Quantity("", name, codes.SQUARE_CENTIMETRE, None, value)


def _on_loop(measures: Measures, drawn: Drawn, place: int, quantities: list[Quantity]) -> Any:
    """A structure through the whole loop (TID 1411)."""
    from highdicom.sr import (
        ReferencedSegment,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    held_by, number = drawn.segment(place)
    segment = ReferencedSegment(
        held_by.SOPClassUID,
        held_by.SOPInstanceUID,
        number,
        source_images=[_source_image(drawn, None)],
    )
    marks = [frame for frame in (measures.ed_frame, measures.es_frame) if frame is not None]
    group = VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=segment, **_about(measures, drawn, place, quantities, marks)
    )
    if drawn.view_by:
        comment(group, f"Image View: set by {plain(drawn.view_by)}")
    return with_reasons(group, measures.withheld, quantities)


def _on_frame(
    measures: Measures, drawn: Drawn, place: int, frame: int | None, quantities: list[Quantity]
) -> Any:
    """A structure on one frame (TID 1410)."""
    from highdicom.sr import (
        PlanarROIMeasurementsAndQualitativeEvaluations,
        ReferencedSegmentationFrame,
    )

    assert frame is not None
    held_by, number = drawn.segment(place)
    segment = ReferencedSegmentationFrame(
        held_by.SOPClassUID,
        held_by.SOPInstanceUID,
        drawn.frame_number(place, frame),
        number,
        _source_image(drawn, frame),
    )
    # A reference names one or the other (PS3.3 10.3). Which segment of a label map's frame it is
    # tells the tracking UID.
    del segment[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=segment, **_about(measures, drawn, place, quantities, [frame])
    )
    return with_reasons(group, measures.withheld, quantities)


def _about(
    measures: Measures,
    drawn: Drawn,
    place: int,
    quantities: list[Quantity],
    frames: list[int],
) -> dict[str, Any]:
    """What the two kinds of group have alike: what it is, what drew it, the numbers."""
    from highdicom.sr import FindingSite, TrackingIdentifier

    structure, model = drawn.structures[place], drawn.provenance
    uid = modules.tracking_uid(drawn.loop.SOPInstanceUID, structure.code)
    return {
        "tracking_identifier": TrackingIdentifier(uid, structure.plain_name),
        "finding_category": concept(codes.ANATOMICAL_STRUCTURE),
        "finding_type": concept(structure.concept),
        "finding_sites": [FindingSite(concept(structure.concept))],
        "algorithm_id": algorithm(model),
        "measurements": [
            _measurement(item, drawn, frames) for item in quantities if item.value is not None
        ],
        "qualitative_evaluations": [*_view(drawn), *unknown(quantities)],
    }


def algorithm(model: Provenance) -> AlgorithmIdentification:
    """Return what drew the structures (PS3.16 TID 4019)."""
    from highdicom.sr import AlgorithmIdentification

    return AlgorithmIdentification(
        plain(model.model_name),
        plain(model.model_version),
        [f"sha256={model.model_sha256}"],
        concept(codes.ARTIFICIAL_INTELLIGENCE),
    )


def unknown(quantities: Sequence[Quantity]) -> list[Any]:
    """Return an evaluation for each number that is withheld."""
    from highdicom.sr import QualitativeEvaluation

    return [
        QualitativeEvaluation(concept(item.concept), concept(codes.VALUE_UNKNOWN))
        for item in quantities
        if item.value is None
    ]


def _view(drawn: Drawn) -> list[Any]:
    """The view the numbers were taken in: a volume of one plane means little without it."""
    from highdicom.sr import QualitativeEvaluation

    code = codes.VIEWS.get(drawn.view)
    return [QualitativeEvaluation(concept(codes.IMAGE_VIEW), concept(code))] if code else []


def _measurement(quantity: Quantity, drawn: Drawn, frames: list[int]) -> Measurement:
    from highdicom.sr import Measurement, SourceImageForMeasurement

    assert quantity.value is not None
    numbers = [frame + 1 for frame in frames] if drawn.multi_frame and frames else None
    image = (drawn.loop.SOPClassUID, drawn.loop.SOPInstanceUID)
    return Measurement(
        concept(quantity.concept),
        quantity.value,
        concept(quantity.unit),
        method=concept(quantity.method) if quantity.method else None,
        referenced_images=[SourceImageForMeasurement(*image, numbers)],
    )


def _source_image(drawn: Drawn, frame: int | None) -> SourceImageForSegmentation:
    from highdicom.sr import SourceImageForSegmentation

    numbers = None if frame is None or not drawn.multi_frame else [frame + 1]
    return SourceImageForSegmentation(drawn.loop.SOPClassUID, drawn.loop.SOPInstanceUID, numbers)


def with_reasons(group: Any, withheld: Mapping[str, str], quantities: Sequence[Quantity]) -> Any:
    """Say why a number is withheld, in the words that the reviewer saw."""
    for item in quantities:
        if item.value is None:
            reason = plain(withheld.get(item.name, "")) or _UNTOLD
            comment(group, f"{item.concept.meaning}: {reason}")
    return group


def comment(group: Any, text: str) -> None:
    """Add a sentence to a group."""
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    item = TextContentItem(concept(codes.COMMENT), text, RelationshipTypeValues.CONTAINS)
    group[0].ContentSequence.append(item)
