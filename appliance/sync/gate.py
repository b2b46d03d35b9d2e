"""Whether a destination is to be served now: not paused, and within its hours."""

from datetime import datetime

from appliance.config import Destination
from appliance.hours import Window, opens_at
from appliance.ledger import Ledger, destination


class Gate:
    """Asked before each delivery.

    Parameters
    ----------
    ledger
        Where pauses are.
    setting
        The destination's.
    """

    def __init__(self, ledger: Ledger, setting: Destination) -> None:
        self._ledger = ledger
        self._name = setting.name
        self._windows = [Window.parse(text) for text in setting.hours]

    def is_open(self) -> bool:
        """Tell whether deliveries may begin now."""
        if destination.is_paused(self._ledger, self._name):
            return False
        now = datetime.now().astimezone()
        return opens_at(self._windows, now) <= now.timestamp()
