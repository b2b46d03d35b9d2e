"""Two planes as one group of a TID 1500 report: what the four- and two-chamber loop give together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from appliance.measures import Biplane, Measures, biplane
from appliance.measures.chambers import LV
from appliance.sync import codes, modules
from appliance.sync.document import Reference, concept
from appliance.sync.encode import plain
from appliance.sync.findings import (
    Drawn,
    Quantity,
    algorithm,
    comment,
    unknown,
    with_reasons,
)

_BIPLANE = "biplane"


@dataclass(frozen=True)
class OtherView:
    """The accepted loop of the other apical view.

    Attributes
    ----------
    loop
        The object.
    multi_frame
        Whether it has frames to number.
    view
        "A4C" or "A2C".
    measures
        In force when the report's own loop was decided on.
    reviewer, report
        Who had accepted it; the SOPInstanceUID of the report of that decision.
    """

    loop: Reference
    multi_frame: bool
    view: str
    measures: Measures
    reviewer: str
    report: str


def group(measures: Measures, drawn: Drawn, other: OtherView) -> Any:
    """Return the measurement group (PS3.16 TID 1501) of two planes.

    It names both loops and the decision it rests on: when that is replaced, a reader can tell.
    """
    from highdicom.sr import (
        FindingSite,
        MeasurementsAndQualitativeEvaluations,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    found = together(measures, drawn, other)
    site = drawn.structures[drawn.measured(LV)]
    numbers = quantities(found)
    images = [(each.SOPClassUID, each.SOPInstanceUID) for each in (drawn.loop, other.loop)]
    made = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            modules.tracking_uid(drawn.loop.SOPInstanceUID, _BIPLANE), f"{site.plain_name}, biplane"
        ),
        finding_category=concept(codes.ANATOMICAL_STRUCTURE),
        finding_type=concept(site.concept),
        finding_sites=[FindingSite(concept(site.concept))],
        algorithm_id=algorithm(drawn.provenance),
        measurements=[
            _measurement(item, measures, drawn, other) for item in numbers if item.value is not None
        ],
        qualitative_evaluations=unknown(numbers),
        source_images=[SourceImageForMeasurementGroup(*image) for image in images],
    )
    who = plain(other.reviewer)
    comment(made, f"Biplane with the {other.view} loop as accepted by {who}, report {other.report}")
    return with_reasons(made, found.withheld, numbers)


def together(measures: Measures, drawn: Drawn, other: OtherView) -> Biplane:
    """Return what the two loops give."""
    of_view = {drawn.view: measures, other.view: other.measures}
    return biplane(of_view["A4C"], of_view["A2C"])


def quantities(found: Biplane) -> list[Quantity]:
    """Return every number of two planes, those withheld without a value."""
    ml, disks = codes.MILLILITRE, codes.BIPLANE_DISKS
    atrium = codes.ATRIAL_VOLUME, ml, codes.BIPLANE_AREA_LENGTH
    named = (
        ("ef_percent", codes.EJECTION_FRACTION, codes.PERCENT, disks),
        ("edv_ml", codes.END_DIASTOLIC_VOLUME, ml, disks),
        ("esv_ml", codes.END_SYSTOLIC_VOLUME, ml, disks),
        ("stroke_volume_ml", codes.STROKE_VOLUME, ml, disks),
        ("la_volume_ml", *atrium),
    )
    return [Quantity(*each, getattr(found, each[0])) for each in named]


def _measurement(quantity: Quantity, measures: Measures, drawn: Drawn, other: OtherView) -> Any:
    from highdicom.sr import Measurement, SourceImageForMeasurement

    assert quantity.value is not None
    planes = (
        (drawn.loop, drawn.multi_frame, measures),
        (other.loop, other.multi_frame, other.measures),
    )
    return Measurement(
        concept(quantity.concept),
        quantity.value,
        concept(quantity.unit),
        method=concept(quantity.method) if quantity.method else None,
        referenced_images=[
            SourceImageForMeasurement(
                loop.SOPClassUID, loop.SOPInstanceUID, _frames(each) if multi_frame else None
            )
            for loop, multi_frame, each in planes
        ],
    )


def _frames(measures: Measures) -> list[int]:
    marks = (measures.ed_frame, measures.es_frame)
    return sorted(frame + 1 for frame in marks if frame is not None)
