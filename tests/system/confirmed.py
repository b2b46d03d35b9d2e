"""What a box has confirmed to somebody, and whether its disk has it after its power was cut."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pydicom

from appliance.ledger import Ledger
from appliance.spool import Spool
from appliance.upkeep.fsck import examine

_MENDED = ("foreign", "review")  # faults that the box puts right by itself when it starts


class Told:
    """What the box has confirmed to somebody; kept in a file, for a run that goes on.

    Parameters
    ----------
    path
        The file, a line for each.

    Attributes
    ----------
    objects
        SOP Instance UIDs that got success, with the file that was sent.
    reviews
        Keys of the decisions that the page confirmed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.objects: dict[str, Path] = {}
        self.reviews: list[str] = []
        for line in path.read_text().splitlines() if path.exists() else ():
            kind, name = json.loads(line)
            if kind == "object":
                self.objects[name] = sent_as(path.parent, name)
            else:
                self.reviews.append(name)

    def object(self, uid: str) -> None:
        """Note an object that got success."""
        self._note("object", uid)
        self.objects[uid] = sent_as(self._path.parent, uid)

    def review(self, key: str) -> None:
        """Note a decision that the page confirmed."""
        self._note("review", key)
        self.reviews.append(key)

    def _note(self, kind: str, name: str) -> None:
        with self._path.open("a") as stream:
            stream.write(json.dumps([kind, name]) + "\n")


def sent_as(folder: Path, uid: str) -> Path:
    """Return where a sent object stays, to be compared with what was kept."""
    return folder / "sent" / f"{uid}.dcm"


def lost(disk: Path, told: Told) -> Iterator[str]:
    """Yield what was confirmed and isn't there, or not intact; and whatever fsck finds."""
    state = disk.with_name("found")
    shutil.rmtree(state, ignore_errors=True)
    with mounted(disk) as tree:
        # A copy: the machine may go on, and opening a ledger writes.
        shutil.copytree(tree / "var/lib/echocart", state)
    ledger, spool = Ledger(state), Spool(state)
    for fault in examine(ledger, spool):
        if fault.kind not in _MENDED:
            yield f"{fault.subject}: {fault.text}"
    rows = {row["sop_instance_uid"]: row for row in ledger.read("SELECT * FROM instance")}
    for uid, sent in told.objects.items():
        if problem := _problem(rows.get(uid), spool, sent):
            yield f"{uid}: {problem}"
    keys = {row["key"] for row in ledger.read("SELECT key FROM review")}
    yield from (f"review {key}" for key in told.reviews if key not in keys)
    ledger.close()


def _problem(row: dict[str, Any] | None, spool: Spool, sent: Path) -> str:
    """Say what is wrong with an object that was confirmed; "" when nothing is."""
    if row is None:
        return "no row"
    kept = spool.object_path(row["sha256"])
    if not kept.exists():
        return "no file"
    if sha256(kept.read_bytes()).hexdigest() != row["sha256"]:
        return "other bytes than the ledger says"
    if pydicom.dcmread(kept).PixelData != pydicom.dcmread(sent).PixelData:
        return "other pixels than were sent"
    return ""


@contextmanager
def mounted(disk: Path) -> Iterator[Path]:
    """Mount an image; the file system's journal is replayed, as by the next boot."""
    tree = disk.with_name("mounted")
    tree.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", disk, tree], check=True)
    try:
        yield tree
    finally:
        subprocess.run(["umount", tree], check=True)
