"""Rows for the objects that lie in the spool without one: after the ledger was lost, or a part of it."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from appliance import part10
from appliance.errors import Part10Error
from appliance.ledger import Ledger, restored
from appliance.ledger.reception import Received
from appliance.spool import Spool, hash_file

log = logging.getLogger("echocart")

_HEAD = 1 << 16  # bytes: more than an object's patient module takes
_NUMBERS = ("SeriesNumber", "InstanceNumber")


@dataclass
class Found:
    """What came of a look through the spool: objects given a row, and those that could not be."""

    recorded: int = 0
    damaged: int = 0


def without_row(ledger: Ledger, spool: Spool) -> list[Path]:
    """Return the files of received objects that have no row, those that came first first."""
    # In this order: an object loses its name in `incoming` only once its row is on disk.
    there = list(_stated(spool.objects.glob("??/*.dcm")))
    arriving = {about.st_ino for about, _ in _stated(spool.incoming.iterdir())}
    known = {row["sha256"] for row in ledger.read("SELECT DISTINCT sha256 FROM instance")}
    lacking = [
        (about.st_mtime_ns, path)
        for about, path in there
        if path.stem not in known and about.st_ino not in arriving
    ]
    return [path for _, path in sorted(lacking)]


def _stated(paths: Iterable[Path]) -> Iterator[tuple[os.stat_result, Path]]:
    for path in paths:
        try:
            yield path.stat(), path
        except FileNotFoundError:
            continue  # gone since it was listed: purged, or received to its end


def record_found(
    ledger: Ledger,
    spool: Spool,
    originals: Sequence[str] = (),
    stopping: Callable[[], bool] = lambda: False,
) -> Found:
    """Write the row of each object that has none, and queue its analysis.

    What nobody can know any more stays empty: who sent it. It came when its file was written.

    Parameters
    ----------
    ledger, spool
        The box's; reception may go on meanwhile.
    originals
        Destinations that get every object byte for byte.
    stopping
        Ends it between two objects.
    """
    found = Found()
    for path in without_row(ledger, spool):
        if stopping():
            break
        try:
            received, at = _received(path)
        except (OSError, Part10Error):
            found.damaged += 1
            continue
        restored.found(ledger, received, at, originals)
        found.recorded += 1
    if found.recorded or found.damaged:
        log.warning(
            "objects found in the spool without a row: %d recorded, %d damaged and left as they are",
            *(found.recorded, found.damaged),
        )
    return found


def _received(path: Path) -> tuple[Received, str]:
    sha256 = hash_file(path)
    if sha256 != path.stem:
        raise Part10Error(
            "record an object that was found", f"{path.name} has changed on disk", "Check the disk."
        )
    descriptor = os.open(path, os.O_RDONLY)
    try:
        identity, syntax = part10.read_identity(descriptor, os.pread(descriptor, _HEAD, 0))
        about = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    values = asdict(identity)
    for keyword in _NUMBERS:
        values[keyword] = part10.whole_number(values[keyword])
    came = datetime.fromtimestamp(about.st_mtime, timezone.utc)
    received = Received(
        **values,
        TransferSyntaxUID=syntax,
        sha256=sha256,
        size=about.st_size,
        calling_ae_title="",
        peer="",
    )
    return received, came.isoformat(timespec="milliseconds").replace("+00:00", "Z")
