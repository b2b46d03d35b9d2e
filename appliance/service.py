"""What the four services have in common: one main, signals, systemd's notifications, one lock."""

import argparse
import fcntl
import logging
import os
import select
import signal
import sqlite3
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

from appliance import (
    credentials,
    journal,
    lean,  # noqa: F401  # before the ledger, which imports pydicom
)
from appliance.config import Settings, load
from appliance.errors import ApplianceError, LedgerError
from appliance.ledger import Ledger
from appliance.upkeep import damage

_CHECKPOINT_S = 30.0  # the WAL grows by about 4 MB a minute in a busy clinic


class Stop:
    """Tells a service to end: set by SIGTERM or SIGINT.

    A pipe rather than `threading.Event`: a signal may interrupt the main thread while it holds
    the event's lock, and a handler that then sets the event waits for itself, for ever.
    """

    def __init__(self) -> None:
        self._heard, self._told = os.pipe()
        os.set_blocking(self._told, False)
        self._is_set = False

    def __del__(self) -> None:
        os.close(self._heard)
        os.close(self._told)

    def set(self) -> None:
        """Ask the service to stop; safe in a signal's handler."""
        if not self._is_set:
            self._is_set = True
            os.write(self._told, b"\0")  # never read: everybody who waits sees it

    def is_set(self) -> bool:
        """Tell whether the service was asked to stop."""
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Sleep for some seconds; True as soon as the service must stop."""
        if not self._is_set:
            waiting = select.poll()
            waiting.register(self._heard, select.POLLIN)
            waiting.poll(1000 * seconds)
        return self._is_set


def ready(text: str) -> None:
    """Say that the service now does its work, and in what state (sd_notify READY, STATUS)."""
    _notify(f"READY=1\nSTATUS={text}")
    logging.getLogger("echocart").info("ready: %s", text)


def status(text: str) -> None:
    """Say in a few words what the service is doing (sd_notify STATUS)."""
    _notify(f"STATUS={text}")


def watchdog() -> None:
    """Say that real work went on (sd_notify WATCHDOG). Call it from the work, never from a timer."""
    _notify("WATCHDOG=1")


@contextmanager
def unheard() -> Iterator[None]:
    """Keep a library from telling systemd in the service's place that it is ready."""
    address = os.environ.pop("NOTIFY_SOCKET", None)
    try:
        yield
    finally:
        if address is not None:
            os.environ["NOTIFY_SOCKET"] = address


def _notify(message: str) -> None:
    if "NOTIFY_SOCKET" not in os.environ:
        return
    from systemd import daemon  # type: ignore[attr-defined,unused-ignore]

    daemon.notify(message)


def main(name: str, run: Callable[[Settings, Stop], None]) -> NoReturn:
    """Run one service until it is told to stop, and turn what fails into one line.

    Parameters
    ----------
    name
        `scp`, `engine`, `webui` or `sync`.
    run
        Gets the settings and a `Stop`; returns when the stop is set.
    """
    parser = argparse.ArgumentParser(prog=f"echocart-{name}")
    parser.add_argument("--config", type=Path, required=True, help="the box's TOML file")
    arguments = parser.parse_args()
    journal.set_up(name)
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = credentials.handed(load(arguments.config))
        with _only_one(name, settings.box.state_dir), damage.hold(settings.box.state_dir):
            damage.stop_when_marked(settings.box.state_dir, stop.wait)
            _checkpoint_in_background(settings.box.state_dir, stop)
            run(settings, stop)
    except ApplianceError as error:
        logging.getLogger("echocart").error("%s", error)
        sys.exit(1)
    except sqlite3.Error as error:
        kind = type(error).__name__
        logging.getLogger("echocart").error(
            "start echocart-%s: the ledger can't be used (%s). Check that the state directory has"
            " room and the file system is sound.",
            *(name, kind),
        )
        sys.exit(1)
    except Exception as error:  # noqa: BLE001
        # The text of an unknown error may hold patient data; its kind and place don't.
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind, where = type(error).__name__, f"{Path(place.filename).name}:{place.lineno}"
        logging.getLogger("echocart").critical("ended by an unexpected %s in %s", kind, where)
        sys.exit(2)
    sys.exit(0)


def _only_one(name: str, state_dir: Path) -> IO[str]:
    """Hold the service's lock: whoever has it knows that every lease of its kind is free to take."""
    path = state_dir / f"{name}.lock"
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock = path.open("w")
    except OSError as error:
        raise LedgerError(
            f"start echocart-{name}",
            f"{path}: {os.strerror(error.errno or 0)}",
            "Make box.state_dir writable for this user, or choose another one.",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise LedgerError(
            f"start echocart-{name}",
            f"it is already running on {state_dir}",
            "Stop the other one first, or give this one a box.state_dir of its own.",
        ) from error
    return lock


def _checkpoint_in_background(state_dir: Path, stop: Stop) -> None:
    """Whichever service gets the lock folds the WAL into the ledger; the others wait in line.

    Everything the thread needs is imported before it starts: the page's server forks, and a
    fork in the middle of an import leaves the child waiting for the import lock for ever.
    """

    def work() -> None:
        lock: IO[str] | None = None
        ledger: Ledger | None = None  # one: each holds descriptors until its cycle is collected
        while not stop.wait(_CHECKPOINT_S):
            try:
                lock = lock or (state_dir / "checkpoint.lock").open("w")
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                ledger = ledger or Ledger(state_dir)
                ledger.checkpoint()
            except BlockingIOError:
                continue  # another service is the one that does it
            except (sqlite3.Error, LedgerError, OSError) as error:
                # A full disk passes; until then the WAL only stays longer.
                kind = type(error).__name__
                logging.getLogger("echocart").warning("the ledger was not folded (%s)", kind)

    threading.Thread(target=work, name="checkpoint", daemon=True).start()
