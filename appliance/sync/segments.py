"""Segments: what a structure is called, in which colour it is drawn, and what drew it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from appliance.measures import draws_heart
from appliance.sync import codes
from appliance.sync.encode import Item, plain


@dataclass(frozen=True)
class Structure:
    """One structure of a label map, as the model's manifest names it.

    Attributes
    ----------
    label
        Its value in the label maps.
    name
        For people.
    code, meaning
        SNOMED CT concept (scheme SCT).
    colour
        sRGB, "#rrggbb".
    """

    label: int
    name: str
    code: str
    meaning: str
    colour: str

    @property
    def plain_name(self) -> str:
        """Its name as results write it: TrackingID, SegmentLabel."""
        return plain(self.name)[:64] or f"Structure {self.label}"

    @property
    def concept(self) -> codes.Code:
        """Its SNOMED CT concept."""
        return codes.Code(self.code, "SCT", plain(self.meaning)[:64] or self.plain_name)


@dataclass(frozen=True)
class Provenance:
    """What drew the label maps: the model, alone or corrected by a person.

    `algorithm_type` is SegmentAlgorithmType (PS3.3 C.8.20.2): AUTOMATIC when a person accepted
    the model's answer as it was, SEMIAUTOMATIC when corrected, MANUAL without a model.
    """

    model_name: str
    model_version: str
    model_sha256: str
    algorithm_type: Literal["AUTOMATIC", "SEMIAUTOMATIC", "MANUAL"]

    @property
    def summary(self) -> str:
        """A few words on what a person did with it."""
        if self.algorithm_type == "MANUAL":
            return "drawn by hand"
        return "corrected" if self.algorithm_type == "SEMIAUTOMATIC" else "accepted"


def draw_heart(structures: Sequence[Structure]) -> bool:
    """Tell whether these are the structures that are measured: by their codes, not their labels."""
    return draws_heart(asdict(structure) for structure in structures)


def subject(structures: Sequence[Structure]) -> str:
    """Say in a few words what was drawn, for SeriesDescription, which holds 64 characters."""
    if draw_heart(structures):
        return "Left heart"
    first, others = structures[0].plain_name[:20], len(structures) - 1
    return f"{first} and {others} more" if others else first


def segment(number: int, structure: Structure, provenance: Provenance, tracking_uid: str) -> Item:
    """Return an item of SegmentSequence (PS3.3 C.8.20.4).

    Parameters
    ----------
    number
        SegmentNumber, from 1.
    structure
        What the segment shows.
    provenance
        What drew it.
    tracking_uid
        The same for this structure in every segmentation of the loop: a correction is found to
        be about the same thing.
    """
    dataset = Item()
    dataset.SegmentNumber = number
    name = structure.plain_name
    dataset.SegmentLabel = name
    dataset.SegmentedPropertyCategoryCodeSequence = [codes.item(codes.ANATOMICAL_STRUCTURE)]
    dataset.SegmentedPropertyTypeCodeSequence = [codes.item(structure.concept)]
    dataset.SegmentAlgorithmType = provenance.algorithm_type
    if provenance.algorithm_type != "MANUAL":
        model = f"{provenance.model_name} {provenance.model_version}"
        dataset.SegmentAlgorithmName = plain(model)[:64]
        dataset.SegmentationAlgorithmIdentificationSequence = [_algorithm(provenance)]
    dataset.RecommendedDisplayCIELabValue = cielab(structure.colour)
    dataset.TrackingID = name
    dataset.TrackingUID = tracking_uid
    return dataset


def background(provenance: Provenance) -> Item:
    """Return the item of what no structure covers; a label map has pixels of it (PS3.3 C.8.20.2)."""
    dataset = Item()
    dataset.SegmentNumber = 0
    dataset.SegmentLabel = "Background"
    dataset.SegmentedPropertyCategoryCodeSequence = [codes.item(codes.BACKGROUND)]
    dataset.SegmentedPropertyTypeCodeSequence = [codes.item(codes.BACKGROUND)]
    dataset.SegmentAlgorithmType = provenance.algorithm_type
    if provenance.algorithm_type != "MANUAL":
        model = f"{provenance.model_name} {provenance.model_version}"
        dataset.SegmentAlgorithmName = plain(model)[:64]
    dataset.RecommendedDisplayCIELabValue = cielab("#000000")
    return dataset


def _algorithm(provenance: Provenance) -> Item:
    """Algorithm Identification Macro (PS3.3 10.16); the hash makes the model findable."""
    dataset = Item()
    dataset.AlgorithmFamilyCodeSequence = [codes.item(codes.ARTIFICIAL_INTELLIGENCE)]
    dataset.AlgorithmName = plain(provenance.model_name)[:64]
    dataset.AlgorithmVersion = plain(provenance.model_version)[:64]
    dataset.AlgorithmParameters = f"sha256={provenance.model_sha256}"
    return dataset


def cielab(colour: str) -> list[int]:
    """Return an sRGB colour as RecommendedDisplayCIELabValue (PS3.3 C.10.7.1.1).

    Parameters
    ----------
    colour
        "#rrggbb".

    Returns
    -------
    list of int
        L*, a*, b* scaled to 16 bits. Against the white of sRGB (D65), without the adaptation to
        D50 that the standard's reference to ICC implies: viewers turn it back this way.
    """
    red, green, blue = (_linear(int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))
    x = _cube_root((red * 0.4124 + green * 0.3576 + blue * 0.1805) / 0.95047)
    y = _cube_root(red * 0.2126 + green * 0.7152 + blue * 0.0722)
    z = _cube_root((red * 0.0193 + green * 0.1192 + blue * 0.9505) / 1.08883)
    lightness, a, b = 116 * y - 16, 500 * (x - y), 200 * (y - z)
    scaled = (lightness / 100, (a + 128) / 255, (b + 128) / 255)
    return [min(max(round(value * 65535), 0), 65535) for value in scaled]


def _linear(value: float) -> float:
    return ((value + 0.055) / 1.055) ** 2.4 if value > 0.04045 else value / 12.92


def _cube_root(value: float) -> float:
    return float(value ** (1 / 3)) if value > 0.008856 else 7.787 * value + 16 / 116
