"""What the page asks this service to do: try a destination out, deliver to it at once."""

import logging
import sqlite3
import threading
from collections.abc import Callable

from appliance import preflight
from appliance.config import Settings
from appliance.errors import ApplianceError
from appliance.ledger import Ledger, command, delivery_due
from appliance.service import Stop

log = logging.getLogger("echocart.sync")

_EVERY_S = 1.0
_NOT_DONE = "This could not be done. `echocart destination test` tells more."


def start(settings: Settings, ledger: Ledger, stop: Stop, wake: Callable[[str], object]) -> None:
    """Answer commands in a thread of its own: a destination that hangs holds up no delivery.

    Parameters
    ----------
    settings, ledger
        The box's.
    stop
        Ends the thread.
    wake
        Has the couriers of a destination, given by its name, try it at once.
    """

    def work() -> None:
        while not stop.wait(_EVERY_S):
            try:
                answer_next(settings, ledger, wake)
            except sqlite3.Error as error:
                log.warning("commands wait (%s)", type(error).__name__)

    threading.Thread(target=work, name="commands", daemon=True).start()


def answer_next(settings: Settings, ledger: Ledger, wake: Callable[[str], object]) -> bool:
    """Execute the oldest open command and answer it; False when there is none."""
    asked = command.take(ledger, "sync")
    if asked is None:
        return False
    try:
        done, said = _execute(settings, asked["what"], asked["subject"])
        if asked["what"] == command.RETRY:
            delivery_due.at_once(ledger, asked["subject"])
            wake(asked["subject"])
    except ApplianceError as error:
        done, said = False, [f"{error.subject}. {error.hint}"]
    except Exception as error:  # noqa: BLE001
        # Whatever a peer makes of it: the page must hear something, and never the text of this.
        log.error("a command failed (%s)", type(error).__name__)
        done, said = False, [_NOT_DONE]
    command.answer(ledger, asked["id"], done=done, said=said)
    return True


def _execute(settings: Settings, what: str, name: str) -> tuple[bool, list[str]]:
    if what != command.TEST:
        return True, []
    result = preflight.examine(settings, name)
    return result.ok, [line.text for line in result.lines]
