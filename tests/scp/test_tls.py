"""DICOM over TLS with DCMTK as the cart: who gets in, who doesn't, and what people are told."""

import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from appliance import certificates, pairing
from appliance.check import check
from appliance.config import load
from appliance.tls import TlsError, client_context
from tests.box import REPOSITORY, Box, free_port
from tests.dcmtk import dcmtk
from tests.requester import Requester, committed
from tests.scp.objects import data_set_bytes, write_object

PATHS = ["pump", pytest.param("stock", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A site's certificates: the box's, a cart's, and those of a rogue that has its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    certificates.make_authority(folder, "Room 3")
    certificates.issue(folder, "box", "ECHOCART", ["127.0.0.1", "localhost"])
    certificates.issue(folder, "cart", "CART")
    certificates.make_authority(folder / "rogue", "Room 3")
    certificates.issue(folder / "rogue", "cart", "CART")
    return folder


def settings_of(site: Path, port: int, **changed: Path) -> str:
    files = {"certificate": site / "box.pem", "key": site / "box.key", "ca": site / "ca.pem"}
    lines = [f'tls_{name} = "{path}"' for name, path in {**files, **changed}.items()]
    return "\n".join([f"tls_port = {port}", *lines])


@pytest.fixture(scope="module", params=PATHS)
def box(request, site, tmp_path_factory):
    scp = f'{settings_of(site, free_port())}\nreceive_path = "{request.param}"\narchive = true'
    with Box(tmp_path_factory.mktemp("box"), ["scp", "sync"], scp=scp) as box:
        yield box


def tls_port(box: Box) -> int:
    port = box.settings.scp.tls_port
    assert port is not None
    return port


def pair_of(folder: Path) -> list[Path | str]:
    return ["+tls", folder / "cart.key", folder / "cart.pem"]


def turned_away(box: Box) -> list[dict]:
    return pairing.account(box.settings, box.ledger)["turned_away"]


def echo(port: int, *options: Path | str) -> bool:
    """Ask with DCMTK's echoscu; True when the C-ECHO succeeded."""
    command = [dcmtk("echoscu"), "-to", "10", "-ta", "10", "-td", "10", *options]
    command += ["-aet", "CART", "-aec", "ECHOCART", "127.0.0.1", str(port)]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_a_cart_with_a_certificate_of_the_site_gets_in(box, site, profile):
    assert echo(tls_port(box), *pair_of(site), "+cf", site / "ca.pem", profile)


def test_a_loop_is_stored_over_tls_byte_for_byte(box, site, tmp_path, real_loop):
    small = write_object(tmp_path / "small.dcm")
    command = [dcmtk("storescu"), "-xy", *pair_of(site), "+cf", site / "ca.pem", "-aec", "ECHOCART"]
    command += ["127.0.0.1", str(tls_port(box)), small, real_loop]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = {row["sop_instance_uid"]: row for row in box.loops()}
    stored = [box.spool.object_path(row["sha256"]) for row in rows.values()]
    assert data_set_bytes(small) in [data_set_bytes(path) for path in stored]
    assert any(path.stat().st_size > 1_000_000 for path in stored)


def test_plain_and_tls_stand_side_by_side(box, site):
    assert echo(box.dicom_port)
    assert echo(tls_port(box), *pair_of(site), "+cf", site / "ca.pem")


@pytest.mark.parametrize(
    "refused",
    [
        (
            "no client certificate",
            ["+tla", "-ic"],
            "no TLS: it showed no certificate (peer did not return a certificate)",
        ),
        (
            "rogue authority",
            ["+tls", "rogue/cart.key", "rogue/cart.pem", "-ic"],
            "no TLS: its certificate was refused (",
        ),
        (
            "legacy suites",
            ["+tls", "cart.key", "cart.pem", "+pa", "-ic"],
            "no TLS: no suite in common",
        ),
        (
            "no encryption",
            ["+tls", "cart.key", "cart.pem", "+pn", "-ic"],
            "no TLS: no suite in common",
        ),
    ],
    ids=lambda case: case[0],
)
def test_others_are_refused_and_each_reason_is_told_to_the_site(box, site, refused):
    _, options, why = refused
    options = [site / option if option.endswith(("key", "pem")) else option for option in options]
    assert not echo(tls_port(box), *options)
    found = box.wait_for(
        lambda: [row for row in turned_away(box) if row["why"].startswith(why)],
        f"{why!r} to be listed",
        timeout=30,
    )
    assert [row["peer"] for row in found] == ["127.0.0.1"]
    assert echo(tls_port(box), *pair_of(site), "+cf", site / "ca.pem")


def test_a_cart_that_checks_its_peer_believes_the_box_and_no_rogue(box, site):
    assert not echo(tls_port(box), *pair_of(site), "+cf", site / "rogue" / "ca.pem")
    context = ssl.create_default_context(cafile=str(site / "ca.pem"))  # checks the host name, too
    context.load_cert_chain(site / "cart.pem", site / "cart.key")
    with (
        socket.create_connection(("127.0.0.1", tls_port(box))) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        assert secure.version() == "TLSv1.3"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(box, site, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(site / "cart.pem", site / "cart.key")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", tls_port(box))) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain)


def test_plain_dicom_on_the_tls_port_and_tls_on_the_plain_port_end_and_harm_nobody(box, site):
    assert not echo(tls_port(box))
    assert not echo(box.dicom_port, *pair_of(site), "+cf", site / "ca.pem")
    assert echo(box.dicom_port)
    assert echo(tls_port(box), *pair_of(site), "+cf", site / "ca.pem")
    assert "Traceback" not in box.log("scp")
    words = "no TLS: it speaks something else, plain DICOM perhaps (wrong version number)"
    box.wait_for(lambda: words in [row["why"] for row in turned_away(box)], "both to be listed")


def test_silent_handshakes_keep_nobody_waiting(box, site):
    address = ("127.0.0.1", tls_port(box))
    silent = [socket.create_connection(address) for _ in range(50)]
    try:
        assert echo(tls_port(box), *pair_of(site), "+cf", site / "ca.pem")
        # Each is cut at its deadline: the box closes, not we.
        silent[0].settimeout(60)
        assert silent[0].recv(1) == b""
    finally:
        for connection in silent:
            connection.close()


def test_a_cart_that_must_use_tls_gets_its_report_by_tls(box, site, tmp_path):
    (reference,) = Requester("SECURE").store(box, write_object(tmp_path / "a.dcm"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(site / "cart.pem", site / "cart.key")
    context.load_verify_locations(site / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    with Requester("SECURE", secure=context) as cart:
        given = {"tls": True, "commit_port": cart.port}
        pairing.allow(box.settings, box.ledger, "SECURE", "127.0.0.1", given, "test")
        try:
            client = client_context(box.settings.scp)  # the box's own certificate will do
            status, _ = cart.ask(box, [reference], secure=client)
            assert status == 0x0000
            assert committed(cart.report()[1]) == [reference]
        finally:
            pairing.allow(box.settings, box.ledger, "CART", "", {}, "test")


def echocart(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "appliance", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def test_the_commands_make_what_the_box_and_a_cart_need(tmp_path):
    folder, port = tmp_path / "tls", free_port()
    config = tmp_path / "echocart.toml"
    base = f'[box]\nae_title = "ECHOCART"\nstate_dir = "{tmp_path / "state"}"\n'
    config.write_text(base)
    done = echocart("tls", "init", "--dir", folder, "--name", "127.0.0.1", "--config", config)
    assert done.returncode == 0, done.stderr
    for path in folder.glob("*.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("  tls_")][:4]
    lines[0] = f"tls_port = {port}"
    assert "AE title    ECHOCART" in done.stdout
    assert "review page" in echocart("tls", "--help").stdout
    assert "host, port  127.0.0.1, 2762" in done.stdout
    done = echocart("tls", "cart", "CART 7", "--dir", folder)
    assert str(folder / "cart-CART_7.pem") in done.stdout
    with Box(tmp_path / "box", ["scp"], scp="\n".join(lines)):
        key, certificate = folder / "cart-CART_7.key", folder / "cart-CART_7.pem"
        assert echo(port, "+tls", key, certificate, "+cf", folder / "ca.pem")


@pytest.mark.parametrize("name", ["bad name!", "*.example.org", "example.org:8443", ""])
def test_what_is_no_name_of_a_host_gets_no_certificate(tmp_path, name):
    config = tmp_path / "echocart.toml"
    config.write_text(f'[box]\nae_title = "A"\nstate_dir = "{tmp_path / "state"}"\n')
    folder = tmp_path / "tls"
    done = echocart("tls", "init", "--dir", folder, "--name", name, "--config", config)
    assert done.returncode == 1
    assert f"{name!r} is not a host name or IP address" in done.stderr
    assert not folder.exists()


def test_nothing_is_overwritten_and_no_certificate_comes_without_an_authority(tmp_path):
    certificates.make_authority(tmp_path, "site")
    before = (tmp_path / "ca.pem").read_bytes()
    with pytest.raises(TlsError, match="is there already"):
        certificates.make_authority(tmp_path, "site")
    assert (tmp_path / "ca.pem").read_bytes() == before
    done = echocart("tls", "cart", "CART", "--dir", tmp_path / "elsewhere")
    assert done.returncode == 1
    assert "holds no usable ca.pem and ca.key" in done.stderr
    done = echocart("tls", "cart", "A\\B", "--dir", tmp_path)
    assert "no backslash" in done.stderr


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"key": "absent.key"}, "scp.tls_key: line 8: {}/absent.key: No such file"),
        ({"key": "cart.key"}, "isn't the key of {}/box.pem"),
        ({"certificate": "box.key"}, "box.key holds no certificate in PEM"),
        ({"key": "box.pem"}, "box.pem holds no private key in PEM"),
        ({"ca": "empty.pem"}, "empty.pem holds no certificate in PEM"),
        ({"certificate": "old.pem", "key": "old.key"}, "old.pem expired on 2"),
        ({"certificate": "soon.pem", "key": "soon.key"}, "soon.pem expires on 2"),
        ({"ca": "rogue/ca.pem"}, "box.pem is not signed by {}/rogue/ca.pem"),
        ({}, "ok         scp.tls_certificate: valid until 2"),
    ],
)
def test_check_explains_certificates_that_can_not_be_used(
    site, tmp_path, monkeypatch, changed, words
):
    from datetime import timedelta

    (site / "empty.pem").write_text("")
    for name, days in (("old", 0.5 / 86400), ("soon", 30)):
        if not (site / f"{name}.pem").exists():
            monkeypatch.setattr(certificates, "_CERTIFICATE_LASTS", timedelta(days=days))
            certificates.issue(site, name, "ECHOCART")
    config = tmp_path / "echocart.toml"
    files = {name: site / path for name, path in changed.items()}
    text = f'[box]\nae_title = "ECHOCART"\nstate_dir = "{tmp_path / "state"}"\n[scp]\n'
    text += f"port = {free_port()}\n{settings_of(site, free_port(), **files)}\n"
    config.write_text(text + f"[webui]\nport = {free_port()}\n")
    found = [f"{item.word:9}  {item.subject}: {item.text}" for item in check(config)]
    assert any(words.format(site) in line for line in found), found
    broken = [line for line in found if line.startswith("broken")]
    is_usable = not changed or "soon.pem" in words
    assert bool(broken) != is_usable
    assert load(config).scp.tls_port
