"""What keeps a box's state whole while it runs, in a thread of the sync service."""

import logging
import sqlite3
import threading
from collections.abc import Callable

from appliance.config import Settings
from appliance.errors import ApplianceError
from appliance.ledger import Ledger
from appliance.ledger.connection import is_damage
from appliance.spool import Spool
from appliance.upkeep import damage, rebuild, records, snapshot

log = logging.getLogger("echocart")

_EVERY_S = 60.0


def start(
    settings: Settings,
    is_stopping: Callable[[], bool],
    wait: Callable[[float], bool],
) -> threading.Thread:
    """Record what lies in the spool without a row, then keep files of reviews and a copy up to date.

    Parameters
    ----------
    settings
        The box's.
    is_stopping, wait
        Of the service's `Stop`.
    """

    def work() -> None:
        ledger, spool = Ledger(settings.box.state_dir), Spool(settings.box.state_dir)
        todo = [lambda: rebuild.record_found(ledger, spool, settings.originals, is_stopping)]
        while True:
            while todo and _done(todo[0]):
                todo.pop()
            _done(lambda: records.write_missing(ledger, spool))
            if snapshot.is_due(settings.box.state_dir):
                _done(lambda: _take(settings))
            if wait(_EVERY_S):
                return

    thread = threading.Thread(target=work, name="upkeep", daemon=True)
    thread.start()
    return thread


def _take(settings: Settings) -> None:
    try:
        snapshot.take(settings.box.state_dir)
    except ApplianceError as error:
        if error.__cause__ is not None and is_damage(error.__cause__):
            damage.mark(settings.box.state_dir)
        raise


def _done(step: Callable[[], object]) -> bool:
    """A full disk, or a ledger that is locked for long, passes: False, and it is tried again."""
    try:
        step()
    except (ApplianceError, sqlite3.Error, OSError) as error:
        kind = error.operation if isinstance(error, ApplianceError) else type(error).__name__
        log.warning("upkeep waits (%s)", kind)
        return False
    return True
