"""WADO-RS metadata (PS3.18 10.4.1.1.2): whole headers as JSON, long values by their addresses."""

import json
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from appliance.errors import Part10Error
from appliance.ledger.connection import Row
from appliance.part10 import Header, read_header
from appliance.spool import Spool
from appliance.webui.dicomweb_json import Address, Json, element, model, of_row
from appliance.webui.dicomweb_search import availability

_PIXELS = "7FE00010"


def stream(spool: Spool, rows: list[Row], base: str) -> Iterator[str]:
    """Give a JSON list with each instance's elements, one instance at a time.

    Parameters
    ----------
    spool
        The box's.
    rows
        Instances; of those whose file was removed, what the ledger knows.
    base
        Address of the service, for BulkDataURI and RetrieveURL.
    """
    yield "["
    for index, row in enumerate(rows):
        yield ("," if index else "") + json.dumps(_instance(spool, row, base))
    yield "]"


def _instance(spool: Spool, row: Row, base: str) -> Json:
    address = (
        f"{base}/studies/{row['study_instance_uid']}/series/{row['series_instance_uid']}"
        f"/instances/{row['sop_instance_uid']}"
    )
    found = of_row(row) if row["purged_at"] else _of_file(spool, row, address)
    made = [
        element("RetrieveURL", address),
        element("InstanceAvailability", availability([row])),
        element("AvailableTransferSyntaxUID", row["transfer_syntax_uid"]),
    ]
    return dict(sorted((found | dict(made)).items()))


def _of_file(spool: Spool, row: Row, address: str) -> Json:
    path = spool.served_path(row)
    try:
        header = read_header(path)
    except Part10Error:
        return of_row(row)

    def bulk(place: str) -> str:
        return f"{address}/bulkdata/{place}"

    # Values of a deflated file have no place that could be read.
    found = model(header.dataset, None if header.deflated else bulk)
    found |= _omitted(path, header, bulk)
    if header.pixel_offset is not None:
        found[_PIXELS] = {"vr": header.pixel_vr or "OW", "BulkDataURI": bulk(_PIXELS)}
    return found


def _omitted(path: Path, header: Header, bulk: Address) -> Json:
    """What the header leaves out for its size: sequences whole, binary values by address."""
    if not header.omitted or header.deflated:
        return {}
    try:
        read = pydicom.dcmread(path, specific_tags=list(header.omitted), stop_before_pixels=True)
    except Exception:  # noqa: BLE001
        # Of whatever type: the elements are too long for this, or damaged; the others are shown.
        return {}
    found = model(_alone(read, header), bulk)
    return {tag: value for tag, value in found.items() if int(tag, 16) in header.omitted}


def _alone(read: Dataset, header: Header) -> Dataset:
    """Those elements with the character set that they are written in."""
    if "SpecificCharacterSet" in header.dataset:
        read.SpecificCharacterSet = header.dataset.SpecificCharacterSet
    return read
