"""Objects that are not what was announced: put aside for whoever mends the sender."""

from __future__ import annotations

import logging
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from appliance.ledger import Ledger, quarantine
from appliance.ledger.reception import Received
from appliance.scp.arriving import ArrivingFile
from appliance.spool import Spool, sync_folder

if TYPE_CHECKING:
    from appliance.scp.store import Announced

log = logging.getLogger("echocart.scp")

MOST = 100  # files, and
MOST_BYTES = 1_000_000_000  # bytes: a cart that repeats its mistake must not fill the disk


class Quarantine:
    """The folder `spool/quarantine`; its oldest files go when it is full.

    Parameters
    ----------
    spool, ledger
        Where bytes and rows go.
    """

    def __init__(self, spool: Spool, ledger: Ledger) -> None:
        self._spool = spool
        self._ledger = ledger

    def take(self, file: ArrivingFile, found: Received, announced: Announced, why: str) -> None:
        """Put a refused object aside. That this fails changes nothing for its sender."""
        refused = quarantine.Refused(
            sha256=found.sha256,
            size=found.size,
            announced_sop_instance_uid=announced.SOPInstanceUID,
            announced_sop_class_uid=announced.SOPClassUID,
            sop_instance_uid=found.SOPInstanceUID,
            sop_class_uid=found.SOPClassUID,
            calling_ae_title=announced.calling_ae_title,
            peer=announced.peer,
            why=why,
        )
        try:
            file.path.replace(self._spool.quarantine_path(found.sha256))
            sync_folder(self._spool.quarantine)
            quarantine.record(self._ledger, refused)
            self._shorten()
        except (OSError, sqlite3.Error) as error:
            log.warning("a refused object was not put aside (%s)", type(error).__name__)

    def _shorten(self) -> None:
        room, count = MOST_BYTES, MOST
        for path, size in _newest_first(self._spool.quarantine):
            room, count = room - size, count - 1
            if room < 0 or count < 0:
                path.unlink(missing_ok=True)
                quarantine.forget(self._ledger, path.stem)


def _newest_first(folder: Path) -> list[tuple[Path, int]]:
    with os.scandir(folder) as entries:
        found = [(entry.stat(), Path(entry.path)) for entry in entries]
    found.sort(key=lambda one: one[0].st_mtime_ns, reverse=True)
    return [(path, about.st_size) for about, path in found]
