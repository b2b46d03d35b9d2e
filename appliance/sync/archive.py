"""The destination `dicomweb`: an archive, reached by STOW-RS and asked again by WADO-RS.

One instance goes in a request: of two, one may be stored although the answer is 400. And an answer
of success proves nothing: an archive may say it to a second object under a known UID and keep the
first. So whatever the answer was, the object is read back and compared.
"""

import hashlib
import threading
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import pydicom
import requests
from pydicom.dataset import Dataset

from appliance.dicomweb import Client
from appliance.errors import ApplianceError, DeliveryError
from appliance.sync.brake import Brake
from appliance.sync.content import content, is_the_same, on_disk, uids_of
from appliance.sync.destinations import Absent, Proof
from appliance.sync.http_server import SHUT, WAITS, HttpServer, phrase
from appliance.sync.seg import Part10

_OPERATION = "deliver to an archive"
_NO_SERVICE = ("has no DICOMweb service at this address", "Correct the destination's url.")


class Archive(HttpServer):
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

    operation = _OPERATION
    shut_by: ClassVar = {
        **SHUT,
        401: ("refuses the user or the password", "Correct user and password_file."),
        403: ("doesn't allow this user to do it", "Give the user the right to store and to read."),
        404: _NO_SERVICE,
        405: _NO_SERVICE,
    }
    untrusted = "Install the authority's certificate on the box, or mend the server's."

    def __init__(
        self,
        url: str,
        user: str = "",
        password_file: Path | None = None,
        brake: Brake | None = None,
    ) -> None:
        super().__init__(url)
        self._access = (url, user, password_file)
        self._brake = brake or None
        self._local = threading.local()

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
            self.must_be_open(status := _status(error))
            failed = f"answers {phrase(status)} to it"
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
        there = self._retrieve(uids_of(result))
        if hashlib.sha256(there).hexdigest() != result.sha256:
            with on_disk(result) as path:
                if not self._says_the_same(path, there):
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
                raise Absent(_OPERATION, subject, WAITS, retry=True) from error
            self.must_be_open(status)
            subject = f"{self._url} answers {phrase(status)} when asked for the object"
            raise DeliveryError(_OPERATION, subject, "It is asked again.", retry=True) from error

    def _ask(self, method: str, *arguments: object) -> Any:
        """Call the client; whatever isn't an answer of DICOMweb becomes ours."""
        try:
            return self.ask(lambda: getattr(self._client(), method)(*arguments))
        except (ApplianceError, requests.HTTPError):
            raise
        except Exception as error:
            raise self._strange(error) from error

    def _client(self) -> Client:
        if not hasattr(self._local, "client"):
            self._local.client = Client(*self._access, sending=self._brake)
        client: Client = self._local.client
        return client

    def _strange(self, error: Exception) -> DeliveryError:
        # Whatever was made of an answer that isn't DICOMweb; its text may quote it.
        subject = f"{self._url} gave an answer that isn't DICOMweb ({type(error).__name__})"
        hint = "Check the destination's url; it is tried again."
        return DeliveryError(_OPERATION, subject, hint, retry=True)


def _status(error: requests.HTTPError) -> int:
    return 0 if error.response is None else int(error.response.status_code)
