"""`echocart destination`: what people are told of Orthanc, DCMTK's storescp, a folder, and mistakes."""

import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from appliance import certificates
from appliance.ledger import Ledger
from tests.box import LOADED_MACHINE_S, REPOSITORY, free_port
from tests.orthanc import Orthanc
from tests.sync.fhirserver import FhirServer
from tests.sync.test_pacs import storescp


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    certificates.make_authority(folder, "Room 3")
    certificates.issue(folder, "box", "ECHOCART", ["127.0.0.1"])
    certificates.issue(folder, "pacs", "PACS")
    certificates.make_authority(folder / "rogue", "Elsewhere")
    certificates.issue(folder / "rogue", "pacs", "PACS")
    return folder


def config(folder: Path, destination: str, scp: str = "") -> Path:
    path = folder / "echocart.toml"
    path.write_text(
        f'[box]\nae_title = "ECHOCART"\nstate_dir = "{folder / "state"}"\n[scp]\n{scp}\n{destination}'
    )
    return path


def dicom(port: int, called: str = "ANY", more: str = "", host: str = "127.0.0.1") -> str:
    return (
        f'[[destination]]\nname = "pacs"\nkind = "dicom"\nhost = "{host}"\nport = {port}\n'
        f'called_ae = "{called}"\n{more}\n'
    )


def echocart(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance", "destination", *map(str, arguments)]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=LOADED_MACHINE_S
    )


def tried(path: Path, *options: str, name: str = "pacs") -> tuple[int, str]:
    done = echocart("test", name, "--config", path, *options)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def refusals(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("no ")]


def test_orthanc_takes_everything_and_gives_it_back(orthanc, tmp_path):
    text = orthanc.toml("pacs", "dicom", "originals results overlay")
    status, said = tried(config(tmp_path, text), "--store")
    assert (status, refusals(said)) == (0, [])
    for words in (
        "ORTHANC at 127.0.0.1",
        "answers C-ECHO",
        "takes Ultrasound Multi-frame Image Storage: Explicit VR Little Endian",
        "JPEG Baseline",
        "takes Segmentation Storage",
        "takes Comprehensive SR Storage",
        "takes Multi-frame True Color Secondary Capture Image Storage: JPEG Baseline",
        "C-GET",
        "offers storage commitment",
        "no TLS",
        "patient ECHOCART^TEST: stored",
    ):
        assert words in said, words
    tags = [orthanc.dataset(uid) for uid in orthanc.instances()]
    assert {str(item.PatientName) for item in tags} == {"ECHOCART^TEST"}


def test_without_being_asked_nothing_is_stored(orthanc, tmp_path):
    before = orthanc.instances()
    tried(config(tmp_path, orthanc.toml("pacs", "dicom")))
    assert orthanc.instances() == before


def test_a_storescp_without_segmentations_says_so_and_proves_nothing(tmp_path):
    profile = tmp_path / "storescp.cfg"
    profile.write_text(
        "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[[PresentationContexts]]\n[Ultrasound]\n"
        "PresentationContext1 = UltrasoundMultiframeImageStorage\\Plain\n"
        "[[Profiles]]\n[Default]\nPresentationContexts = Ultrasound\n"
    )
    with storescp(tmp_path / "there", "-xf", str(profile), "Default") as port:
        status, said = tried(config(tmp_path, dicom(port)))
    assert status == 1
    assert "no    takes no Segmentation Storage" in said
    assert "note  takes no Ultrasound Image Storage" in said, "nothing of this is sent there"
    assert "Explicit VR Little Endian; not Implicit VR Little Endian, JPEG Baseline" in said
    assert "nothing will prove that it keeps what it gets" in said


def _profile(folder: Path, *taken: str) -> tuple[str, str, str]:
    """Options of a storescp that takes these `CLASS\\SYNTAX` and nothing else."""
    path = folder / "storescp.cfg"
    lines = "".join(f"PresentationContext{i} = {each}\n" for i, each in enumerate(taken, 1))
    path.write_text(
        "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[JPEG]\nTransferSyntax1 = JPEGBaseline\n"
        f"[[PresentationContexts]]\n[Taken]\n{lines}[[Profiles]]\n[Default]\n"
        "PresentationContexts = Taken\n"
    )
    return "-xf", str(path), "Default"


def test_a_pacs_that_takes_pictures_and_no_segmentations_is_proposed_the_overlay(tmp_path):
    options = _profile(
        tmp_path,
        "UltrasoundMultiframeImageStorage\\Plain",
        "UltrasoundImageStorage\\Plain",
        "MultiframeTrueColorSecondaryCaptureImageStorage\\JPEG",
    )
    gets = 'gets = ["originals", "results"]'
    with storescp(tmp_path / "there", *options) as port:
        status, said = tried(config(tmp_path, dicom(port, more=gets)))
    assert status == 1
    assert said.endswith('in the table of pacs:\n  gets = ["originals", "overlay"]\n')
    assert "takes no Key Object Selection Document Storage: what a later decision replaces" in said


