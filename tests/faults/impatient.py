"""A receiver whose deadlines pass within a test's time: `python -m tests.faults.impatient`."""

import sys
from pathlib import Path

from appliance.scp import pump
from appliance.scp.server import run
from appliance.service import main
from tests.box import Box

REQUEST_S, SILENCE_S, IDLE_S, SLOWEST = 2.0, 2.0, 4.0, 1000


class ImpatientBox(Box):
    """A box with such a receiver."""

    def command(self, name: str) -> list[str]:
        return [sys.executable, "-m", "tests.faults.impatient", "--config", str(self.config)]


def impatient(root: Path) -> ImpatientBox:
    """Return a box with such a receiver and nothing else."""
    return ImpatientBox(root, ["scp"])


if __name__ == "__main__":
    pump.REQUEST_S, pump.SILENCE_S = REQUEST_S, SILENCE_S
    pump.IDLE_S, pump.SLOWEST = IDLE_S, SLOWEST
    main("scp", run)
