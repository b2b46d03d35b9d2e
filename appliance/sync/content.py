"""Whether an object that comes back is the one that was sent, however its bytes are arranged.

A server stores the elements, not the file: it may write sequence lengths, group lengths, padding
and the preamble its own way. Two data sets are alike here when each element that carries meaning
has the same value, compared as bytes; pixel data too. A PACS may besides add elements of its own
and reconcile whose study it is with the hospital's records (coercion, PS3.4 B.4.1).
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import STR_VR

from appliance.part10 import Identity, read_identity
from appliance.sync.originals import Original
from appliance.sync.seg import Part10

_HEAD = 16384  # bytes read at once: all but the pixels of nearly every object
_TRAILING_PADDING = Tag(0xFFFC, 0xFFFC)
# What a PACS may change when it files an object: whose it is, never what it shows.
RECONCILED = frozenset(
    Tag(keyword)
    for keyword in (
        *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
        *("AccessionNumber", "StudyID", "StudyDescription", "ReferringPhysicianName"),
    )
)

Content = dict[BaseTag, str]  # SHA-256 of each element's value


@contextmanager
def on_disk(result: Part10) -> Iterator[Path]:
    """Give the object as a file: an original where it lies, anything else in memory alone."""
    if isinstance(result, Original):
        yield result.path
        return
    with os.fdopen(os.memfd_create("result"), "wb") as stream:
        result.write_to(stream)
        stream.flush()
        yield Path(f"/proc/self/fd/{stream.fileno()}")


def identity_of(path: Path) -> Identity:
    """Return the UIDs of an object's file.

    Raises
    ------
    Part10Error
        When it isn't a whole DICOM file.
    """
    with path.open("rb", buffering=0) as stream:
        return read_identity(stream.fileno(), stream.read(_HEAD))[0]


def uids_of(result: Part10) -> tuple[str, str, str]:
    """Return StudyInstanceUID, SeriesInstanceUID and SOPInstanceUID of an object."""
    with on_disk(result) as path:
        found = identity_of(path)
    return found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID


def content(dataset: Dataset) -> Content:
    """Return what a data set says, without how it is written down."""
    found = {}
    for tag in sorted(dataset.keys()):
        if tag.element == 0 or tag.group == 2 or tag == _TRAILING_PADDING:
            continue  # group lengths, file meta information, padding (PS3.5 7.2, PS3.10 7.1, 7.2)
        found[tag] = hashlib.sha256(_value(dataset, tag)).hexdigest()
    return found


def is_the_same(sent: Content, there: Content) -> bool:
    """Tell whether two data sets say the same."""
    return sent == there


def is_filed(sent: Content, there: Content) -> bool:
    """Tell whether a PACS holds what was sent, be it filed under a corrected identity."""
    return all(there.get(tag) == value for tag, value in sent.items() if tag not in RECONCILED)


def _value(dataset: Dataset, tag: BaseTag) -> bytes:
    raw = dataset.get_item(tag)
    if isinstance(raw, RawDataElement) and (vr := _vr(raw)) != "SQ":
        value = raw.value or b""
        # Padding to an even length (PS3.5 6.2) belongs to no text; in binary values each byte counts.
        return value.rstrip(b" \0") if vr in STR_VR else value
    element = dataset[tag]
    if element.VR == "SQ":
        return repr([sorted(content(item).items()) for item in element.value]).encode()
    return repr(element.value).encode()


def _vr(raw: RawDataElement) -> str:
    if raw.VR not in (None, "UN"):
        return str(raw.VR)
    try:
        return dictionary_VR(raw.tag)
    except KeyError:
        return "UN"  # a private element
