"""`echocart check` and destinations on the network: asked for real, never a reason not to start."""

import socket

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from appliance import certificates
from appliance.check import Finding, check
from tests.box import free_port
from tests.orthanc import Orthanc


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as server:
        yield server


def found(tmp_path, destination: str, ae_title: str = "ECHOCART") -> Finding:
    path = tmp_path / "echocart.toml"
    path.write_text(
        f'[box]\nae_title = "{ae_title}"\nstate_dir = "{tmp_path / "state"}"\n'
        f'[scp]\nhost = "127.0.0.1"\nport = {free_port()}\n[webui]\nport = {free_port()}\n'
        f"{destination}"
    )
    findings = check(path)
    assert all(finding.ok for finding in findings), findings
    return next(finding for finding in findings if finding.subject.startswith("destination"))


@pytest.mark.parametrize("kind", ["dicom", "dicomweb"])
def test_a_server_that_answers_is_ok(orthanc, tmp_path, kind):
    finding = found(tmp_path, orthanc.toml("x", kind))
    assert (finding.word, finding.text) == ("ok", "answers")


@pytest.mark.parametrize(
    ("kind", "words"),
    [("dicom", "no DICOM receiver answers"), ("dicomweb", "gives no answer (ConnectionError)")],
)
def test_a_server_that_is_off_deserves_attention_and_breaks_nothing(tmp_path, kind, words):
    off = Orthanc(tmp_path / "off")
    finding = found(tmp_path, off.toml("x", kind))
    assert finding.word == "attention"
    assert words in finding.text
    assert finding.text.endswith("Until then, deliveries wait")


def test_https_to_a_port_without_tls_is_told_as_that(orthanc, tmp_path):
    finding = found(tmp_path, orthanc.toml("x", "dicomweb").replace("http://", "https://"))
    assert finding.word == "attention"
    assert "or speaks no TLS on this port. Install the authority" in finding.text


def test_a_pacs_that_does_not_know_us_is_named(orthanc, tmp_path):
    finding = found(tmp_path, orthanc.toml("x", "dicom"), ae_title="STRANGER")
    assert finding.word == "attention"
    assert "refuses the association of STRANGER with ORTHANC" in finding.text


def test_a_wrong_password_is_told_without_it(orthanc, tmp_path):
    (tmp_path / "password").write_text("hunter2")
    right = orthanc.toml("x", "dicomweb")
    finding = found(tmp_path, right.replace(str(orthanc.password_file), str(tmp_path / "password")))
    assert finding.word == "attention"
    assert "answers 401" in finding.text
    assert "hunter2" not in finding.text
    absent = right.replace(str(orthanc.password_file), str(tmp_path / "absent"))
    assert "No such file" in found(tmp_path, absent).text


@pytest.mark.parametrize("kind", ["dicom", "dicomweb"])
def test_a_server_that_says_nothing_is_not_waited_for(tmp_path, kind):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        other = Orthanc(tmp_path / "other")
        other.http_port = other.dicom_port = silent.getsockname()[1]
        assert found(tmp_path, other.toml("x", kind)).word == "attention"


@pytest.mark.parametrize(
    ("host", "subject", "words"),
    [
        ("echocart.example", None, ""),
        ("other.example", "webui.names", "isn't for other.example: browsers will refuse it"),
    ],
)
def test_the_page_s_certificate_must_be_for_its_names(tmp_path, host, subject, words):
    certificates.make_authority(tmp_path, "test")
    certificates.issue(tmp_path, "box", "BOX", ["echocart.example", "10.1.2.3"])
    path = tmp_path / "echocart.toml"
    path.write_text(
        f'[box]\nae_title = "BOX"\nstate_dir = "{tmp_path / "state"}"\n'
        f'[scp]\nhost = "127.0.0.1"\nport = {free_port()}\n[webui]\nport = {free_port()}\n'
        f'host = "0.0.0.0"\nnames = ["{host}", "10.1.2.3"]\n'
        f'tls_certificate = "{tmp_path / "box.pem"}"\ntls_key = "{tmp_path / "box.key"}"\n'
    )
    broken = {item.subject: item.text for item in check(path) if not item.ok}
    assert set(broken) == ({subject} if subject else set())
    assert words in broken.get(subject, "")


def test_a_model_beside_the_first_that_is_not_there_is_told_at_its_own_line(tmp_path):
    path = tmp_path / "echocart.toml"
    path.write_text(
        f'[box]\nae_title = "ECHOCART"\nstate_dir = "{tmp_path / "state"}"\n'
        f'[scp]\nhost = "127.0.0.1"\nport = {free_port()}\n[webui]\nport = {free_port()}\n'
        '[engine]\nmodel = "first-network-1.0.0"\nbeside = ["nothing-1.0.0"]\n'
    )
    [broken] = [finding for finding in check(path) if not finding.ok]
    assert broken.subject == "engine.beside"
    assert broken.text.startswith("line 11: ")
    assert "no model 'nothing-1.0.0'" in broken.text


def translated(tmp_path, texts: dict[str, str], scripts: bytes | None = None) -> list[Finding]:
    home = tmp_path / "locale" / "de" / "LC_MESSAGES"
    home.mkdir(parents=True)
    catalogue = Catalog("de", charset="utf-8", fuzzy=False)
    for message, text in texts.items():
        catalogue.add(message, text)
    with (home / "echocart.mo").open("wb") as file:
        write_mo(file, catalogue)
    (home / "echocart-js.mo").write_bytes(scripts or (home / "echocart.mo").read_bytes())
    return in_locale_dir(tmp_path)


def in_locale_dir(tmp_path) -> list[Finding]:
    path = tmp_path / "echocart.toml"
    path.write_text(
        f'[box]\nae_title = "ECHOCART"\nstate_dir = "{tmp_path / "state"}"\n'
        f'[scp]\nhost = "127.0.0.1"\nport = {free_port()}\n[webui]\nport = {free_port()}\n'
        f'locale_dir = "{tmp_path / "locale"}"\n'
    )
    findings = check(path)
    assert all(finding.ok for finding in findings), "the page goes on in English"
    return [finding for finding in findings if finding.subject == "webui.locale_dir"]


def test_translations_are_read_and_their_places_compared(tmp_path):
    texts = {"Loops": "Schleifen", "loop {number}": "Schleife {number}"}
    [finding] = translated(tmp_path, texts)
    assert (finding.word, finding.text) == ("ok", "de can be read")


def test_a_translation_with_other_places_is_named(tmp_path):
    texts = {"Loops": "Schleifen", "loop {number}": "Schleife {nummer}"}
    for finding in translated(tmp_path, texts):
        assert finding.word == "attention"
        assert "differ from the English ones in 1 of its texts, as 'loop {number}'" in finding.text


def test_a_catalogue_that_can_not_be_read_is_named_beside_one_that_can(tmp_path):
    [finding] = translated(tmp_path, {"Loops": "Schleifen"}, b"no catalogue")
    assert finding.word == "attention"
    assert finding.text.startswith("de/LC_MESSAGES/echocart-js.mo can't be read")


def test_a_folder_of_translations_that_holds_none_deserves_attention(tmp_path):
    [finding] = in_locale_dir(tmp_path)
    assert finding.word == "attention"
    assert "holds no LANG/LC_MESSAGES/echocart.mo" in finding.text
