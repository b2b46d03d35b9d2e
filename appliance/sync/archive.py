"""The destination `dicomweb`: an archive, reached by STOW-RS and asked again by WADO-RS.

One instance goes in a request: of two, one may be stored although the answer is 400. And an answer
of success proves nothing: an archive may say it to a second object under a known UID and keep the
first. So whatever the answer was, the object is read back and compared.
"""

import threading
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pydicom
import requests
from pydicom.dataset import Dataset

from appliance.dicomweb import Client, PasswordError
from appliance.errors import DeliveryError
from appliance.sync.brake import Brake
from appliance.sync.content import content, identity_of, is_the_same, on_disk
from appliance.sync.destinations import Absent, Proof, Unreachable
from appliance.sync.door import Door
from appliance.sync.seg import Part10

_OPERATION = "deliver to an archive"
_WAITS = "The object waits; nothing is lost."
# Answers that concern every object: who we are, where we knock, and a server in trouble.
_SHUT = {
    401: ("refuses the user or the password", "Correct user and password_file."),
    403: ("doesn't allow this user to do it", "Give the user the right to store and to read."),
    404: ("has no DICOMweb service at this address", "Correct the destination's url."),
    405: ("has no DICOMweb service at this address", "Correct the destination's url."),
    429: ("asks for less", _WAITS),
    502: ("is not ready", _WAITS),
    503: ("is not ready", _WAITS),
    504: ("is not ready", _WAITS),
    507: ("is full", "Make room on it; nothing is lost."),
}


class Archive:
    """A DICOMweb server.

    Parameters
    ----------
    url
        Base of its services.
    user, password_file
        For HTTP basic authentication. A changed file is read at the next try: a new password
        works at once.
    brake
        How fast objects may leave.
    """

    def __init__(
        self,
        url: str,
        user: str = "",
        password_file: Path | None = None,
        brake: Brake | None = None,
    ) -> None:
        self._access = (url, user, password_file)
        self._brake = brake or None
        self._local = threading.local()
        self._url = url
        parts = urlsplit(url)
        standard = 443 if parts.scheme == "https" else 80
        self._door = Door(parts.hostname or "", parts.port or standard)

    def is_there(self) -> bool:
        """Tell whether it takes connections."""
        return self._door.answers()

    def check(self) -> None:
        """Raise `Unreachable` when it took no connection last time and still takes none."""
        if self._door.is_shut():
            raise self._shut("doesn't answer", _WAITS)

    def put(self, result: Part10) -> None:
        """Store an object; an answer other than success is believed only after a look.

        Raises
        ------
        Unreachable
            When nothing can be stored there now.
        DeliveryError
            When it doesn't take this object.
        """
        try:
            failed = self._store(result)
        except requests.HTTPError as error:
            status = _status(error)
            if status in _SHUT:
                raise self._shut(*_SHUT[status]) from error
            failed = f"answers {status} {_phrase(status)} to it"
        if failed and not self._has(result):
            hint = "Ask the archive's administrator; it is tried again."
            raise DeliveryError(_OPERATION, f"{self._url} {failed}", hint, retry=True)

    def prove(self, result: Part10) -> Proof:
        """Read an object back and compare it; see `content` for what must be equal.

        Raises
        ------
        Absent
            When the archive doesn't have it.
        Unreachable
            When nothing can be read there now.
        DeliveryError
            When another object lies there under its UID, or it can't be read.
        """
        with on_disk(result) as path:
            identity = identity_of(path)
            uids = (
                identity.StudyInstanceUID,
                identity.SeriesInstanceUID,
                identity.SOPInstanceUID,
            )
            there = self._retrieve(uids)
            if path.read_bytes() != there and not self._says_the_same(path, there):
                raise DeliveryError(
                    _OPERATION,
                    f"{self._url} holds another object under this UID",
                    "It keeps the first of two: have the wrong one removed there.",
                    retry=True,
                )
        return Proof(result.sha256, result.size)

    def _says_the_same(self, path: Path, there: bytes) -> bool:
        """Compare by elements what isn't the same byte by byte; that costs a hundred times as much."""
        try:
            theirs = content(pydicom.dcmread(BytesIO(there)))
        except Exception as error:
            raise self._strange(error) from error
        return is_the_same(content(pydicom.dcmread(path)), theirs)

    def _has(self, result: Part10) -> bool:
        try:
            self.prove(result)
        except Absent:
            return False
        return True

    def _store(self, result: Part10) -> str:
        """Return "", or what the archive says it could not do."""
        answer = self._ask("store_file", b"".join(result.parts))
        failed = answer.get("FailedSOPSequence") if isinstance(answer, Dataset) else None
        if not failed:
            return ""
        return f"didn't store it (reason 0x{int(failed[0].get('FailureReason') or 0):04X})"

    def _retrieve(self, uids: tuple[str, str, str]) -> bytes:
        try:
            file: bytes = self._ask("retrieve_file", *uids)
            return file
        except requests.HTTPError as error:
            status = _status(error)
            if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                subject = f"{self._url} doesn't have the object"
                raise Absent(_OPERATION, subject, _WAITS, retry=True) from error
            if status in _SHUT:
                raise self._shut(*_SHUT[status]) from error
            subject = f"{self._url} answers {status} {_phrase(status)} when asked for the object"
            raise DeliveryError(_OPERATION, subject, "It is asked again.", retry=True) from error

    def _ask(self, method: str, *arguments: object) -> Any:
        """Call the client; what isn't an answer in HTTP becomes ours."""
        try:
            return self._call(method, *arguments)
        except PasswordError as error:
            raise Unreachable(_OPERATION, error.subject, error.hint, retry=True) from error
        except requests.HTTPError:
            raise
        except requests.exceptions.SSLError as error:
            hint = "Install the authority's certificate on the box, or mend the server's."
            raise self._shut("shows a certificate that isn't trusted", hint) from error
        except (requests.RequestException, OSError) as error:
            self._door.found_shut()
            raise self._shut("doesn't answer", _WAITS) from error
        except Exception as error:
            raise self._strange(error) from error

    def _strange(self, error: Exception) -> DeliveryError:
        # Whatever was made of an answer that isn't DICOMweb; its text may quote it.
        subject = f"{self._url} gave an answer that isn't DICOMweb ({type(error).__name__})"
        hint = "Check the destination's url; it is tried again."
        return DeliveryError(_OPERATION, subject, hint, retry=True)

    def _call(self, method: str, *arguments: object) -> Any:
        """Call over this thread's connection: to a far archive each new one costs several trips."""
        stamp, known = self._stamp(), self._local
        if getattr(known, "stamp", None) == stamp:
            try:
                return getattr(known.client, method)(*arguments)
            except requests.ConnectionError:
                pass  # the server has closed it since; a new one tells more
        known.client, known.stamp = Client(*self._access, sending=self._brake), stamp
        return getattr(known.client, method)(*arguments)

    def _stamp(self) -> tuple[int, ...]:
        """Tell one state of the password's file from another."""
        path = self._access[2]
        try:
            found = path.stat() if path else None
        except OSError:
            return (0,)  # the client says what is wrong with it
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found else (1,)

    def _shut(self, subject: str, hint: str) -> Unreachable:
        return Unreachable(_OPERATION, f"{self._url} {subject}", hint, retry=True)


def _status(error: requests.HTTPError) -> int:
    return 0 if error.response is None else int(error.response.status_code)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""  # a number nobody registered
