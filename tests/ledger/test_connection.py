"""Several connections to one file, in one process and in others."""

import subprocess
import sys

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
