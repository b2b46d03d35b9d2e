"""That the receiver works: a C-ECHO of its own is answered, and a write to the spool returns."""

import logging
import time
from contextlib import suppress

from pynetdicom import AE

from appliance.config import Settings
from appliance.errors import ApplianceError
from appliance.scp.negotiation import VERIFICATION
from appliance.spool import Spool, write_durably

log = logging.getLogger("echocart.scp")

EVERY_S = 10.0
ANSWER_S = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104


class NoAnswerError(ApplianceError):
    """The receiver doesn't answer itself."""


class Proof:
    """Asks the receiver as a cart would, now and then.

    Parameters
    ----------
    settings
        The box's: where it listens and what it is called.
    spool
        Where a few bytes are written. A disk that refuses them doesn't count against the
        service, for a new start would not help; one that never answers does.
    """

    def __init__(self, settings: Settings, spool: Spool) -> None:
        host = settings.scp.host
        self._address = (_EVERYWHERE.get(host, host), settings.scp.port)
        self._title = settings.box.ae_title
        self._file = spool.root.parent / "scp.alive"
        self._given_at = -EVERY_S

    def must_stand(self) -> None:
        """Raise NoAnswerError unless the receiver answers."""
        if not self.is_given():
            host, port = self._address
            raise NoAnswerError(
                "answer echo machines",
                f"{host}:{port} gives no answer to the box's own C-ECHO",
                "Look whether a firewall keeps the box from its own port.",
                retry=True,
            )

    def is_given(self) -> bool:
        """Tell whether the receiver works, by a look that is at most `EVERY_S` old."""
        if time.monotonic() - self._given_at < EVERY_S:
            return True
        if not self._answers():
            log.error("the receiver doesn't answer its own C-ECHO")
            return False
        with suppress(ApplianceError, OSError):
            write_durably(self._file, b"")
        self._given_at = time.monotonic()
        return True

    def _answers(self) -> bool:
        ae = AE(self._title)
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ANSWER_S
        ae.add_requested_context(VERIFICATION)
        association = ae.associate(*self._address, ae_title=self._title)
        if not association.is_established:
            # "Try again later" is an answer: every place is taken.
            return bool(association.is_rejected)
        try:
            return "Status" in association.send_c_echo()
        finally:
            association.release()
