"""What every service does beside its work, on real files."""

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance import service
from appliance.ledger import Ledger


def test_the_ledger_is_folded_again_once_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(service, "_CHECKPOINT_S", 0.01)
    path, wal, stop = tmp_path / "ledger.db", tmp_path / "ledger.db-wal", service.Stop()
    path.write_bytes(b"no database, as on a failing disk" * 100)
    with caplog.at_level(logging.WARNING):
        service._checkpoint_in_background(tmp_path, stop)
        _wait_until(lambda: caplog.text.count("the ledger was not folded") >= 2)
    path.unlink()
    ledger = Ledger(tmp_path)
    with ledger.transaction() as db:
        db.execute("CREATE TABLE news (id INTEGER)")
    _wait_until(lambda: wal.stat().st_size == 0)
    stop.set()


_INTERRUPTED = """
import random, signal, sys
from appliance.service import Stop

for turn in range(int(sys.argv[1])):
    stop = Stop()
    signal.signal(signal.SIGALRM, lambda *_: stop.set())
    signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 1e-3))
    while not stop.wait(0.0):
        pass
"""


def test_a_signal_is_heard_whatever_it_interrupts() -> None:
    """By a signal's handler in the middle of `wait`, where a lock would be held already."""
    command = [sys.executable, "-c", _INTERRUPTED, "2000"]
    assert subprocess.run(command, timeout=120, check=False).returncode == 0


def _wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
