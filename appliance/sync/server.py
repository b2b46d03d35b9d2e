"""The echocart-sync service: the outbox is emptied as fast as destinations take it."""

import logging
import sqlite3
from collections.abc import Iterable

from appliance.config import Settings
from appliance.errors import LedgerError
from appliance.ledger import Ledger, delivery
from appliance.service import Stop, ready, status, watchdog
from appliance.spool import Spool
from appliance.sync.courier import Courier
from appliance.sync.folder import Folder
from appliance.sync.results import Results

log = logging.getLogger("echocart.sync")

_POLL_S = 1.0  # how soon a result whose time has come, or a stick plugged in again, is noticed
_LEDGER_PAUSE_S = 5.0


def run(settings: Settings, stop: Stop) -> None:
    """Deliver results until told to stop.

    Raises
    ------
    LedgerError, SpoolError
        When the state directory can't be used.
    """
    ledger = Ledger(settings.box.state_dir)
    results = Results(ledger, Spool(settings.box.state_dir), settings.box.station_name)
    folders = {item.name: Folder(item.path) for item in settings.destination}
    courier = Courier(ledger, folders, results.build)
    # The service's lock is ours: whoever held a lease before is dead.
    freed = delivery.recover(ledger)
    if freed:
        log.info("%d deliveries were cut short and are taken up again", freed)
    told = summary(ledger, folders)
    ready(told)
    while not stop.is_set():
        watchdog()
        try:
            if courier.deliver_next():
                continue
            now = summary(ledger, folders)
            if now != told:
                status(told := now)
                log.info("%s", told)
            ledger.wait_for_change(stop.wait, _POLL_S)
        except (sqlite3.Error, LedgerError) as error:
            # The state directory is full, or locked for long: that passes, and nothing is lost.
            log.error("deliveries wait: the ledger can't be used (%s)", type(error).__name__)
            stop.wait(_LEDGER_PAUSE_S)
            _free_leases(ledger)


def _free_leases(ledger: Ledger) -> None:
    try:
        delivery.recover(ledger)
    except sqlite3.Error:
        # Still unusable: the caller comes back here, and the leases end by themselves.
        return


def summary(ledger: Ledger, destinations: Iterable[str]) -> str:
    """Say what waits for which destination, and why; also for those no longer configured."""
    rows = ledger.read(
        "SELECT destination, count(*) AS waiting, max(problem) AS problem FROM outbox"
        " WHERE state IN ('queued', 'sent') GROUP BY destination ORDER BY destination"
    )
    if not rows:
        return "every result is delivered"
    known = set(destinations)
    parts = []
    for row in rows:
        problem = row["problem"] and f" ({row['problem']})"
        if row["destination"] not in known:
            problem = " (no longer in the configuration: put it back, and they are delivered)"
        parts.append(f"{row['waiting']} waiting for {row['destination']}{problem}")
    return "; ".join(parts)