def test_the_retired_class_of_loops_is_not_taken_for_the_one_in_use(tmp_path):
    options = _profile(tmp_path, "UltrasoundMultiframeImageStorage\\Plain")
    with storescp(tmp_path / "there", *options) as port:
        _, said = tried(config(tmp_path, dicom(port, more='gets = ["originals"]')))
    assert "ok    takes Ultrasound Multi-frame Image Storage: Explicit" in said
    assert "note  takes no Ultrasound Multi-frame Image Storage (Retired)\n" in said


def test_a_wrong_way_of_proof_is_refused_and_the_right_one_proposed(tmp_path, orthanc):
    text = orthanc.toml("pacs", "dicom") + 'proof = "commitment"\n'
    _, said = tried(config(tmp_path, text))
    assert said.endswith('in the table of pacs:\n  proof = "auto"\n')


def test_a_port_where_nobody_is_gets_one_line(tmp_path):
    port = free_port()
    status, said = tried(config(tmp_path, dicom(port)))
    assert (status, said.count("\n")) == (1, 1)
    assert f"no    no DICOM receiver answers at 127.0.0.1:{port}" in said


def test_a_host_that_nobody_knows_gets_one_line(tmp_path):
    status, said = tried(config(tmp_path, dicom(104, host="pacs.invalid")))
    assert (status, said.count("\n")) == (1, 1)
    assert "pacs.invalid is not a known host" in said


@pytest.mark.parametrize("called", ["WRONG", "ORTHANC"])
def test_a_title_that_is_refused_gets_one_line(tmp_path, orthanc, called):
    path = config(tmp_path, dicom(orthanc.dicom_port, called))
    if called == "ORTHANC":
        path.write_text(path.read_text().replace('"ECHOCART"', '"STRANGER"'))
    status, said = tried(path)
    assert (status, said.count("\n")) == (1, 1)
    assert "refuses the association" in said
    assert "AE title" in said


def scp_tls(site: Path, ca: Path) -> str:
    return (
        f'tls_port = {free_port()}\ntls_certificate = "{site / "box.pem"}"\n'
        f'tls_key = "{site / "box.key"}"\ntls_ca = "{ca / "ca.pem"}"'
    )


def secure_storescp(folder: Path, site: Path, ca: Path | None = None):
    pair = ("+tls", str(site / "pacs.key"), str(site / "pacs.pem"))
    return storescp(folder, *pair, "+cf", str((ca or site) / "ca.pem"))


def test_tls_with_the_sites_certificates_is_fine(tmp_path, site):
    with secure_storescp(tmp_path / "there", site) as port:
        path = config(tmp_path, dicom(port, more="tls = true"), scp_tls(site, site))
        status, said = tried(path, "--store")
    assert (status, refusals(said)) == (0, []), said
    assert "TLS, certificates as they should be" in said
    assert len(list((tmp_path / "there").iterdir())) == 1


def test_plain_dicom_to_a_tls_port_is_found_out(tmp_path, site):
    with secure_storescp(tmp_path / "there", site) as port:
        status, said = tried(config(tmp_path, dicom(port)))
    assert status == 1
    assert len(refusals(said)) == 1
    assert "speaks TLS, and this destination plain DICOM" in said
    assert "  tls = true" in said


def test_tls_to_a_plain_port_is_found_out(tmp_path, site):
    with storescp(tmp_path / "there") as port:
        path = config(tmp_path, dicom(port, more="tls = true"), scp_tls(site, site))
        status, said = tried(path)
    assert status == 1
    assert "speaks plain DICOM, and this destination TLS" in said
    assert "  tls = false" in said


def test_a_certificate_of_another_authority_is_found_out(tmp_path, site):
    with secure_storescp(tmp_path / "there", site / "rogue", site) as port:
        path = config(tmp_path, dicom(port, more="tls = true"), scp_tls(site, site))
        status, said = tried(path)
    assert status == 1
    assert "shows a certificate that scp.tls_ca didn't sign" in said


def test_a_pacs_that_refuses_our_certificate_is_found_out(tmp_path, site):
    with secure_storescp(tmp_path / "there", site, site / "rogue") as port:
        path = config(tmp_path, dicom(port, more="tls = true"), scp_tls(site, site))
        status, said = tried(path)
    assert status == 1
    assert "refuses this box's certificate" in said


