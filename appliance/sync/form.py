"""The form in which a destination gets segmentations, and the UIDs that belong to it.

The same review in the same form has the same UIDs in every try; in another form it has others,
since under one UID only one object may ever be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Literal

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from appliance.config import Destination
from appliance.sync import modules
from appliance.sync.modules import Kind
from appliance.uids import derived_uid

_SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
}


@dataclass(frozen=True)
class Form:
    """How label maps are written down.

    Attributes
    ----------
    type
        SegmentationType: "BINARY" (one bit for each structure's pixel) or "LABELMAP" (a byte for
        each pixel, another SOP class; PS3.3 A.51).
    syntax
        Transfer syntax: "explicit", "deflated" or "rle".
    frames
        "all" that have a label map, or "ed-es": end-diastole and end-systole.
    objects
        "one", or "each": one for each structure.
    """

    type: Literal["BINARY", "LABELMAP"] = "BINARY"
    syntax: Literal["explicit", "deflated", "rle"] = "explicit"
    frames: Literal["all", "ed-es"] = "all"
    objects: Literal["one", "each"] = "one"

    @classmethod
    def of(cls, setting: Destination) -> Form:
        """Return the form that a destination wishes."""
        if setting.kind == "fhir":
            return PLAIN
        return cls(setting.seg_type, setting.seg_syntax, setting.seg_frames, setting.seg_objects)

    @classmethod
    def parse(cls, text: str) -> Form:
        """Return the form of a `key`."""
        return cls(*text.split())  # type: ignore[arg-type]  # only keys are ever stored

    @property
    def key(self) -> str:
        """What the ledger calls it."""
        return " ".join(astuple(self))

    @property
    def kind(self) -> Kind:
        """SOP class, modality, series number and transfer syntax of its objects."""
        made = modules.LABEL_MAP if self.type == "LABELMAP" else modules.SEGMENTATION
        return Kind(made.SOPClassUID, made.Modality, made.SeriesNumber, str(_SYNTAXES[self.syntax]))

    def indexes(self, drawn: Sequence[int], ed: int | None, es: int | None) -> list[int]:
        """Return the frames that are written, of those that have a label map (from 0, rising).

        Where neither end-diastole nor end-systole is known, all: a report must find what it
        names.
        """
        marked = [index for index in drawn if index in (ed, es)]
        return marked if self.frames == "ed-es" and marked else list(drawn)

    def derived(self, uid: str, purpose: str) -> str:
        """Return a UID for a purpose in this form; the review's own for the plain segmentation."""
        return uid if self == PLAIN else derived_uid(uid, f"{purpose}:{self.key}")


PLAIN = Form()
