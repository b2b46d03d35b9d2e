"""A released model on a USB stick: what minisign verifies, the box takes, and nothing else."""

import hashlib
import io
import shutil
import subprocess
import tarfile

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from appliance.cli import app
from appliance.config import Settings
from appliance.errors import ManifestError
from appliance.ledger import Ledger, release
from appliance.releases.minisign import PublicKey, Signature, SignatureError, digest_of
from appliance.releases.stick import take
from models import usb
from tests.central import CartBox, Central
from tests.central import packed as bundles


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return bundles(tmp_path_factory.mktemp("bundles"), "2.0.0", "2.1.0")


@pytest.fixture(scope="module")
def key():
    return Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def stick(packed, key, tmp_path_factory):
    """A stick with both releases: version to file."""
    folder = tmp_path_factory.mktemp("stick")
    return {version: usb.write(path, key, folder) for version, path in packed.items()}


class Away:
    """A box without a network, that knows the key for sticks."""

    def __init__(self, folder, key):
        self.config = folder / "echocart.toml"
        self.config.write_text(
            f'[box]\nae_title = "ECHOCART"\nstate_dir = "{folder / "state"}"\n'
            f'[updates]\nusb_key = "{usb.public_key(key)}"\n'
        )
        (folder / "state").mkdir()
        self.ledger = Ledger(folder / "state")

    def fetch(self, path):
        return CliRunner().invoke(
            app, ["model", "fetch", "--file", str(path), "--config", str(self.config)]
        )

    def state(self, name):
        row = release.newest(self.ledger).get(name)
        return row and row["state"]


@pytest.fixture
def box(tmp_path, key):
    return Away(tmp_path, key)


def refused(box, path):
    done = box.fetch(path)
    assert done.exit_code != 0
    left = sorted(item.name for item in (box.config.parent / "state").glob("updates/bundles/*"))
    assert left == []
    return str(done.exception or done.output)


def changed(path, to, member, change):
    """The file with the content of one member changed; sizes and checksums of the tar are right."""
    with tarfile.open(path) as tar, tarfile.open(to, "w:", format=tarfile.USTAR_FORMAT) as made:
        for item in tar:
            data = tar.extractfile(item).read()
            data = change(data) if item.name.endswith(member) else data
            item.size = len(data)
            made.addfile(item, io.BytesIO(data))
    return to


def test_a_release_on_a_stick_is_taken_without_a_network(box, stick):
    done = box.fetch(stick["2.0.0"])
    assert done.exit_code == 0, done.exception
    assert "fetched: cart-2.0.0" in done.output
    assert box.state("cart-2.0.0") == "fetched"
    proven = CliRunner().invoke(app, ["model", "prove", "cart-2.0.0", "--config", str(box.config)])
    assert "cart-2.0.0 is proven" in proven.output, proven.exception
    assert box.fetch(stick["2.1.0"]).exit_code == 0


