"""What an object says about itself, whatever state its values are in."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset


def _quiet_pydicom() -> None:
    """Keep pydicom from writing values, which may be patient data, to logs and stderr."""
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom\.")


_quiet_pydicom()


@dataclass(frozen=True)
class Identity:
    """What an object says about itself; "" (or 0) where it says nothing readable.

    Names are DICOM keywords. `PatientName` is decoded by SpecificCharacterSet, all component
    groups kept and joined by "=" (PS3.5 6.2.1.1). `ContentDateTime` is ContentDate and
    ContentTime as written, one after the other, or AcquisitionDateTime where they are missing.
    """

    SOPInstanceUID: str = ""
    SOPClassUID: str = ""
    StudyInstanceUID: str = ""
    SeriesInstanceUID: str = ""
    PatientID: str = ""
    PatientName: str = ""
    PatientBirthDate: str = ""
    Modality: str = ""
    Manufacturer: str = ""
    ManufacturerModelName: str = ""
    SeriesNumber: str = ""
    InstanceNumber: str = ""
    SeriesDescription: str = ""
    TimezoneOffsetFromUTC: str = ""
    ContentDateTime: str = ""
    NumberOfFrames: int = 0
    Rows: int = 0
    Columns: int = 0


_LONGEST_IS = 12
_NUMBERS = ("NumberOfFrames", "Rows", "Columns")
_TEXTS = [one.name for one in fields(Identity) if one.name not in (*_NUMBERS, "ContentDateTime")]
# What `identity` reads: enough of a data set for who and what an object is.
KEYWORDS = frozenset(
    [
        *(*_TEXTS, *_NUMBERS),
        *("SpecificCharacterSet", "ContentDate", "ContentTime", "AcquisitionDateTime"),
    ]
)


def text(dataset: Dataset, keyword: str) -> str:
    """An element's value as text, several joined by a backslash; "" when missing.

    Never raises: a value its VR or SpecificCharacterSet doesn't allow is decoded with
    replacement characters, as written.
    """
    tag = tag_for_keyword(keyword)
    if tag is None:
        return ""
    try:
        value = dataset[tag].value if tag in dataset else None
        if value is None:
            return ""
        if isinstance(value, (list, pydicom.multival.MultiValue)):
            return "\\".join(str(part) for part in value).strip("\0 ")
        return str(value).strip("\0 ")
    except Exception:  # noqa: BLE001
        # Whatever pydicom makes of a garbled value, the receiver and the page go on without it.
        return _as_written(dataset, tag)


def _as_written(dataset: Dataset, tag: int) -> str:
    try:
        raw = dataset.get_item(tag)
    except Exception:  # noqa: BLE001
        # Only reached when even the bytes are out of reach: then there is nothing to show.
        return ""
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):
        return raw.value.decode("ascii", "replace").strip("\0 ")
    return ""


def number(dataset: Dataset, keyword: str) -> float:
    """An element's (first) value as a finite number; 0.0 when missing or unreadable."""
    return _number(text(dataset, keyword))


def whole_number(text: str) -> int:
    """Return an Integer String (PS3.5 6.2) as a number; 0 when it is none."""
    try:
        return int(text) if len(text) <= _LONGEST_IS else 0
    except ValueError:
        return 0


def _number(written: str) -> float:
    try:
        value = float(written.split("\\")[0])
    except ValueError:
        return 0.0
    return value if abs(value) < float("inf") else 0.0  # also false for NaN


def identity(dataset: Dataset) -> Identity:
    """What an object says about itself; never raises."""
    return identity_of(lambda keyword: text(dataset, keyword))


def identity_of(text: Callable[[str], str]) -> Identity:
    """What an object says about itself.

    Parameters
    ----------
    text
        Gives the value of a keyword, as this module's `text` does.
    """
    values: dict[str, str | int] = {keyword: text(keyword) for keyword in _TEXTS}
    for keyword in _NUMBERS:
        values[keyword] = max(0, int(_number(text(keyword))))
    when = text("ContentDate") + text("ContentTime")
    values["ContentDateTime"] = when or text("AcquisitionDateTime")
    return Identity(**values)  # type: ignore[arg-type]
