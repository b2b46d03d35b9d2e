"""Patient and study, taken over from a source byte for byte.

A name in a character set we don't know, or in another one than SpecificCharacterSet says, must
arrive as it came: values are never decoded. Text bytes are the same in every transfer syntax;
binary numbers inside sequences are turned where the source is big endian.
"""

import unicodedata
from collections.abc import Iterable

import numpy as np
from pydicom import charset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

from appliance.sync.encode import Elements, element, joined, sequence

# Type 1 and 2 attributes of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1) are
# written even when the source lacks them; the others only when it has them.
_REQUIRED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID"),
    "AccessionNumber",
)
_OPTIONAL = (
    "SpecificCharacterSet",
    *("IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
    *("PatientBirthTime", "OtherPatientIDsSequence", "OtherPatientNames", "EthnicGroup"),
    *("PatientAge", "PatientSize", "PatientWeight"),
    *("StudyDescription", "IssuerOfAccessionNumberSequence", "PhysiciansOfRecord"),
    *("ReferencedStudySequence", "ProcedureCodeSequence"),
)
_LONGEST = 0xFFFE  # bytes of a value with a 16-bit length field
_WIDTH = {
    **dict.fromkeys(["US", "SS", "OW", "AT"], 2),
    **dict.fromkeys(["UL", "SL", "FL", "OF", "OL"], 4),
    **dict.fromkeys(["FD", "OD", "UV", "SV", "OV"], 8),
}
_CHARACTER_SET = Tag("SpecificCharacterSet")
_DEEPEST = 8


def patient_and_study(source: Dataset, little_endian: bool) -> Elements:
    """Return the elements that every object of a study shares.

    Parameters
    ----------
    source
        Header of the source, as read: an element that was looked at is decoded, and only raw
        ones are sure to keep their bytes.
    little_endian
        Byte order of the source.

    Returns
    -------
    dict
        Tag to encoded element, with SpecificCharacterSet where the source has it.
    """
    empty = {int(Tag(name)): element(Tag(name), dictionary_VR(name), b"") for name in _REQUIRED}
    return {**empty, **as_written(source, (*_REQUIRED, *_OPTIONAL), little_endian)}


def as_written(source: Dataset, keywords: Iterable[str], little_endian: bool) -> Elements:
    """Return those of the named elements that the source has, byte for byte."""
    return _carried(source, (Tag(keyword) for keyword in keywords), little_endian, 0)


def value_of(source: Dataset, keyword: str) -> str:
    """Return a value of the source (UID, CS, SH) without decoding the element in place.

    A character for each byte, so that even a damaged UID is written again as it came.
    """
    tag = tag_for_keyword(keyword)
    assert tag is not None
    value = _bytes(source, Tag(tag))
    return value.decode("latin-1").strip("\0 ") if value else ""


def in_character_set_of(source: Dataset, text: str) -> bytes:
    """Encode a text of ours for an object that carries the source's SpecificCharacterSet.

    Characters that set doesn't have lose their accents, or become "?": nothing is worse than a
    second character set in one object.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore") or b"?"
    names = value_of(source, "SpecificCharacterSet").split("\\")
    if text.isascii() or not all(name in charset.python_encoding for name in names):
        return plain
    if names == [""]:  # the default repertoire is ASCII (PS3.5 6.1.2.1)
        return plain
    encodings = charset.convert_encodings(names)
    try:
        encoded = charset.encode_string(text, encodings)
        # pydicom takes the default repertoire for Latin-1 where others may follow by escapes.
        fits = names[0] != "" or encoded.split(b"\x1b")[0].isascii()
        same = charset.decode_bytes(encoded, encodings, set()) == text
        return encoded if fits and same else plain
    except (UnicodeError, LookupError):
        return plain


def _carried(source: Dataset, tags: Iterable[BaseTag], little_endian: bool, depth: int) -> Elements:
    elements = {}
    for tag in tags:
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            continue  # private or unknown: it doesn't belong to these modules
        encoded = (
            _sequence(source, tag, little_endian, depth)
            if vr == "SQ"
            else _plain(source, tag, vr, little_endian)
        )
        if encoded is not None:
            elements[int(tag)] = encoded
    return elements


def _plain(source: Dataset, tag: BaseTag, vr: str, little_endian: bool) -> bytes | None:
    value = _bytes(source, tag)
    if value is None or len(value) > _LONGEST or len(vr) != 2:
        return None
    width = _WIDTH.get(vr, 1)
    if width > 1 and not little_endian and len(value) % width == 0:
        value = np.frombuffer(value, f"u{width}").byteswap().tobytes()
    return element(tag, vr, value)


def _sequence(source: Dataset, tag: BaseTag, little_endian: bool, depth: int) -> bytes | None:
    if tag not in source or depth > _DEEPEST:
        return None
    try:
        items = list(source[tag].value or [])
    except Exception:  # noqa: BLE001
        # A garbled sequence is left out: pydicom raises many kinds, and none stops a delivery.
        return None
    return sequence(
        tag, [joined(_carried(item, item.keys(), little_endian, depth + 1)) for item in items]
    )


def _bytes(source: Dataset, tag: BaseTag) -> bytes | None:
    """Return an element's value as written; one that was decoded before is written anew."""
    if tag not in source:
        return None
    found = source.get_item(tag)
    if isinstance(found, RawDataElement):
        return found.value or b""
    return _written_anew(source, found)


def _written_anew(source: Dataset, found: DataElement) -> bytes:
    value = found.value
    parts = value if isinstance(value, (MultiValue, list)) else [value]
    text = "\\".join("" if part is None else str(part) for part in parts)
    if found.tag == _CHARACTER_SET or text.isascii():
        return text.encode("latin-1", "replace")
    names = value_of(source, "SpecificCharacterSet").split("\\")
    return charset.encode_string(text, charset.convert_encodings(names))
