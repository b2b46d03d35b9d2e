"""A real Orthanc (Debian's package) as PACS or archive: for the demo and for the tests.

It answers this machine only (`RemoteAccessAllowed`, `DicomCheckModalityHost`), knows one calling
AE title (ECHOCART), and keeps the first of two objects with one UID, as archives do.
"""

import shutil
import subprocess
import time
from io import BytesIO
from pathlib import Path
from types import TracebackType

import pydicom
import requests

from appliance.demo.ports import free_port
from appliance.dicomweb import Client
from appliance.errors import ApplianceError

START_S = 120.0  # a wait that long means broken, not slow
USER, PASSWORD = "box", "secret"

_TEMPLATE = Path(__file__).with_name("orthanc.json")
_PLUGINS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc", "/usr/local/share/orthanc/plugins")


class NotInstalledError(ApplianceError):
    """Orthanc or its DICOMweb plugin is not on this machine."""


def _program() -> str:
    # Debian puts it where the PATH of a plain user doesn't lead.
    found = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NotInstalledError("start Orthanc", "Orthanc is not installed", "apt install orthanc")
    return found


def _plugin() -> Path:
    for folder in _PLUGINS:
        path = Path(folder) / "libOrthancDicomWeb.so"
        if path.exists():
            return path
    subject = "Orthanc's DICOMweb plugin is not installed"
    raise NotInstalledError("start Orthanc", subject, "apt install orthanc-dicomweb")


class Orthanc:
    """Context manager around one server.

    Parameters
    ----------
    root
        Directory for its configuration, database and log.
    allow_get
        Whether it serves C-GET to ECHOCART.
    box_port
        Where it reaches ECHOCART, to send it something itself.
    """

    def __init__(self, root: Path, allow_get: bool = True, box_port: int = 104) -> None:
        self.program = _program()
        self.root = root
        (root / "storage").mkdir(parents=True, exist_ok=True)
        self.http_port, self.dicom_port = free_port(), free_port()
        self.password_file = root / "password"
        self.password_file.write_text(f"{PASSWORD}\n")
        text = _TEMPLATE.read_text()
        for name, value in {
            "DIRECTORY": root,
            "PLUGIN": _plugin(),
            "HTTP_PORT": self.http_port,
            "DICOM_PORT": self.dicom_port,
            "BOX_PORT": box_port,
            "ALLOW_GET": str(allow_get).lower(),
        }.items():
            text = text.replace(f"@{name}@", str(value))
        self.configuration = root / "orthanc.json"
        self.configuration.write_text(text)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base of its DICOMweb services."""
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def toml(self, name: str, kind: str, gets: str = "results") -> str:
        """Return the destination for a box's configuration; `gets` separated by spaces."""
        wishes = ", ".join(f'"{wish}"' for wish in gets.split())
        where = {
            "dicom": f'host = "127.0.0.1"\nport = {self.dicom_port}\ncalled_ae = "ORTHANC"',
            "dicomweb": f'url = "{self.url}"\nuser = "{USER}"\n'
            f'password_file = "{self.password_file}"',
        }[kind]
        return f'[[destination]]\nname = "{name}"\nkind = "{kind}"\n{where}\ngets = [{wishes}]\n'

    def __enter__(self) -> "Orthanc":
        try:
            self.start()
        except BaseException:
            self.stop()  # whoever is asked to end while it starts leaves no server behind
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ask it to end, and end it."""
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
            self.process = None

    def start(self) -> None:
        """Start it, and wait until it serves."""
        with (self.root / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, self.configuration],
                cwd=self.root,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for whoever started it
            )
        end = time.monotonic() + START_S
        while not self._serves():
            if self.process.poll() is not None or time.monotonic() > end:
                hint = f"Its log is {self.root / 'orthanc.log'}."
                raise ApplianceError("start Orthanc", "it doesn't serve", hint)
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def log(self) -> str:
        """Return what it has written so far."""
        return (self.root / "orthanc.log").read_text(errors="replace")

    def _serves(self) -> bool:
        try:
            return self._get("/system").ok
        except requests.ConnectionError:
            return False

    def _get(self, path: str) -> requests.Response:
        address = f"http://127.0.0.1:{self.http_port}{path}"
        return requests.get(address, auth=(USER, PASSWORD), timeout=30)

    def client(self) -> Client:
        """Return a DICOMweb client that may do everything."""
        return Client(self.url, USER, self.password_file)

    def instances(self) -> list[str]:
        """Return the SOPInstanceUIDs it holds, each as often as it holds it, sorted."""
        rows = self._get("/instances?expand").json()
        return sorted(row["MainDicomTags"]["SOPInstanceUID"] for row in rows)

    def file(self, SOPInstanceUID: str) -> bytes:
        """Return the file of an instance as it stores it."""
        for row in self._get("/instances?expand").json():
            if row["MainDicomTags"]["SOPInstanceUID"] == SOPInstanceUID:
                return self._get(f"/instances/{row['ID']}/file").content
        raise KeyError(f"Orthanc doesn't hold {SOPInstanceUID}")

    def dataset(self, SOPInstanceUID: str) -> pydicom.Dataset:
        """Return an instance read by pydicom."""
        return pydicom.dcmread(BytesIO(self.file(SOPInstanceUID)))
