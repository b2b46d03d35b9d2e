"""The archive of docs/central: Orthanc on PostgreSQL, by exactly the files that the guide ships."""

import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import requests

from appliance.certificates import CA, issue, make_authority
from appliance.sync.archive import Archive
from appliance.sync.destinations import Unreachable
from tests.box import REPOSITORY, free_port
from tests.phantom import cine_loop
from tests.sync.test_upstream import Site

GUIDE = REPOSITORY / "docs" / "central"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancPostgreSQLIndex.so")
BOX, PULLER = "for the box", "for the puller"
START_S = 60.0
_PATH = f"{os.environ['PATH']}:/usr/sbin"


class Central:
    """PostgreSQL and Orthanc in a folder of their own; Orthanc reads the guide's own files."""

    def __init__(self, root: Path) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        needed = (shutil.which(name, path=_PATH) for name in ("Orthanc", "haproxy"))
        if not programs or not PLUGIN.exists() or not all(needed):
            pytest.skip("PostgreSQL, Orthanc with its plugin for it, or haproxy is not installed")
        self.root, self.bin = root, programs[-1].parent
        self.owner = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        self.port, self.database = free_port(), root / "database"
        self.data, self.log = root / "data", root / "log"
        self.certificate = self._certificate()
        self.environment = {
            **os.environ,
            "PGHOST": str(root),
            "PGDATABASE": "orthanc",
            "CENTRAL_DATA": str(self.data),
            "CENTRAL_PORT": str(self.port),
            "CENTRAL_HTTP_PORT": str(free_port()),
            "CENTRAL_CERTIFICATE": str(self.certificate),
            "CENTRAL_BOX_PASSWORD": BOX,
            "CENTRAL_PULLER_PASSWORD": PULLER,
            "PATH": f"{self.bin}:{_PATH}",
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/dicom-web"

    def _certificate(self) -> Path:
        folder, path = self.root / "tls", self.root / "server.pem"
        folder.mkdir()
        make_authority(folder, "test")
        issue(folder, "server", "ARCHIVE", ["localhost"])
        path.write_bytes(
            (folder / "server.pem").read_bytes() + (folder / "server.key").read_bytes()
        )
        self.authority = folder / CA
        return path

    def as_owner(self, *command: object) -> None:
        words = [str(word) for word in command]
        if os.getuid() == 0:
            words = ["runuser", "-u", self.owner, "--", *words]
        subprocess.run(words, check=True, capture_output=True, env=self.environment, cwd="/tmp")

    def start_database(self) -> None:
        self.database.mkdir(exist_ok=True)
        if os.getuid() == 0:
            for path in (self.root, self.database):
                shutil.chown(path, self.owner)
        options = f"-k {self.root} -c listen_addresses="
        self.as_owner(self.bin / "initdb", "-D", self.database, "-A", "peer")
        self.as_owner(
            *(self.bin / "pg_ctl", "-D", self.database, "-o", options),
            *("-l", self.root / "postgresql.log", "-w", "start"),
        )
        who = pwd.getpwuid(os.getuid()).pw_name
        if who != self.owner:
            self.as_owner(self.bin / "createuser", who)
        self.as_owner(self.bin / "createdb", "-O", who, "orthanc")

    def start(self) -> None:
        self.data.mkdir(exist_ok=True)
        for command in (
            ["/usr/sbin/Orthanc", self.configuration()],
            [shutil.which("haproxy", path=_PATH), "-db", "-f", GUIDE / "haproxy.cfg"],
        ):
            with self.log.open("ab") as log:
                self.processes.append(
                    subprocess.Popen(
                        command, env=self.environment, stdout=log, stderr=log, cwd=self.root
                    )
                )
        end = time.monotonic() + START_S
        while not self.serves():
            assert all(process.poll() is None for process in self.processes), self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)

    def serves(self) -> bool:
        try:
            return self.ask("/studies?limit=1").ok
        except requests.ConnectionError:
            return False

    def configuration(self) -> Path:
        """The folder as the guide lays it out: its JSON files, unchanged."""
        folder = self.root / "etc"
        folder.mkdir(exist_ok=True)
        for path in GUIDE.glob("*.json"):
            shutil.copy(path, folder)
        return folder

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
            process.wait(30)
        self.processes = []

    def stop_database(self) -> None:
        if (self.database / "postmaster.pid").exists():
            self.as_owner(self.bin / "pg_ctl", "-D", self.database, "-m", "fast", "-w", "stop")

    def ask(self, path: str, user: str = "puller", password: str = PULLER) -> requests.Response:
        url = f"https://localhost:{self.port}/dicom-web{path}"
        return requests.get(url, auth=(user, password), verify=self.authority, timeout=30)

    def run_script(self, name: str, *words: object) -> None:
        command = [GUIDE / name, *map(str, words)]
        subprocess.run(command, check=True, env=self.environment, cwd=self.root)


