"""`python -m models.publish`: the ceremony, a release, its end; and what it must refuse."""

import errno
import io
import json
import shutil
from pathlib import Path

import pytest

from appliance.manifest import current_model
from appliance.releases import bundle
from models import publish, signing

pytestmark = pytest.mark.models


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv(signing.PASSPHRASE, "a long passphrase")
    return tmp_path


@pytest.fixture
def typed(place, capsys):
    def run(command, *words):
        where = ["--repository", str(place / "repository")]
        keys = [] if command == "list" else ["--keys", str(place / "keys")]
        status = publish.main([command, *words, *where, *keys])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


def gate(place, **values):
    full = next(v for v in current_model().variants if v.precision == "f32")
    path = place / "gate.json"
    path.write_text(json.dumps({"candidate": {"sha256": full.sha256}, "passed": True, **values}))
    return str(path)


def test_from_the_ceremony_to_a_withdrawn_release_and_a_new_key(place, typed):
    assert typed("init")[0] == 0
    keys = sorted(path.name for path in (place / "keys").iterdir())
    assert keys == [
        f"{name}.pem" for name in sorted(["root-1", "root-2", "root-3", *signing.ONLINE])
    ]
    assert {path.stat().st_mode & 0o777 for path in (place / "keys").iterdir()} == {0o600}
    assert b"ENCRYPTED" in (place / "keys" / "root-1.pem").read_bytes()
    thresholds = place / "thresholds.json"
    thresholds.write_text('{"loops": -1}')
    terms = ("--thresholds", str(thresholds), "--floor", "0.9.0")
    assert "thresholds.json: loops: " in typed("add", "", "--gate", gate(place), *terms)[1]
    thresholds.write_text('{"loops": 20}')
    assert typed("add", "", "--gate", gate(place), *terms)[0] == 0
    (tar,) = (place / "repository" / "targets").glob("*.tar")
    about = bundle.unpack(tar, place / "unpacked").about
    assert (about.shadow.loops, about.floor) == (20, "0.9.0")
    assert "first-network-1.0.0.tar" in typed("list")[1]
    assert typed("withdraw", "first-network-1.0.0", "--why", "too small atria")[0] == 0
    assert "withdrawn: too small atria" in typed("list")[1]
    roots = [word for n in (1, 3) for word in ("--root-key", str(place / "keys" / f"root-{n}.pem"))]
    assert typed("rotate", "timestamp", *roots)[0] == 0
    assert typed("refresh")[0] == 0


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"passed": False}, "did not pass its gate"),
        ({"candidate": {"sha256": "0" * 64}}, "isn't of first-network-1.0.0"),
        ({"candidate": {}}, "isn't of first-network-1.0.0"),
    ],
)
def test_no_release_without_its_own_passed_gate(place, typed, values, why):
    typed("init")
    status, said = typed("add", "", "--gate", gate(place, **values))
    assert (status, why in said) == (1, True)
    assert "first-network" not in typed("list")[1]


def test_keys_in_use_are_never_overwritten_nor_opened_by_another_passphrase(
    place, typed, monkeypatch
):
    typed("init")
    status, said = typed("init")
    assert (status, "holds one already" in said) == (1, True)
    (place / "repository").rename(place / "before")
    status, said = typed("init")
    assert (status, "root-1.pem is there already" in said) == (1, True)
    (place / "before").rename(place / "repository")
    monkeypatch.setenv(signing.PASSPHRASE, "another passphrase")
    status, said = typed("refresh")
    assert (status, "can't be opened with this passphrase" in said) == (1, True)
    monkeypatch.setenv(signing.PASSPHRASE, "short")
    assert typed("init")[0] == 1


def test_one_root_key_rotates_nothing(place, typed):
    typed("init")
    before = (place / "keys" / "targets.pem").read_bytes()
    status, said = typed("rotate", "targets", "--root-key", str(place / "keys" / "root-1.pem"))
    assert (status, "2 must" in said) == (1, True)
    assert (place / "keys" / "targets.pem").read_bytes() == before
    assert typed("refresh")[0] == 0


def test_a_release_on_a_stick_needs_its_own_key_and_its_own_passed_gate(place, capsys):
    def typed(*words):
        status = publish.main([*words, "--keys", str(place / "keys")])
        said = capsys.readouterr()
        return status, said.out + said.err

    words = ("usb", "", "--out", str(place / "stick"), "--gate")
    status, said = typed(*words, gate(place))
    assert (status, "usb.pem is missing" in said) == (1, True)
    status, said = typed("usb-key")
    assert (status, (place / "keys" / "usb.pub").read_text().splitlines()[1] in said) == (0, True)
    assert typed("usb-key")[0] == 1, "a key in use is never overwritten"
    status, said = typed(*words, gate(place, passed=False))
    assert (status, "did not pass its gate" in said) == (1, True)
    assert not (place / "stick").exists()
    status, said = typed(*words, gate(place))
    assert (status, "model fetch --file" in said) == (0, True)
    assert [path.name for path in (place / "stick").iterdir()] == ["first-network-1.0.0.echocart"]


@pytest.mark.parametrize("text", ["[]", "{}", "", '{"candidate": 3}'])
def test_what_is_no_gates_report_is_named(place, typed, text):
    typed("init")
    (place / "gate.json").write_text(text)
    status, said = typed("add", "", "--gate", str(place / "gate.json"))
    assert (status, "gate.json is no gate's report" in said) == (1, True)


def test_a_model_that_tells_no_drift_is_released_only_on_purpose(place, typed):
    typed("init")
    folder = place / "first-network-1.0.0"
    shutil.copytree(current_model().folder, folder)
    path = folder / "reference.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "network_sha256": "0" * 64}))
    for _ in range(2):
        status, said = typed("add", str(folder), "--gate", gate(place))
        assert (status, "models.reference_statistics" in said) == (1, True)
        path.unlink(missing_ok=True)
    assert typed("add", str(folder), "--gate", gate(place), "--no-reference")[0] == 0


def test_a_ceremony_that_fails_leaves_no_key_behind(place, typed):
    assert "1 root keys can't sign" in typed("init", "--root-keys", "1")[1]
    (place / "repository").write_text("")
    status, said = typed("init")
    assert (status, "a file is where a folder should be" in said) == (1, True)
    (place / "repository").unlink()
    assert typed("init")[0] == 0


def test_a_rotation_that_was_cut_short_is_finished_by_the_same_words(place, typed, monkeypatch):
    typed("init")
    roots = [word for n in (1, 2) for word in ("--root-key", str(place / "keys" / f"root-{n}.pem"))]

    def fails(self, *_):
        raise OSError(errno.EIO, "Input/output error", str(self))

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", fails)
        assert typed("rotate", "targets", *roots)[0] == 1
    assert "isn't the one that root names" in typed("refresh")[1]
    assert typed("rotate", "targets", *roots)[0] == 0
    assert len(list((place / "repository" / "metadata").glob("*.root.json"))) == 2
    assert typed("refresh")[0] == 0


def test_without_anybody_to_type_the_passphrase_it_says_so(place, typed, monkeypatch):
    monkeypatch.delenv(signing.PASSPHRASE)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "no passphrase was given" in typed("init")[1]