def test_something_else_than_dicom_is_found_out(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        status, said = tried(config(tmp_path, dicom(server.getsockname()[1])))
    assert (status, len(refusals(said))) == (1, 1)
    assert "does not answer as a DICOM receiver" in said


def test_an_archive_is_searched_and_given_an_object(orthanc, tmp_path):
    path = config(tmp_path, orthanc.toml("archive", "dicomweb"))
    status, said = tried(path, "--store", name="archive")
    assert (status, refusals(said)) == (0, []), said
    assert "answers a search (QIDO-RS)" in said
    assert "gave it back (WADO-RS)" in said


def test_an_archives_wrong_password_and_address_get_one_line_each(orthanc, tmp_path):
    text = orthanc.toml("archive", "dicomweb")
    wrong = tmp_path / "password"
    wrong.write_text("wrong")
    path = config(tmp_path, text.replace(str(orthanc.password_file), str(wrong)))
    status, said = tried(path, name="archive")
    assert (status, said.count("\n")) == (1, 1)
    assert "refuses the user or the password" in said
    status, said = tried(config(tmp_path, text.replace("/dicom-web", "")), name="archive")
    assert status == 1
    assert f'  url = "{orthanc.url}"' in said


def test_a_folder_that_is_gone_or_read_only_gets_one_line(tmp_path):
    folder = tmp_path / "usb"
    text = f'[[destination]]\nname = "usb"\nkind = "folder"\npath = "{folder}"\n'
    status, said = tried(config(tmp_path, text), name="usb")
    assert (status, said.count("\n")) == (1, 1)
    folder.mkdir()
    status, said = tried(config(tmp_path, text), name="usb")
    assert (status, refusals(said)) == (0, [])
    assert "takes files, and syncs them" in said
    assert list(folder.iterdir()) == []
    assert "lies on the same disk" in said


def test_an_unknown_destination_is_told_with_those_that_are_known(tmp_path):
    status, said = tried(config(tmp_path, dicom(104)), name="pac")
    assert status == 1
    assert "none is called 'pac'. Destinations: pacs." in said


def test_a_destination_is_paused_and_goes_on_from_the_command_line(tmp_path):
    path = config(tmp_path, dicom(104))
    assert echocart("list", "--config", path).returncode == 1
    Ledger(tmp_path / "state")
    assert echocart("list", "--config", path).stdout == "pacs: nothing yet\n"
    assert echocart("pause", "pacs", "--why", "it moves", "--config", path).returncode == 0
    assert "paused by" in echocart("list", "--config", path).stdout
    assert '"why": "it moves"' in echocart("list", "--json", "--config", path).stdout
    assert echocart("resume", "pacs", "--config", path).stdout == "pacs goes on\n"
    assert echocart("resume", "pacs", "--config", path).stdout == "pacs was not paused\n"
    assert echocart("pause", "nobody", "--config", path).returncode == 1
    shutil.rmtree(tmp_path / "state")


def test_a_form_that_is_refused_is_told_and_one_that_is_taken_proposed(tmp_path, orthanc):
    text = orthanc.toml("pacs", "dicom") + 'seg_type = "LABELMAP"\n'
    status, said = tried(config(tmp_path, text))
    assert status == 1
    assert "configured: Label Map Segmentation Storage in Explicit VR Little Endian" in said
    assert said.endswith('  seg_type = "BINARY"\n  seg_syntax = "explicit"\n')


def fhir(url: str, more: str = "") -> str:
    return f'[[destination]]\nname = "records"\nkind = "fhir"\nurl = "{url}"\n{more}\n'


def test_a_fhir_server_s_release_and_resources_are_read_and_nothing_is_stored(tmp_path):
    with FhirServer("R4B").serving() as server:
        path = config(tmp_path, fhir(server.url, 'fhir = "R4B"'))
        status, said = tried(path, "--store", name="records")
        assert (status, refusals(said)) == (0, []), said
        assert "answers in FHIR 4.3.0" in said
        assert "takes transactions" in said
        status, said = tried(config(tmp_path, fhir(server.url)), name="records")
        assert status == 1
        assert "speaks FHIR 4.3.0, and fhir is 'R5'" in said
        assert 'fhir = "R4B"' in said
    assert server.resources == {}


def test_a_fhir_server_that_is_none_or_refuses_us_gets_one_line(tmp_path):
    with FhirServer().serving() as server:
        elsewhere = server.url.replace("/fhir", "/rest")
        status, said = tried(config(tmp_path, fhir(elsewhere)), name="records")
        assert (status, said.count("\n")) == (1, 1)
        assert "is no FHIR server (404 to /metadata)" in said
        server.token = "another"
        status, said = tried(config(tmp_path, fhir(server.url)), name="records")
        assert (status, said.count("\n")) == (1, 1)
        assert "refuses the user or the token" in said
