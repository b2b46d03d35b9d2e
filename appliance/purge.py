"""Making room: files of objects that an archive has proven to hold, oldest first, when space asks."""

import logging
from dataclasses import dataclass
from pathlib import Path

from appliance.config import Settings
from appliance.errors import SpoolError
from appliance.ledger import Ledger, space
from appliance.spool import Spool, spool_error, sync_folder

log = logging.getLogger("echocart.purge")

_MB = 1_000_000
# Purging starts well before reception has to stop, and goes a bit further than it must: it
# should not run for every object that arrives.
_STARTS, _ENDS = 2.0, 2.5  # times the floor
_BELOW_CEILING = 0.95
_AT_ONCE = 50  # files, a second at the most: the caller has other things to do


@dataclass(frozen=True)
class Leaving:
    """An object whose file leaves: its row, size in bytes, and the destinations that keep it."""

    seq: int
    size: int
    kept_in: str


class Purge:
    """Removes files of received objects; their rows, masks and reviews stay.

    Parameters
    ----------
    settings
        The floor and the ceiling.
    ledger, spool
        The box's.
    """

    def __init__(self, settings: Settings, ledger: Ledger, spool: Spool) -> None:
        self._floor = settings.scp.space_floor_mb * _MB
        self._ceiling = settings.scp.space_ceiling_mb * _MB
        self._ledger = ledger
        self._spool = spool

    def wanted(self) -> int:
        """Return how many bytes should go now: 0 while there is room enough."""
        free = self._spool.free_bytes()
        wanted = self._floor * _ENDS - free if free < self._floor * _STARTS else 0
        if self._ceiling:
            used = space.used_bytes(self._ledger)
            if used > self._ceiling:
                wanted = max(wanted, used - self._ceiling * _BELOW_CEILING)
        return max(0, int(wanted))

    def plan(self, wanted: int, limit: int = 1_000_000) -> list[Leaving]:
        """Return what would go to win `wanted` bytes, as far as anything may."""
        found, won = list[Leaving](), 0
        for row in space.may_leave(self._ledger, limit) if wanted > 0 else []:
            if won >= wanted:
                break
            found.append(Leaving(row["seq"], row["size"], row["kept_in"]))
            won += row["size"]
        return found

    def some(self, wanted: int) -> list[Leaving]:
        """Remove as much as is quickly done towards `wanted` bytes; return what has gone.

        Raises
        ------
        SpoolError
            When a file can't be removed; its row still says that it is here.
        """
        self._finish_what_was_cut_short()
        gone = []
        for one in self.plan(wanted, _AT_ONCE):
            if self._remove(one.seq):
                gone.append(one)
        if gone:
            size = sum(one.size for one in gone) / _MB
            log.info("made room: %d objects, %.0f MB, all in an archive", len(gone), size)
        return gone

    def _remove(self, seq: int) -> bool:
        row = self._ledger.read_one("SELECT sha256 FROM instance WHERE seq = ?", [seq])
        assert row is not None
        path = self._spool.object_path(row["sha256"])
        leaving = self._spool.leaving / path.name
        try:
            # Moved away first: a kill leaves a file that the row or its place explains.
            with self._spool.purging(may=True):
                # One that the disk has lost is as gone as the others.
                moved = _moved(path, leaving)
                if not space.purged(self._ledger, seq):
                    _moved(leaving, path)
                    return False
            if moved:
                sync_folder(path.parent)
                leaving.unlink()
            self._spool.frames_path(row["sha256"]).unlink(missing_ok=True)
        except OSError as error:
            raise _error(path, error) from error
        return True

    def _finish_what_was_cut_short(self) -> None:
        for leaving in self._spool.leaving.iterdir():
            path = self._spool.object_path(leaving.stem)
            try:
                with self._spool.purging(may=True):
                    if space.is_purged(self._ledger, leaving.stem) or path.exists():
                        leaving.unlink()
                    else:
                        leaving.rename(path)
            except OSError as error:
                raise _error(leaving, error) from error


def _moved(path: Path, to: Path) -> bool:
    try:
        path.rename(to)
    except FileNotFoundError:
        return False
    return True


def _error(path: Path, error: OSError) -> SpoolError:
    return spool_error(path.parent, error, "make room")
