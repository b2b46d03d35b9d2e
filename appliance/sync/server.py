"""The echocart-sync service: the outbox is emptied as fast as destinations take it."""

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from appliance.config import DicomPeer, Settings
from appliance.errors import DeliveryError, LedgerError
from appliance.ledger import Ledger, delivery
from appliance.service import Stop, ready, status, watchdog
from appliance.spool import Spool
from appliance.sync import commands
from appliance.sync.asking import Asker
from appliance.sync.commitment import Reporter
from appliance.sync.courier import Courier, Shared
from appliance.sync.destinations import made_from
from appliance.sync.gate import Gate
from appliance.sync.outgoing import Outgoing
from appliance.sync.room import Room
from appliance.upkeep import background

log = logging.getLogger("echocart.sync")
Worker = Courier | Asker | Reporter

_POLL_S = 1.0  # how soon an object whose time has come, or a stick plugged in again, is noticed
_LEDGER_PAUSE_S = 5.0
_LAST_DELIVERY_S = 5.0  # when told to stop; what is cut short is taken up again at the start


def run(settings: Settings, stop: Stop) -> None:
    """Deliver what the outbox holds until told to stop, each destination by a thread of its own.

    Raises
    ------
    LedgerError, SpoolError
        When the state directory can't be used.
    DeliveryError
        When a thread ended that should not; the service must start anew.
    """
    ledger = Ledger(settings.box.state_dir)
    spool = Spool(settings.box.state_dir)
    couriers = list(_workers(ledger, settings, Outgoing(ledger, spool, settings)))
    names = [item.name for item in settings.destination]
    reporter = Reporter(ledger, spool, settings)
    couriers.append(reporter)
    # The service's lock is ours: whoever held a lease before is dead.
    freed = delivery.recover(ledger)
    for worker in couriers:
        if not isinstance(worker, Courier):
            worker.recover()
    if freed:
        log.info("%d deliveries were cut short and are taken up again", freed)
    threads = [_started(courier, stop) for courier in couriers]
    ready(told := summary(ledger, names))
    room = Room(settings, ledger, spool)
    background.start(settings, stop.is_set, stop.wait)
    _fetch_models(settings, stop)
    commands.start(settings, ledger, stop, partial(_wake, couriers))
    while not stop.wait(_POLL_S):
        watchdog()
        room.look()
        _must_all_live(threads, stop)
        told = _tell(ledger, names, told)
    _wait_for(threads)
    if any(thread.is_alive() for thread in threads):
        # A server that never answers holds a thread of pynetdicom that Python would wait for.
        # What was under way counts as cut short, as after a kill.
        log.warning("stopped in the middle of a delivery")
        logging.shutdown()
        os._exit(0)


def _workers(ledger: Ledger, settings: Settings, outgoing: Outgoing) -> Iterator[Worker]:
    """The couriers of each destination, and who asks it for storage commitment."""
    quiet_s = settings.sync.study_closes_after_s
    for name, (setting, place, brake) in made_from(settings).items():
        shared, gate = Shared(), Gate(ledger, setting)
        for number in range(setting.at_once):
            yield Courier(
                *(ledger, name, place, outgoing, quiet_s),
                is_open=gate.is_open,
                longest_s=brake.longest_s,
                number=number,
                shared=shared,
            )
        if isinstance(setting, DicomPeer) and setting.proof != "read-back":
            yield Asker(ledger, settings, setting)


def _fetch_models(settings: Settings, stop: Stop) -> None:
    if settings.updates.url:
        # Here: TUF and what judges a model are 10 MB, and few boxes fetch any.
        from appliance.releases import updates

        updates.watch(settings, stop)


def _wake(workers: Sequence[Worker], name: str) -> None:
    """Have the couriers of a destination that rests try it now."""
    for worker in workers:
        if isinstance(worker, Courier) and worker.name == name:
            with worker.shared.lock:
                worker.shared.until = 0.0


def _started(courier: Worker, stop: Stop) -> threading.Thread:
    # Daemons: a share whose server is gone can hold a thread in the kernel for ever.
    thread = threading.Thread(
        target=_work, args=(courier, stop), name=f"to {courier.name}", daemon=True
    )
    thread.start()
    return thread


def _work(courier: Worker, stop: Stop) -> None:
    while not stop.is_set():
        try:
            if not courier.deliver_next():
                courier.ledger.wait_for_change(stop.wait, _POLL_S)
        except (sqlite3.Error, LedgerError) as error:
            # The state directory is full, or locked for long: that passes, and nothing is lost.
            log.error("deliveries wait: the ledger can't be used (%s)", type(error).__name__)
            stop.wait(_LEDGER_PAUSE_S)
            _free_leases(courier)


def _free_leases(courier: Worker) -> None:
    try:
        courier.recover()
    except sqlite3.Error:
        # Still unusable: the caller comes back here, and the leases end by themselves.
        return


def _must_all_live(threads: Sequence[threading.Thread], stop: Stop) -> None:
    for thread in threads:
        if not thread.is_alive() and not stop.is_set():
            raise DeliveryError(
                "deliver results",
                f"the thread {thread.name} has ended",
                "The service is started again; report it.",
                retry=True,
            )


def _wait_for(threads: Sequence[threading.Thread]) -> None:
    end = time.monotonic() + _LAST_DELIVERY_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _tell(ledger: Ledger, names: Sequence[str], told: str) -> str:
    try:
        now = summary(ledger, names)
    except sqlite3.Error:
        # The couriers say so, and wait; the state is told once it can be read again.
        return told
    if now != told:
        status(now)
        log.info("%s", now)
    return now


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