@pytest.fixture
def central():
    root = Path(tempfile.mkdtemp(prefix="central-"))  # the database's user must reach it
    root.chmod(0o755)
    server = None
    try:
        server = Central(root)
        server.start_database()
        server.start()
        yield server
    finally:
        if server:
            server.stop()
            server.stop_database()
        shutil.rmtree(root)


def test_corrections_are_sent_found_backed_up_and_restored(central, tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(central.authority))
    loop = cine_loop(frames=8)
    site = Site(tmp_path / "box")
    objects = site.objects(site.correct(loop.write(tmp_path / "source.dcm"), loop.labels))
    password = tmp_path / "password"
    password.write_text(BOX)
    archive = Archive(central.url, "box", password)
    for item in objects:
        archive.put(item)
        assert archive.prove(item).sha256 == item.sha256
    query = "/studies?StudyID=abababababababab"
    (found,) = central.ask(query).json()
    assert found["0020000D"]["Value"] == [objects[0].StudyInstanceUID]

    central.run_script("backup.sh", tmp_path / "backup")
    central.stop()
    shutil.rmtree(central.data)
    who = pwd.getpwuid(os.getuid()).pw_name
    central.as_owner(central.bin / "dropdb", "orthanc")
    central.as_owner(central.bin / "createdb", "-O", who, "orthanc")
    central.start()
    assert central.ask(query).content in (b"", b"[]")
    central.stop()
    shutil.rmtree(central.data)
    central.as_owner(central.bin / "dropdb", "orthanc")
    central.as_owner(central.bin / "createdb", "-O", who, "orthanc")
    central.run_script("restore.sh", tmp_path / "backup")
    central.start()
    assert central.ask(query).json() == [found]
    for item in objects:
        assert archive.prove(item).sha256 == item.sha256


def test_nobody_reads_without_a_password_and_the_index_is_postgresql(central, tmp_path):
    for user, password in (("puller", ""), ("box", PULLER), ("orthanc", "orthanc"), ("", "")):
        assert central.ask("/studies?limit=1", user, password).status_code == 401
    local = f"http://127.0.0.1:{central.environment['CENTRAL_HTTP_PORT']}/system"
    told = requests.get(local, auth=("puller", PULLER), timeout=30).json()
    assert (
        "PostgreSQL" in told["DatabaseBackendPlugin"]
        or "libOrthancPostgreSQLIndex" in told["DatabaseBackendPlugin"]
    )
    wrong = tmp_path / "password"
    wrong.write_text("another")
    with pytest.raises(Unreachable, match="certificate"):  # unknown authority: nothing is sent
        Archive(central.url, "box", wrong).prove(_an_object(tmp_path))
    with pytest.raises(requests.ConnectionError):
        requests.get(central.url.replace("https", "http"), timeout=10).raise_for_status()


def test_a_box_stores_and_reads_back_and_nothing_else(central):
    box = ("box", BOX)
    for method, path, user in (
        ("GET", "/studies", box),
        ("GET", "/studies/1.2/metadata", box),
        ("GET", "/../patients", box),
        ("GET", "/../patients", ("puller", PULLER)),
        ("POST", "/studies", ("puller", PULLER)),
        ("DELETE", "/studies/1.2", ("puller", PULLER)),
        ("POST", "/../tools/execute-script", box),
    ):
        answer = requests.request(
            method, central.url + path, auth=user, verify=central.authority, timeout=30
        )
        assert answer.status_code == 403, (method, path)
    for user, path in ((box, "/studies?limit=1"), (("puller", PULLER), "/studies")):
        assert central.ask(path, *user).ok


def _an_object(folder):
    loop = cine_loop(frames=8)
    site = Site(folder / "box")
    return site.objects(site.correct(loop.write(folder / "source.dcm"), loop.labels))[0]


def test_the_guide_names_its_files_and_they_hold_no_password():
    text = (GUIDE / "README.md").read_text()
    for path in GUIDE.iterdir():
        assert path.name == "README.md" or path.name in text, path
    users = json.loads((GUIDE / "users.json").read_text())["RegisteredUsers"]
    assert all(value.startswith("${") for value in users.values())
