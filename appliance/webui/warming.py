"""Traces the contours of a loop once it is sealed, so that its first visitor need not wait."""

import logging
import os
import threading
import time

from appliance.config import Settings
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, worklist
from appliance.spool import Spool
from appliance.webui.pictures import ContourPacks

log = logging.getLogger("echocart.webui")

_NEWEST = 20  # analyses looked after; older ones are traced when they are opened
_LOOK_AGAIN_S = 60.0
_NICENESS = 10  # the engine's own frames come first


def start(settings: Settings) -> None:
    """Begin to trace in a thread of low priority, for as long as the process lives."""
    threading.Thread(target=_run, args=(settings,), name="warming", daemon=True).start()


def _run(settings: Settings) -> None:
    # On Linux a priority belongs to the thread.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    ledger, spool = Ledger(settings.box.state_dir), Spool(settings.box.state_dir)
    failed: set[int] = set()
    while True:
        trace_newest(ledger, spool, failed)
        ledger.wait_for_change(_sleep, _LOOK_AGAIN_S)


def trace_newest(ledger: Ledger, spool: Spool, failed: set[int]) -> None:
    """Trace the newest sealed analyses that aren't yet; `failed` remembers what can't be."""
    packs = ContourPacks(spool)
    rows = ledger.read(
        "SELECT id FROM analysis WHERE state = 'sealed' ORDER BY id DESC LIMIT ?", [_NEWEST]
    )
    for number in (row["id"] for row in rows):
        if number in failed or packs.path(f"analysis-{number}").exists():
            continue
        analysis = worklist.analysis(ledger, number)
        try:
            packs.of_analysis(ledger, spool, analysis or {})
        except (ApplianceError, OSError) as error:
            # The page says what is wrong when somebody opens it; here the others go on.
            failed.add(number)
            log.warning("contours of analysis %d: %s", number, type(error).__name__)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False
