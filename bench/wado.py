"""How fast frames of the 120-frame loop leave the box over DICOMweb, beside Orthanc.

Both hold the same file on the same machine, and are asked by turns: frame by frame as a viewer
does, and all frames at once. Every frame is held against the file's own fragment.
"""

import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pydicom
import requests
from pydicom.encaps import generate_frames

from appliance import scu
from appliance.demo.orthanc import PASSWORD, USER, NotInstalledError, Orthanc
from appliance.dicomweb import Client
from appliance.ledger import token
from bench import figures
from bench.figures import Figure
from tests.box import Box

_BETWEEN = b"\r\n\r\n"
_ACCEPT = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'


class Server:
    """A DICOMweb server that holds the loop.

    Parameters
    ----------
    url
        Of its service.
    session
        Signed in.
    dataset
        The loop.
    """

    def __init__(self, url: str, session: requests.Session, dataset: pydicom.Dataset) -> None:
        session.trust_env = False
        # One form alone, and so: Orthanc refuses a list.
        session.headers["Accept"] = _ACCEPT
        self._session = session
        self._path = (
            f"{url}/studies/{dataset.StudyInstanceUID}/series/{dataset.SeriesInstanceUID}"
            f"/instances/{dataset.SOPInstanceUID}/frames/"
        )
        self.times: list[float] = []

    def ask(self, numbers: Sequence[int], fragments: Sequence[bytes]) -> None:
        """Fetch frames, note the seconds, and check each against its fragment."""
        started = time.perf_counter()
        answer = self._session.get(self._path + ",".join(map(str, numbers)), timeout=60)
        body = answer.content
        self.times.append(time.perf_counter() - started)
        answer.raise_for_status()
        for number in numbers:
            if _BETWEEN + fragments[number - 1] + b"\r\n" not in body:
                raise AssertionError(f"frame {number} is another one")


def measure(quick: bool) -> list[Figure]:
    """Measure frames a second of both, interleaved; the median round counts."""
    spec = find_spec("data_store")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pip install pydicom-data")
    path = Path(spec.submodule_search_locations[0]) / "data" / "color3d_jpeg_baseline.dcm"
    dataset = pydicom.dcmread(path)
    fragments = list(generate_frames(dataset.PixelData, number_of_frames=120))
    with tempfile.TemporaryDirectory(dir=".") as name:
        root = Path(name).resolve()
        with Box(root / "box", ["scp", "webui"]) as box:
            scu.send([path], "127.0.0.1", box.dicom_port)
            session = requests.Session()
            session.headers["Authorization"] = f"Bearer {token.add(box.ledger, 'bench', 'bench')}"
            ours = Server(f"{box.url}/dicom-web", session, dataset)
            try:
                with Orthanc(root / "orthanc") as orthanc:
                    Client(orthanc.url, USER, orthanc.password_file).store_file(path.read_bytes())
                    session = requests.Session()
                    session.auth = (USER, PASSWORD)
                    theirs = Server(orthanc.url, session, dataset)
                    return _figures([ours, theirs], fragments, quick)
            except NotInstalledError:
                return _figures([ours], fragments, quick)


def _figures(servers: list[Server], fragments: list[bytes], quick: bool) -> list[Figure]:
    rounds = 3 if quick else 15
    every = list(range(1, len(fragments) + 1))
    found = []
    for what, requests_of in (
        ("one by one", [[number] for number in every]),
        ("in one request", [every]),
    ):
        rates = _rates(servers, requests_of, fragments, rounds)
        words = f"WADO-RS, frames of the 120-frame cine {what}"
        if len(rates) == 2:
            anchor = f"Orthanc {rates[1]:.3g} frames/s"
            found.append(
                figures.at_least(words, rates[0], "frames/s", float(f"{rates[1]:.3g}"), anchor)
            )
        else:
            found.append(figures.plain(words, rates[0], "frames/s"))
    return found


def _rates(
    servers: list[Server],
    wanted: list[list[int]],
    fragments: list[bytes],
    rounds: int,
) -> list[float]:
    """Frames a second of each: the median round, after one that warms up."""
    found: list[list[float]] = [[] for _ in servers]
    for number in range(rounds + 1):
        for server, seconds in zip(servers, found, strict=True):
            server.times = []
            for numbers in wanted:
                server.ask(numbers, fragments)
            if number:
                seconds.append(sum(server.times))
    return [len(fragments) / sorted(seconds)[len(seconds) // 2] for seconds in found]


if __name__ == "__main__":
    figures.main(__doc__ or "", measure)
