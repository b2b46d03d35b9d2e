"""Objects to deliver, and a box whose courier delivers to real servers."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pydicom
import pytest
from pynetdicom.dsutils import split_dataset

from appliance.ledger import worklist
from appliance.sync.originals import Original
from tests.box import Box
from tests.orthanc import Orthanc
from tests.sync.material import label_maps, reviewed, write_source


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


def as_original(path: Path) -> Original:
    """A file as the courier gets it from the spool."""
    content = path.read_bytes()
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    uids = (str(dataset.SOPInstanceUID), str(dataset.StudyInstanceUID))
    sha256 = hashlib.sha256(content).hexdigest()
    return Original(*uids, (memoryview(content),), sha256, len(content), path)


def data_set_of(path: Path) -> bytes:
    return path.read_bytes()[split_dataset(path)[1] :]


def with_results(
    box: Box, count: int, wanted: Sequence[tuple[str, str]], originals: Sequence[str] = ()
) -> list[dict]:
    """Take loops to accepted reviews whose results wait for the courier."""
    rows = []
    for number in range(count):
        source = write_source(box.root / f"{number}.dcm")
        maps = label_maps(8, 48, 64, number)
        rows.append(reviewed(box.ledger, box.spool, source, maps, wanted, originals=originals))
    return rows


def states_at(box: Box, name: str) -> list[str]:
    """The state of each delivery to a destination."""
    rows = [row for loop in box.loops() for row in worklist.deliveries(box.ledger, loop["seq"])]
    return [row["state"] for row in rows if row["destination"] == name]


def all_proven_at(box: Box, name: str) -> bool:
    return set(states_at(box, name)) == {"proven"}


def problems_at(box: Box, name: str) -> str:
    rows = [row for loop in box.loops() for row in worklist.deliveries(box.ledger, loop["seq"])]
    return " ".join(row["problem"] for row in rows if row["destination"] == name)


def introduce(server: Orthanc, box: Box) -> None:
    """Tell a server that isn't started yet where the box listens."""
    text = server.configuration.read_text()
    server.configuration.write_text(text.replace('"Port": 104,', f'"Port": {box.dicom_port},'))
