"""What is watched for drift: one number a study each, of what goes in, comes out, and people do."""

from dataclasses import dataclass

INPUT, OUTPUT, PEOPLE = "input", "output", "people"


@dataclass(frozen=True)
class Feature:
    """One thing that is watched.

    Attributes
    ----------
    name
        In rows, files and figures.
    kind
        `INPUT`, `OUTPUT` or `PEOPLE`.
    words
        For people, in English.
    step
        Values are told to whole steps of it.
    """

    name: str
    kind: str
    words: str
    step: float = 0.01


# A study's value is the mean over its loops. Shares are of the study's loops, 0..1.
FEATURES = (
    Feature("brightness", INPUT, "brightness", 0.1),
    Feature("contrast", INPUT, "contrast", 0.1),
    Feature("fan_aspect", INPUT, "width of the sector"),
    Feature("fan_fill", INPUT, "shape of the sector"),
    Feature("depth_mm", INPUT, "depth", 1.0),
    Feature("unknown_scanner", INPUT, "scanners or software not seen before"),
    Feature("lv_area", OUTPUT, "area of the left ventricle", 0.001),
    Feature("wall_area", OUTPUT, "area of the myocardium", 0.001),
    Feature("la_area", OUTPUT, "area of the left atrium", 0.001),
    Feature("confidence_lv", OUTPUT, "confidence in the left ventricle", 0.001),
    Feature("confidence_wall", OUTPUT, "confidence in the myocardium", 0.001),
    Feature("confidence_la", OUTPUT, "confidence in the left atrium", 0.001),
    Feature("certainty", OUTPUT, "certainty along the outlines", 0.001),
    Feature("doubtful", OUTPUT, "frames with doubtful outlines"),
    Feature("refused", OUTPUT, "loops that a gate refused"),
    Feature("accepted", PEOPLE, "loops accepted as drawn"),
    Feature("correction", PEOPLE, "size of corrections", 0.001),
)
BY_NAME = {feature.name: feature for feature in FEATURES}
