"""Room on the disk, looked after between deliveries: what is proven elsewhere leaves in time."""

import logging
import sqlite3
import time

from appliance.config import Settings
from appliance.errors import ApplianceError
from appliance.ledger import Ledger
from appliance.purge import Purge
from appliance.spool import Spool
from appliance.sync.kept import Kept

log = logging.getLogger("echocart.sync")

LOOK_S = 30.0  # a cart fills 3 GB in that time at the most; the floor's margin is for it


class Room:
    """Purges when space asks for it, a little at a time.

    Parameters
    ----------
    settings
        The box's.
    ledger, spool
        Where rows and files are.
    """

    def __init__(self, settings: Settings, ledger: Ledger, spool: Spool) -> None:
        self._purge = Purge(settings, ledger, spool)
        self._kept = Kept(ledger, spool)  # goes first: destinations have it
        self._next = 0.0
        self._told = False

    def look(self) -> None:
        """Remove some files if space asks for it and it is time to look; never raises."""
        if time.monotonic() < self._next:
            return
        try:
            wanted = self._purge.wanted()
            won = self._kept.drop(wanted)
            gone = self._purge.some(wanted - won) if wanted > won else []
        except (ApplianceError, sqlite3.Error, OSError) as error:
            log.warning("room could not be made (%s)", type(error).__name__)
            self._next = time.monotonic() + LOOK_S
            return
        if wanted > won and not gone and not self._told:
            log.warning("space asks for %d MB, and no archive holds what is here", wanted // 10**6)
        self._told = bool(wanted > won and not gone)
        self._next = 0.0 if gone or won else time.monotonic() + LOOK_S