def test_what_minisign_verifies_is_what_the_box_verifies(stick, key, tmp_path):
    if shutil.which("minisign") is None:
        pytest.skip("minisign is not installed: apt install minisign")
    with tarfile.open(stick["2.0.0"]) as tar:
        tar.extractall(tmp_path, filter="data")
    command = ["minisign", "-Vm", tmp_path / "cart-2.0.0.tar", "-P", str(usb.public_key(key))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "echocart model cart-2.0.0" in done.stdout
    with (tmp_path / "cart-2.0.0.tar").open("r+b") as stream:
        stream.seek(5000)
        byte = stream.read(1)[0]
        stream.seek(5000)
        stream.write(bytes([byte ^ 1]))
    assert subprocess.run(command, capture_output=True).returncode != 0


def test_what_minisign_signs_is_verified_here(tmp_path):
    if shutil.which("minisign") is None:
        pytest.skip("minisign is not installed: apt install minisign")
    file = tmp_path / "file"
    file.write_bytes(b"anything")
    keys = ["-p", tmp_path / "key.pub", "-s", tmp_path / "key"]
    subprocess.run(["minisign", "-G", "-W", *keys], check=True, capture_output=True)
    said = ["-t", "words that count"]
    subprocess.run(["minisign", "-Sm", file, *keys[2:], *said], check=True, capture_output=True)
    public = PublicKey.parse((tmp_path / "key.pub").read_text())
    assert public.file() == (tmp_path / "key.pub").read_text()
    signature = Signature.parse((tmp_path / "file.minisig").read_text())
    with file.open("rb") as stream:
        assert signature.verify(digest_of(stream), public) == "words that count"


def test_a_changed_byte_is_refused(box, stick, tmp_path):
    def change(data):
        return data[:90_000] + bytes([data[90_000] ^ 1]) + data[90_001:]

    path = changed(stick["2.0.0"], tmp_path / "changed.echocart", ".tar", change)
    assert "isn't the one that was signed" in refused(box, path)
    assert box.state("cart-2.0.0") is None


def test_a_changed_comment_is_refused(box, stick, tmp_path):
    def change(data):
        assert b"cart-2.0.0" in data
        return data.replace(b"cart-2.0.0", b"cart-9.0.0")

    path = changed(stick["2.0.0"], tmp_path / "changed.echocart", ".minisig", change)
    assert "comment isn't the one that was signed" in refused(box, path)


def test_the_signature_of_another_release_is_refused(box, stick, tmp_path):
    with tarfile.open(stick["2.1.0"]) as tar:
        other = tar.extractfile("cart-2.1.0.tar.minisig").read()
    path = changed(stick["2.0.0"], tmp_path / "mixed.echocart", ".minisig", lambda _: other)
    assert "isn't the one that was signed" in refused(box, path)


def test_a_stranger_s_key_is_refused(box, packed, key, tmp_path):
    stranger = Ed25519PrivateKey.generate()
    path = usb.write(packed["2.0.0"], stranger, tmp_path / "stranger")
    assert "another key signed it" in refused(box, path)
    # The same under the name of the key that counts.
    identity = usb.public_key(key).identity

    def change(data):
        found = Signature.parse(data.decode())
        return Signature(identity, found.signature, found.comment, found.whole).file().encode()

    path = changed(path, tmp_path / "named.echocart", ".minisig", change)
    assert "isn't the one that was signed" in refused(box, path)


def test_an_older_release_than_one_that_was_here_is_refused(box, stick):
    assert box.fetch(stick["2.1.0"]).exit_code == 0
    assert "cart-2.0.0 is older than cart-2.1.0" in refused(box, stick["2.0.0"])
    assert box.state("cart-2.0.0") is None


def test_the_same_once_more_changes_nothing(box, stick):
    assert box.fetch(stick["2.0.0"]).exit_code == 0
    row = release.newest(box.ledger)["cart-2.0.0"]
    release.step(box.ledger, "cart-2.0.0", row["sha256"], "promoted", "")
    assert box.fetch(stick["2.0.0"]).exit_code == 0
    assert box.state("cart-2.0.0") == "promoted"


def test_the_floor_is_that_of_releases_from_the_network_too(packed, stick, key, tmp_path):
    central = Central(tmp_path)
    try:
        box = CartBox(tmp_path, central)
        central.release(packed["2.1.0"])
        assert box.fetch() == ["cart-2.1.0"]
    finally:
        central.server.shutdown()
        central.server.server_close()
    known = box.settings.model_dump(mode="json")
    known["updates"]["usb_key"] = str(usb.public_key(key))
    with pytest.raises(ManifestError, match="is older than cart-2"):
        take(Settings.model_validate(known), box.ledger, stick["2.0.0"])


def test_a_withdrawn_release_does_not_come_back_on_a_stick(box, packed, stick):
    sha256 = hashlib.sha256(packed["2.0.0"].read_bytes()).hexdigest()
    release.step(box.ledger, "cart-2.0.0", sha256, "withdrawn", "too small atria")
    assert "withdrawn: too small atria" in refused(box, stick["2.0.0"])


def test_a_release_signed_under_another_s_name_is_refused(box, packed, key, tmp_path):
    other = tmp_path / "cart-3.0.0.tar"
    shutil.copyfile(packed["2.0.0"], other)
    assert "it says it is cart-2.0.0" in refused(box, usb.write(other, key, tmp_path))
    assert box.state("cart-3.0.0") == "refused"


@pytest.mark.parametrize("data", [b"", b"rubbish" * 1000, bytes(10240)])
def test_what_is_no_release_is_refused_in_one_sentence(box, tmp_path, data):
    path = tmp_path / "file.echocart"
    path.write_bytes(data)
    assert "is no release of a model" in refused(box, path)
    assert "is no release of a model" in refused(box, tmp_path / "missing.echocart")


def test_a_file_cut_short_is_refused(box, stick, tmp_path):
    path = tmp_path / "short.echocart"
    path.write_bytes(stick["2.0.0"].read_bytes()[:200_000])
    assert "is no release of a model" in refused(box, path)


def test_a_box_that_knows_no_key_takes_no_file(box, stick):
    box.config.write_text(box.config.read_text().partition("[updates]")[0])
    assert "knows no key for files" in refused(box, stick["2.0.0"])


@pytest.mark.parametrize(
    "text", ["", "RW", "RWSem938v8dStgeqnMVa4Xiw8Z+411yopY5gE1RtBPWMT4QGW", "é"]
)
def test_what_is_no_key_is_refused(text):
    with pytest.raises(SignatureError, match="no public key"):
        PublicKey.parse(text)


@pytest.mark.parametrize("line", range(4))
def test_a_signature_that_lacks_a_line_is_none(stick, line):
    with tarfile.open(stick["2.0.0"]) as tar:
        lines = tar.extractfile("cart-2.0.0.tar.minisig").read().decode().splitlines()
    del lines[line]
    with pytest.raises(SignatureError, match="no signature"):
        Signature.parse("\n".join(lines))
