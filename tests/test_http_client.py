"""Whom the box's HTTP clients trust, and how they say who the box is."""

import base64

import pytest
import requests

from appliance import certificates
from appliance.dicomweb import Client
from appliance.http_client import Secret, SecretError, session
from tests.sync.fhirserver import FhirServer


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    certificates.make_authority(folder, "Room 3")
    certificates.issue(folder, "server", "SERVER", ["127.0.0.1"])
    with FhirServer().serving(folder / "server") as server:
        yield folder, f"{server.url}/metadata"


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_an_authority_of_the_system_is_trusted_and_no_other(site, monkeypatch, name):
    folder, url = site
    for other in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(other, raising=False)
    with pytest.raises(requests.exceptions.SSLError):
        session(Secret()).get(url, timeout=30)
    monkeypatch.setenv(name, str(folder / "ca.pem"))
    assert session(Secret()).get(url, timeout=30).ok
    assert Client(url.removesuffix("/metadata"))._http_get(url).ok  # DICOMweb's, too


def test_an_authority_that_is_named_is_trusted(site):
    folder, url = site
    assert session(Secret(), folder / "ca.pem").get(url, timeout=30).ok


def test_a_netrc_does_not_say_who_the_box_is(tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with FhirServer().serving() as server:
        answer = session(Secret()).get(f"{server.url}/metadata", timeout=30)
    assert "Authorization" not in answer.request.headers


def test_a_secret_is_read_at_each_request_and_may_hold_any_letter(tmp_path):
    path = tmp_path / "password"
    secret = Secret("büx", path)
    with pytest.raises(SecretError, match="No such file"):
        secret.header()
    path.write_text(" \n")
    with pytest.raises(SecretError, match="holds no password"):
        secret.header()
    for password in ("ünï", "пароль"):
        path.write_text(f"{password}\n")
        kind, _, coded = secret.header().partition(" ")
        assert (kind, base64.b64decode(coded).decode()) == ("Basic", f"büx:{password}")
    assert Secret(token_file=path).header() == "Bearer пароль"
    assert Secret().header() == ""
