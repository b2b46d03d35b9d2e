"""`echocart doctor` looks at a box that is stopped, running or broken, and always answers."""

import json
import os
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from appliance.doctor import PROBES, diagnose
from appliance.doctor.probe import Asked, Finding, Probe, examine, ok
from tests.box import Box
from tests.upkeep.material import Kept, flip_pages


@pytest.fixture
def box(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "box")


def found(box: Kept) -> dict[str, Finding]:
    return {one.name: one for one in diagnose(box.config)}


def test_a_stopped_box_is_told_as_stopped_and_its_ledger_as_whole(box):
    seen = found(box)
    assert seen["services"].text == "the box is stopped"
    assert (seen["ledger"].word, seen["model"].word) == ("ok", "ok")
    assert all(one.todo for one in seen.values() if one.word != "ok")


def test_a_running_box_answers_on_both_ports_and_the_exit_status_tells(tmp_path):
    with Box(tmp_path / "box", services=("scp", "engine", "webui", "sync")) as box:
        kept = {one.name: one for one in diagnose(box.config)}
        for name in ("services", "DICOM port", "page", "destination usb", "analysis"):
            assert kept[name].word == "ok", kept[name]
        box.kill("engine")
        seen = {one.name: one for one in diagnose(box.config)}
    assert seen["services"].word == "broken"
    assert seen["services"].text == "not running: engine"


def test_a_damaged_ledger_is_broken_and_everything_else_is_still_looked_at(box):
    for n in range(30):
        box.receive(n)
    box.fold()
    flip_pages(box.state / "ledger.db")
    seen = found(box)
    assert seen["ledger"].word == "broken"
    assert seen["memory"].word in ("ok", "attention")
    told = box.command("doctor", "--json")
    assert told.returncode == 1
    assert "Traceback" not in told.stderr
    assert {row["word"] for row in json.loads(told.stdout)} <= {"ok", "attention", "broken"}


def test_a_ledger_that_is_no_database_leaves_what_needs_it_untold(box):
    box.fold()
    (box.state / "ledger.db").write_bytes(b"\xff" * 8192)
    seen = found(box)
    assert seen["ledger"].word == "broken"
    assert seen["deliveries"].text == "can't be told: the ledger can't be read"


def test_a_configuration_with_mistakes_is_told_and_the_machine_is_looked_at(tmp_path):
    config = tmp_path / "echocart.toml"
    config.write_text('[box]\nae_titel = "X"\n')
    seen = {one.name: one for one in diagnose(config)}
    assert seen["configuration"].word == "broken"
    assert "ae_titel" in seen["configuration"].text
    assert "MB are available" in seen["memory"].text


def test_a_probe_that_hangs_and_one_that_fails_are_told_and_hold_up_nobody(box):
    never = threading.Event()
    probes = [
        Probe("hangs", lambda _: ok("hangs", str(never.wait(60)))),
        Probe("fails", lambda _: ok("fails", str(1 // 0))),
        Probe("works", lambda _: ok("works", "fine")),
    ]
    begun = time.monotonic()
    hangs, fails, works = examine(probes, Asked.of(box.config)[0], 0.5)
    assert time.monotonic() - begun < 30
    never.set()
    assert hangs.text == "gave no answer within 0.5 s"
    assert (fails.word, fails.text) == ("attention", "could not be looked at (ZeroDivisionError)")
    assert works.word == "ok"


def test_a_clock_before_the_newest_object_is_broken(box):
    seq = box.receive(1)
    later = (datetime.now(timezone.utc) + timedelta(days=365)).isoformat()
    box.ledger.db.conn.execute("UPDATE instance SET received_at = ? WHERE seq = ?", [later, seq])
    assert found(box)["clock"].word == "broken"


def test_a_certificate_near_its_end_asks_for_a_new_one(box, tmp_path):
    with box.config.open("a") as file:
        file.write(
            f'[webui]\ntls_certificate = "{tmp_path}/short.pem"\ntls_key = "{tmp_path}/k.pem"\n'
        )
    (tmp_path / "short.pem").write_bytes(short_lived(days=5))
    (tmp_path / "k.pem").write_text("")
    seen = found(box)["webui.tls_certificate"]
    assert seen.word == "attention"
    (tmp_path / "short.pem").write_text("none")
    assert found(box)["webui.tls_certificate"].word == "broken"


def short_lived(days: int) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "box")])
    now = datetime.now(timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = made.not_valid_before(now).not_valid_after(now + timedelta(days=days))
    return signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_a_key_that_others_may_read_is_named(box):
    key = box.state / "upstream.key"
    key.write_bytes(b"k")
    key.chmod(0o604)
    seen = found(box)["rights"]
    assert seen.word == "attention"
    assert "upstream.key" in seen.text


def test_too_little_room_is_broken(box):
    text = box.config.read_text().replace("space_floor_mb = 0", "space_floor_mb = 999999999")
    box.config.write_text(text)
    assert found(box)["space"].word == "broken"


def test_a_destination_that_is_gone_asks_for_attention_or_is_broken(box, tmp_path):
    text = box.config.read_text().replace(f'path = "{box.root}"', f'path = "{tmp_path}/unplugged"')
    box.config.write_text(text)
    assert found(box)["destination usb"].word == "broken"


def test_every_probe_has_a_name_of_its_own():
    names = [probe.name for probe in PROBES]
    assert len(names) == len(set(names))
    assert os.fspath(Path(names[0]))
