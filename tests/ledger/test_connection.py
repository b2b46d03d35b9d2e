"""Several connections to one file, in one process and in others."""

import gc
import subprocess
import sys
import threading
from pathlib import Path

from appliance.ledger import Ledger, setting

WRITES = "import sys, pathlib; from appliance.ledger import Ledger, setting;\
 setting.choose_models(Ledger(pathlib.Path(sys.argv[1])), ['other'], 'another process')"


def test_a_second_ledger_of_a_process_takes_no_lock_from_the_first(tmp_path):
    first = Ledger(tmp_path)
    setting.choose_models(first, ["one"], "first")
    Ledger(tmp_path)
    subprocess.run([sys.executable, "-c", WRITES, tmp_path], check=True)
    assert setting.chosen_models(first) == ("other",)
    setting.choose_models(first, ["two"], "first")
    assert setting.chosen_models(Ledger(tmp_path)) == ("two",)


def test_a_thread_that_ends_leaves_no_file_open(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.read("SELECT 1")
    gc.disable()
    try:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(5):
            thread = threading.Thread(target=ledger.read, args=("SELECT 1",))
            thread.start()
            thread.join()
        # SQLite keeps one for the next connection: closing it would end the locks of the others.
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1
    finally:
        gc.enable()
