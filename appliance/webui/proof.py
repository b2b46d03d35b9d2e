"""That the page works: a request of its own is answered from the ledger."""

import http.client
import logging
import ssl
import time

from appliance.config.settings import Webui

log = logging.getLogger("echocart.webui")

EVERY_S = 10.0
ANSWER_S = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104
_PATH = "/sign-in"  # it reads the ledger, and needs nobody


class Proof:
    """Asks the page as a tablet would, now and then.

    Parameters
    ----------
    webui
        Where it listens.
    """

    def __init__(self, webui: Webui) -> None:
        self._address = (_EVERYWHERE.get(webui.host, webui.host), webui.port)
        self._secure = bool(webui.tls_certificate)
        self._given_at = -EVERY_S
        self._was_given = False

    def is_given(self) -> bool:
        """Tell whether the page answers, by a look that is at most `EVERY_S` old."""
        if time.monotonic() - self._given_at < EVERY_S:
            return True
        if not self._answers():
            if self._was_given:
                log.error("the page doesn't answer its own request")
            return False
        self._given_at = time.monotonic()
        self._was_given = True
        return True

    def _answers(self) -> bool:
        connection = self._connection()
        try:
            # The page knows itself by this name, whatever it is called by tablets.
            connection.request("GET", _PATH, headers={"Host": "localhost"})
            return connection.getresponse().status < http.client.INTERNAL_SERVER_ERROR
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._address
        if not self._secure:
            return http.client.HTTPConnection(host, port, timeout=ANSWER_S)
        # It asks whether this very process answers; nothing is told that a stranger may not hear.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(host, port, timeout=ANSWER_S, context=context)
