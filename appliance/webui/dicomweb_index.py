"""The index of searches: each file's header is read once, when it comes, and never for a search."""

import json
import logging
import os
import sqlite3
import threading
import time
from typing import Any

from appliance.config import Settings
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, described
from appliance.ledger.connection import Row
from appliance.part10 import read_header
from appliance.spool import Spool
from appliance.webui.dicomweb_asked import INSTANCE, SERIES, STUDY, tag_of
from appliance.webui.dicomweb_json import Json, model, texts

log = logging.getLogger("echocart.webui")

_PIECE = 100  # files between two transactions: readers and a cart's object wait for none of them
_LOOK_AGAIN_S = 60.0
_NICENESS = 10  # the engine's frames come first
KEPT = frozenset(map(tag_of, (*STUDY, *SERIES, *INSTANCE)))


def start(settings: Settings) -> None:
    """Keep the index up to date in a thread of low priority, for as long as the process lives."""
    threading.Thread(target=_run, args=(settings,), name="index", daemon=True).start()


def _run(settings: Settings) -> None:
    # On Linux a priority belongs to the thread.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    ledger, spool = Ledger(settings.box.state_dir), Spool(settings.box.state_dir)
    while True:
        try:
            bring_up_to_date(ledger, spool)
        except (ApplianceError, OSError, sqlite3.Error) as error:
            # A search does it again, and says what is wrong.
            log.warning("the index of searches waits (%s)", type(error).__name__)
        ledger.wait_for_change(_sleep, _LOOK_AGAIN_S)


def bring_up_to_date(ledger: Ledger, spool: Spool) -> int:
    """Describe every file that isn't; return how many were read.

    One that can't be read is described as empty: what the ledger knows of it is shown then.
    """
    count = 0
    while rows := described.missing(ledger, _PIECE):
        described.put(ledger, [_description(spool, row) for row in rows])
        count += len(rows)
    return count


def _description(spool: Spool, row: Row) -> Row:
    try:
        said = model(read_header(spool.served_path(row)).dataset)
        content: Json = {tag: value for tag, value in said.items() if tag in KEPT}
    except (ApplianceError, OSError):
        content = {}
    return {
        "sha256": row["sha256"],
        "study_instance_uid": _first(content, "StudyInstanceUID"),
        "study_date": _first(content, "StudyDate"),
        "accession_number": _first(content, "AccessionNumber"),
        "content": json.dumps(content),
    }


def _first(content: dict[str, Any], keyword: str) -> str:
    found = texts(content.get(tag_of(keyword)))
    return found[0].strip() if found else ""


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False
