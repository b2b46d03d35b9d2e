"""Released models over a real web server: what is taken, and every way in which it must not be."""

import io
import json
import shutil
import tarfile
from datetime import datetime, timedelta, timezone

import pytest
from securesystemslib.signer import CryptoSigner

from appliance.ledger import release, setting
from appliance.releases import bundle, model_store
from appliance.releases.updates import UpdateError
from models.repository import Repository, RepositoryError
from tests.central import CartBox, Central
from tests.central import packed as bundles


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return bundles(tmp_path_factory.mktemp("bundles"), "2.0.0", "2.1.0")


@pytest.fixture
def central(tmp_path):
    made = Central(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def box(tmp_path, central):
    return CartBox(tmp_path, central)


def test_a_release_is_fetched_once_and_kept_whole(box, central, packed):
    assert box.fetch() == []
    central.release(packed["2.0.0"])
    assert box.fetch() == ["cart-2.0.0"]
    assert box.fetch() == []
    assert box.state("cart-2.0.0") == "fetched"
    assert "cart-2.0.0" in box.models()
    central.release(packed["2.1.0"])
    assert box.fetch() == ["cart-2.1.0"]


def test_a_changed_byte_is_refused_and_the_next_whole_one_taken(box, central, packed):
    central.release(packed["2.0.0"])
    (file,) = (central.folder / "targets").iterdir()
    good = file.read_bytes()
    file.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(UpdateError, match="isn't the one that was signed"):
        box.fetch()
    assert box.state("cart-2.0.0") is None
    file.write_bytes(good)
    assert box.fetch() == ["cart-2.0.0"]


def test_an_older_state_is_not_believed(box, central, packed):
    central.release(packed["2.0.0"])
    old = (central.metadata / "timestamp.json").read_bytes()
    central.release(packed["2.1.0"])
    box.fetch()
    (central.metadata / "timestamp.json").write_bytes(old)
    with pytest.raises(UpdateError, match="older state"):
        box.fetch()


def test_expired_signatures_are_not_believed_and_the_model_stays(box, central, packed):
    central.release(packed["2.0.0"])
    box.fetch()
    long_ago = datetime.now(timezone.utc) - timedelta(days=91)
    Repository(central.folder, now=lambda: long_ago).refresh(central.keys)
    with pytest.raises(UpdateError, match="expired"):
        box.fetch()
    assert "cart-2.0.0" in box.models()


def test_a_strangers_key_is_not_believed(box, central, packed):
    stranger = Central(central.folder.parent / "stranger")
    stranger.release(packed["2.0.0"])
    for name in ("metadata", "targets"):
        shutil.rmtree(central.folder / name)
        shutil.copytree(stranger.folder / name, central.folder / name)
    stranger.server.server_close()
    with pytest.raises(UpdateError, match="isn't signed by the keys"):
        box.fetch()


def test_a_new_root_signed_by_one_of_two_is_not_believed(box, central, packed):
    fresh = CryptoSigner.generate_ed25519()
    with pytest.raises(RepositoryError, match="1 root keys sign, 2 must"):
        central.repository.rotate("targets", fresh, central.roots[:1])
    central.repository.rotate("targets", fresh, central.roots[:2])
    path = central.metadata / "2.root.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "signatures": whole["signatures"][:1]}))
    with pytest.raises(UpdateError, match="isn't signed by the keys"):
        box.fetch()
    path.write_text(json.dumps(whole))
    central.keys["targets"] = fresh
    central.release(packed["2.0.0"])
    assert box.fetch() == ["cart-2.0.0"]


def test_metadata_of_two_states_is_not_believed(box, central, packed):
    central.release(packed["2.0.0"])
    newest = sorted(central.metadata.glob("*.targets.json"))[-1]
    shutil.copyfile(central.metadata / "1.targets.json", newest)
    with pytest.raises(UpdateError):
        box.fetch()
    assert box.models() == set(box.models()) - {"cart-2.0.0"}


def test_a_file_without_an_end_is_cut(box, central, packed):
    central.release(packed["2.0.0"])
    (file,) = (central.folder / "targets").iterdir()
    with file.open("ab") as stream:
        stream.write(b"\0" * 50_000_000)
    with pytest.raises(UpdateError, match="longer than was signed"):
        box.fetch()


def test_without_a_network_it_says_so_and_nothing_changes(box, central):
    central.server.shutdown()
    central.server.server_close()
    with pytest.raises(UpdateError, match="can't be reached"):
        box.fetch()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", "1.targets.json"])
def test_a_root_that_is_none_is_not_the_repository_s_fault(box, central, content):
    if isinstance(content, str):
        content = (central.metadata / content).read_bytes()
    box.settings.updates.root.write_bytes(content)
    with pytest.raises(UpdateError, match=r"root\.json is no root of a repository"):
        box.fetch()


def test_a_withdrawn_model_draws_no_more(box, central, packed):
    central.release(packed["2.0.0"])
    box.fetch()
    shipped = model_store.resolved([""])[0]
    release.step(box.ledger, "cart-2.0.0", "0" * 64, "promoted", "", "BM", before=shipped)
    setting.choose_models(box.ledger, ["cart-2.0.0"], "BM")
    central.repository.withdraw("cart-2.0.0.tar", "it misses small atria", central.keys)
    assert box.fetch() == []
    assert box.state("cart-2.0.0") == "withdrawn"
    assert model_store.chosen(box.ledger, box.settings) == (shipped,)
    assert release.history(box.ledger, "cart-2.0.0")[-1]["why"] == "it misses small atria"


def changed(path, folder, change):
    """The same bundle with one thing otherwise, signed all the same."""
    made = folder / path.name
    with tarfile.open(path) as tar, tarfile.open(made, "w:") as out:
        for member in tar:
            item, data = change(member, tar.extractfile(member).read())
            item.size = len(data)
            out.addfile(item, io.BytesIO(data))
    return made


def outside(member, data):
    if member.name == "README.md":
        member.name = "../escaped"
    return member, data


def newer(member, data):
    if member.name == bundle.ABOUT:
        data = json.dumps({**json.loads(data), "minimum_appliance": "99.0.0"}).encode()
    return member, data


def torn(member, data):
    return member, data[:-1] if member.name == "network.onnx" else data


def ungolden(member, data):
    member.name = (
        member.name.replace("golden/", "README.") if "golden" in member.name else member.name
    )
    return member, data


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (outside, "no part of a model"),
        (newer, "needs Echocart 99.0.0"),
        (torn, "network.onnx"),
        (ungolden, "no golden frames"),
    ],
)
def test_what_is_signed_and_unusable_is_refused_once_with_its_reason(
    box, central, packed, tmp_path, change, why
):
    central.release(changed(packed["2.0.0"], tmp_path, change))
    assert box.fetch() == []
    assert box.fetch() == []
    (row,) = release.history(box.ledger, "cart-2.0.0")
    assert row["state"] == "refused"
    assert why in row["why"]
    assert "cart-2.0.0" not in box.models()
    assert not (tmp_path / "state" / "escaped").exists()
