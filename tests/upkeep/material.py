"""A box's state with objects and reviews, made as the services make it, without starting them."""

import shutil
import sys
from pathlib import Path
from subprocess import CompletedProcess, run

from appliance.config import load
from appliance.ledger import Ledger, analysis, audit, cart, reception, review, user
from appliance.ledger.reception import Received
from appliance.ledger.review import Decision
from appliance.spool import Spool
from appliance.upkeep import records
from tests.box import REPOSITORY
from tests.ledger.test_states import OPENED
from tests.scp.objects import write_object

WANTED = [("usb", "seg"), ("usb", "sr")]


class Kept:
    """A state directory with a folder destination, one user and one cart."""

    def __init__(self, root: Path) -> None:
        self.root, self.state = root, root / "state"
        root.mkdir(parents=True, exist_ok=True)
        self.config = root / "echocart.toml"
        self.config.write_text(
            f'[box]\nae_title = "ECHOCART"\nstate_dir = "{self.state}"\n'
            f"[scp]\nspace_floor_mb = 0\n"
            f'[[destination]]\nname = "usb"\nkind = "folder"\npath = "{root}"\n'
        )
        self.settings = load(self.config)
        self.ledger, self.spool = Ledger(self.state), Spool(self.state)
        if not user.listed(self.ledger):
            user.add(self.ledger, "AK", ["sonographer"], "argon2", "test")
            cart.allow(self.ledger, "VIVID", "", {"name": "room-1", "calling_ae": "VIVID"}, "test")

    def again(self) -> "Kept":
        """Open the same state with new connections."""
        self.ledger.close()
        return Kept(self.root)

    def receive(self, n: int, pixels: bytes = b"\x80" * 4096) -> int:
        """Receive an object; return its number."""
        source = write_object(self.root / f"{n}.dcm", SOPInstanceUID=f"1.2.{n}", pixels=pixels)
        adopted = self.spool.adopt(Path(shutil.copy(source, self.spool.incoming)))
        (self.spool.incoming / source.name).unlink()
        received = Received(
            SOPInstanceUID=f"1.2.{n}",
            SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1",
            TransferSyntaxUID="1.2.840.10008.1.2.1",
            StudyInstanceUID="1.9",
            PatientID="CANARY-ID",
            sha256=adopted.sha256,
            size=adopted.size,
            calling_ae_title="VIVID",
            peer="10.0.0.1",
        )
        return reception.record(self.ledger, received).seq

    def analysed(self, n: int) -> tuple[int, str]:
        """Receive an object and analyse it; return its number and the analysis' hash."""
        seq = self.receive(n)
        claim = analysis.claim(self.ledger, "engine", 10)
        assert claim is not None
        number = analysis.open(self.ledger, claim, OPENED)
        chunk = self.spool.put_chunk(f"label maps of {n}".encode())
        analysis.add_chunk(self.ledger, claim, number, 0, 8, chunk)
        account = {"per_frame": [], "quality": {}, "timings": {}}
        return seq, analysis.seal(
            self.ledger, claim, number, measures={"ef_percent": 55}, **account
        )

    def reviewed(self, n: int, decision: str = "accepted") -> int:
        """Receive, analyse and decide; return the review's number."""
        seq, sha256 = self.analysed(n)
        return self.decide(seq, sha256, f"key-{n}", decision)

    def decide(self, seq: int, sha256: str, key: str, decision: str) -> int:
        """Decide on a loop as the page does."""
        made = Decision(seq, sha256, "CANARY-ID", decision, "AK", key)
        row = review.record(self.ledger, made, WANTED if decision == "accepted" else [])
        records.write(self.ledger, self.spool, row["id"])
        return int(row["id"])

    def reviews(self) -> list[tuple[object, ...]]:
        """Return what every review says, in order."""
        rows = self.ledger.read(
            "SELECT r.id, r.decision, r.reviewer, r.result_sop_instance_uid, r.analysis_sha256,"
            " i.sop_instance_uid, i.sha256, r.at FROM review r JOIN instance i USING (seq)"
            " ORDER BY r.id"
        )
        return [tuple(row.values()) for row in rows]

    def verdict(self) -> str:
        """Say what the audit's verification finds; "" for nothing."""
        return audit.verify(self.ledger).problem

    def fold(self) -> None:
        """Bring all rows into the one file, and let go of it."""
        self.ledger.checkpoint()
        self.ledger.close()

    def command(self, *arguments: str) -> "CompletedProcess[str]":
        """Run the command line."""
        line = [sys.executable, "-m", "appliance", *arguments, "--config", str(self.config)]
        return run(line, capture_output=True, text=True, cwd=REPOSITORY, check=False)


def truncate(path: Path) -> None:
    """Leave the first half of a file."""
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size // 2)


def no_header(path: Path) -> None:
    """Overwrite what says that a file is a database."""
    with path.open("r+b") as stream:
        stream.write(b"\xff" * 100)


def flip_pages(path: Path) -> None:
    """Invert every second page but those of the header and the schema."""
    content = bytearray(path.read_bytes())
    size = int.from_bytes(content[16:18], "big")
    for start in range(7 * size, len(content), 2 * size):
        page = content[start : start + size]
        content[start : start + size] = bytes(byte ^ 0xFF for byte in page)
    with path.open("r+b") as stream:
        stream.write(content)


def empty(path: Path) -> None:
    """Leave nothing of a file but its name."""
    path.write_bytes(b"")


DAMAGES = {
    "truncated": truncate,
    "bytes flipped": flip_pages,
    "header gone": no_header,
    "emptied": empty,
}
