"""What a DICOMweb archive and a FHIR server have in common: a door, answers that shut it, retries."""

import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import ClassVar, TypeVar
from urllib.parse import urlsplit

import requests

from appliance.http_client import SecretError
from appliance.sync.destinations import Unreachable
from appliance.sync.door import Door

WAITS = "It waits; nothing is lost."
_RUNS = "Check that it runs, and url."
# Answers that concern every object: who we are, where we knock, and a server in trouble.
SHUT = {
    429: ("asks for less", WAITS),
    502: ("is not ready", WAITS),
    503: ("is not ready", WAITS),
    504: ("is not ready", WAITS),
    507: ("is full", "Make room on it; nothing is lost."),
}
_Found = TypeVar("_Found")


class HttpServer:
    """A destination that is reached over HTTP.

    Parameters
    ----------
    url
        Its base.
    """

    operation: ClassVar[str]  # for errors
    shut_by: ClassVar[Mapping[int, tuple[str, str]]]  # status: what it means, what helps
    untrusted: ClassVar[str]  # what helps against a certificate that isn't trusted

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        standard = 443 if parts.scheme == "https" else 80
        self._url, self._door = url, Door(parts.hostname or "", parts.port or standard)
        self._known = threading.local()

    def is_there(self) -> bool:
        """Tell whether it takes connections."""
        return self._door.answers()

    def check(self) -> None:
        """Raise `Unreachable` when it took no connection last time and still takes none."""
        if not self._door.is_shut():
            return
        if self._door.is_unknown:
            raise self.shut("is at no known host", f"Correct url. {WAITS}")
        raise self.shut("doesn't answer", f"{_RUNS} {WAITS}")

    def ask(self, call: Callable[[], _Found]) -> _Found:
        """Ask over this thread's connection: to a far server each new one costs several trips.

        Raises
        ------
        Unreachable
            When there is no answer in HTTP, or our secret can't be read.
        requests.HTTPError
            As `call` raises it.
        """
        try:
            return self._asked(call)
        except SecretError as error:
            raise Unreachable(self.operation, error.subject, error.hint, retry=True) from error
        except requests.HTTPError:
            raise
        except requests.exceptions.SSLError as error:
            raise self.shut("shows a certificate that isn't trusted", self.untrusted) from error
        except (requests.RequestException, OSError) as error:
            self._door.found_shut()
            raise self.shut("doesn't answer", f"{_RUNS} {WAITS}") from error

    def _asked(self, call: Callable[[], _Found]) -> _Found:
        if getattr(self._known, "answered", False):
            self._known.answered = False
            try:
                found = call()
            except requests.ConnectionError:
                found = call()  # the server has closed it since; a new one tells more
        else:
            found = call()
        self._known.answered = True
        return found

    def must_be_open(self, status: int) -> None:
        """Raise `Unreachable` when an answer concerns every object."""
        if status in self.shut_by:
            raise self.shut(*self.shut_by[status])

    def shut(self, subject: str, hint: str) -> Unreachable:
        """Return the error that says that nothing can be delivered there now."""
        return Unreachable(self.operation, f"{self._url} {subject}", hint, retry=True)


def phrase(status: int) -> str:
    """Return a status and its name, as "400 Bad Request"; the number alone of one nobody knows."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
