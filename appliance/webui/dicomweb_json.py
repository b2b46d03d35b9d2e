"""The DICOM JSON model (PS3.18 annex F) of a data set, and of what the ledger alone still knows."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr

from appliance.ledger.connection import Row

Json = dict[str, Any]
Address = Callable[[str], str]

INLINE = 1024  # bytes; longer binary values are fetched from their own address
_BINARY = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "UN", "OB or OW"])
_UTF8 = {"vr": "CS", "Value": ["ISO_IR 192"]}
_CHARACTER_SET = "00080005"
# What the ledger keeps of every object, also of one whose file was removed.
_LEDGER = {
    "SOPClassUID": "sop_class_uid",
    "SOPInstanceUID": "sop_instance_uid",
    "StudyInstanceUID": "study_instance_uid",
    "SeriesInstanceUID": "series_instance_uid",
    "PatientID": "patient_id",
    "PatientName": "patient_name",
    "PatientBirthDate": "patient_birth_date",
    "Modality": "modality",
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "manufacturer_model_name",
    "SeriesDescription": "series_description",
    "TimezoneOffsetFromUTC": "timezone_offset_from_utc",
    "SeriesNumber": "series_number",
    "InstanceNumber": "instance_number",
    "NumberOfFrames": "number_of_frames",
    "Rows": "rows",
    "Columns": "columns",
}


def key(tag: int) -> str:
    """Return how the model writes a tag."""
    return f"{tag:08X}"


def model(dataset: Dataset, address: Address | None = None, path: str = "") -> Json:
    """Return a data set in the DICOM JSON model; values that can't be read are left out.

    Parameters
    ----------
    dataset
        Without pixels.
    address
        Gives the BulkDataURI of a path as `bulk_path` writes it; None leaves long binary values
        out.
    path
        Of the data set itself: "" or that of an item, with a slash behind it.
    """
    with suppress(Exception):  # of whatever type: a garbled value stays as it is
        correct_ambiguous_vr(dataset, bool(dataset.original_encoding[1]))
    found: Json = {}
    for tag in sorted(dataset.keys()):
        with suppress(Exception):  # pydicom's complaint about a value may be of any type
            element = _element(dataset[tag], address, path)
            if element is not None:
                found[key(int(tag))] = element
    if not path:
        found[_CHARACTER_SET] = _UTF8
    else:
        found.pop(_CHARACTER_SET, None)
    return dict(sorted(found.items()))


def _element(element: DataElement, address: Address | None, path: str) -> Json | None:
    own = f"{path}{key(int(element.tag))}"
    if element.VR == "SQ":
        items = enumerate(element.value)
        return {"vr": "SQ", "Value": [model(item, address, f"{own}/{i}/") for i, item in items]}
    if element.VR in _BINARY:
        vr = "OW" if element.VR == "OB or OW" else element.VR
        if len(element.value or b"") > INLINE:
            return {"vr": vr, "BulkDataURI": address(own)} if address else None
        return {**element.to_json_dict(None, 0), "vr": vr}
    if " or " in element.VR:
        return None
    encoded = element.to_json_dict(None, 0)
    if "Value" in encoded:
        encoded["Value"] = [_finite(value) for value in encoded["Value"]]
    return encoded


def _finite(value: Any) -> Any:
    # JSON has no such numbers; PS3.18 F.2.3 lets a number be a string.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def of_row(row: Row) -> Json:
    """Return what the ledger alone knows of an instance."""
    dataset = Dataset()
    for keyword, column in _LEDGER.items():
        if row[column]:
            setattr(dataset, keyword, row[column])
    return model(dataset)


def element(keyword: str, *values: Any) -> tuple[str, Json]:
    """Return one element: its key, and the keyword's VR with these values."""
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return key(tag), {"vr": dictionary_VR(tag), "Value": list(values)}


def texts(element: Json | None) -> list[str]:
    """Return an element's values as texts; each group of a name is one."""
    found: list[str] = []
    for value in (element or {}).get("Value", []):
        if isinstance(value, dict):
            found += [str(group) for group in value.values() if group]
        elif value is not None:
            found.append(str(value))
    return found
