"""systemd's own tools on the units: nothing misspelled, nothing wider open than it must be."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance import credentials, units
from appliance.config import load

REPOSITORY = Path(__file__).resolve().parents[2]
UNITS = REPOSITORY / "systemd"
SERVICES = sorted(
    path.name for path in UNITS.glob("*.service") if path.name != "echocart-again.service"
)
LOOSER = {"echocart-engine.service": 30}  # its unit says why


@pytest.fixture(scope="module", autouse=True)
def analyze() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt install systemd")


def test_every_unit_is_understood_without_a_word(tmp_path: Path):
    # It exits 0 on a misspelled directive, so what it says counts. The programs are not here.
    for path in UNITS.iterdir():
        if path.suffix in (".service", ".socket", ".target", ".timer"):
            text = re.sub(r"(?m)^ExecStart=\S+.*$", "ExecStart=/bin/true", path.read_text())
            # /usr/share/doc is not here either, and --man=no is about manual pages only.
            text = re.sub(r"(?m)^Documentation=.*\n", "", text)
            (tmp_path / path.name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", *sorted(map(str, tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_is_hardened(unit: str):
    threshold = LOOSER.get(unit, 20)
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={threshold}"]
    done = subprocess.run(
        [*command, "--no-pager", UNITS / unit], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-500:]


@pytest.mark.parametrize("name", units.SERVICES)
def test_the_watchdog_is_wider_than_what_feeds_it(name: str):
    text = (UNITS / f"echocart-{name}.service").read_text()
    found = re.search(r"(?m)^WatchdogSec=(\d+)s$", text)
    assert found
    from appliance.scp import proof

    # The engine looks up every 5 s when it has no work, sync every second.
    assert int(found.group(1)) >= 2 * (proof.EVERY_S + proof.ANSWER_S)


def box_file(folder: Path, more: str = "") -> Path:
    for name in ("box.pem", "box.key", "ca.pem", "secret"):
        (folder / name).write_text("x")
    path = folder / "echocart.toml"
    path.write_text(
        f'[box]\nae_title = "ECHOCART"\nstate_dir = "{folder}/a state"\n'
        f'[scp]\nhost = "::"\nport = 104\ntls_port = 2762\ntls_certificate = "{folder}/box.pem"\n'
        f'tls_key = "{folder}/box.key"\ntls_ca = "{folder}/ca.pem"\n'
        f'[[destination]]\nname = "usb"\nkind = "folder"\npath = "/media/50%"\n'
        f'[[destination]]\nname = "archive"\nkind = "dicomweb"\nurl = "https://a.example/dicom-web"\n'
        f'user = "box"\npassword_file = "{folder}/secret"\ngets = ["corrections"]\n{more}'
    )
    return path


def test_ports_folders_and_keys_come_from_the_configuration(tmp_path: Path):
    found = units.drop_ins(load(box_file(tmp_path)))
    assert found["echocart-scp.socket"].splitlines() == [
        "[Socket]",
        "ListenStream=",
        "ListenStream=[::]:104",
        "ListenStream=[::]:2762",
    ]
    state = f"ReadWritePaths=-{tmp_path}/a\\x20state"
    for name in (*units.SERVICES, "purge", "selftest"):
        assert state in found[f"echocart-{name}.service"].splitlines()
    sync = found["echocart-sync.service"].splitlines()
    assert "ReadWritePaths=-/media/50%%" in sync
    handed = [line.rpartition("/")[2] for line in sync if line.startswith("LoadCredential=")]
    assert handed == ["box.key", "secret"]
    assert "LoadCredential" not in found["echocart-engine.service"]
    assert "LoadCredential" not in found["echocart-webui.service"]


def test_the_generator_writes_what_systemd_understands(tmp_path: Path):
    to = tmp_path / "generated"
    assert units.main([str(box_file(tmp_path)), str(to)]) == 0
    for path in UNITS.glob("echocart-s*.s*"):
        text = re.sub(r"(?m)^ExecStart=\S+.*$", "ExecStart=/bin/true", path.read_text())
        (to / path.name).write_text(re.sub(r"(?m)^Documentation=.*\n", "", text))
    command = ["systemd-analyze", "verify", "--man=no", to / "echocart-scp.service"]
    done = subprocess.run([*command, to / "echocart-sync.service"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_broken_configuration_leaves_the_units_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = tmp_path / "echocart.toml"
    path.write_text("[box]\nae_titel = 3\n")
    assert units.main([str(path), str(tmp_path / "generated")]) == 0
    assert not (tmp_path / "generated").exists()
    assert "ae_title is missing" in capsys.readouterr().err


def test_a_service_reads_the_secrets_that_systemd_hands_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    settings = load(box_file(tmp_path))
    assert credentials.handed(settings) == settings
    given = tmp_path / "credentials"
    given.mkdir()
    for path in credentials.files(settings, "sync"):
        (given / credentials.name_of(path)).write_text("handed")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
    handed = credentials.handed(settings)
    assert handed.scp.tls_key is not None
    assert handed.scp.tls_key.parent == given
    assert handed.destination[1].password_file.parent == given
    assert handed.scp.tls_ca == settings.scp.tls_ca
