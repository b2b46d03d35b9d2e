"""A DICOMweb client that gives up in time, sends files as they are, and says nothing in logs.

Import it where it is used: dicomweb-client costs 0.7 s.
"""

import logging
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import requests
from dicomweb_client.web import DICOMwebClient, _Transaction
from pydicom.dataset import Dataset
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from appliance.http_client import ANSWER_S, CONNECT_S, Secret, SecretError, session

__all__ = ["Client", "SecretError"]

_PIECE = 16384  # bytes that leave in one go where the line is spared


class Client(DICOMwebClient):  # type: ignore[misc,unused-ignore]
    """A DICOMweb client for one server.

    Parameters
    ----------
    url
        Base of its services.
    user, password_file
        For HTTP basic authentication; "" and None without. The file is read now, and again at
        each request.
    connect_s, answer_s
        Seconds to wait for a connection, and for each piece of an answer.
    sending
        Called with a number of bytes before so many leave; waits where the line is to be spared.

    Raises
    ------
    SecretError
        When the password can't be read.
    """

    def __init__(
        self,
        url: str,
        user: str = "",
        password_file: Path | None = None,
        connect_s: float = CONNECT_S,
        answer_s: float = ANSWER_S,
        sending: Callable[[int], None] | None = None,
    ) -> None:
        # Their lines name studies by their UIDs, and quote errors at length.
        for name in ("dicomweb_client", "retrying"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        secret = Secret(user, password_file)
        secret.header()
        made = session(secret)
        made.proxies = dict(get_environ_proxies(url))  # looked at once, not at each request
        if sending:
            for scheme in ("http://", "https://"):
                made.mount(scheme, _Slowed(sending))
        super().__init__(url, session=made, timeout=(connect_s, answer_s), permissive_uid=True)
        self.set_http_retry_params(retry=False)  # the outbox tries again, and says so

    def store_file(self, content: bytes) -> Dataset:
        """Store one Part 10 file as it is; `store_instances` would encode its data set anew."""
        url = self._get_studies_url(_Transaction.STORE)
        return self._http_post_multipart_application_dicom(url, [content])

    def retrieve_original(
        self, StudyInstanceUID: str, SeriesInstanceUID: str, SOPInstanceUID: str
    ) -> Dataset:
        """Retrieve an instance in the syntax it is stored in."""
        uids = (StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID)
        return self.retrieve_instance(*uids, (("application/dicom", "*"),))

    def retrieve_file(
        self, StudyInstanceUID: str, SeriesInstanceUID: str, SOPInstanceUID: str
    ) -> bytes:
        """Retrieve an instance as a Part 10 file, in the syntax it is stored in.

        Raises
        ------
        ValueError
            When the answer isn't one file.
        requests.RequestException
            When there is none, or it ends too soon.
        """
        uids = (StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID)
        url = self._get_instances_url(_Transaction.RETRIEVE, *uids)
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        # What pixels there are is compressed already, and a server would spend more on it than
        # on all the rest.
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        with self._http_get(url, headers=headers, stream=True) as response:
            # At once: requests puts it together from pieces of 10 kB, at three times the cost.
            try:
                body = response.raw.read(decode_content=True)
            except HTTPError as error:
                raise requests.ConnectionError(error, request=response.request) from error
        kind = response.headers["Content-Type"]
        if kind.startswith("application/dicom"):
            return bytes(body)  # not as PS3.18 8.6.1.2 has it; some do
        return _only_part(kind, body)

    def study_files(self, StudyInstanceUID: str) -> Iterator[bytes]:
        """Yield every instance of a study as a Part 10 file, in the syntax it is stored in.

        One at a time is held in memory.
        """
        url = self._get_studies_url(_Transaction.RETRIEVE, StudyInstanceUID)
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        response = self._http_get(url, headers={"Accept": accept}, stream=True)
        for file in self._decode_multipart_message(response, stream=True):
            yield bytes(file)


def _only_part(content_type: str, body: bytes) -> bytes:
    """Return the content of a multipart message's one part (RFC 2046 5.1.1)."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary()
    if boundary is None or message.get_content_type() != "multipart/related":
        raise ValueError("the answer has no parts")
    delimiter = f"\r\n--{boundary}".encode()
    start = 0 if body.startswith(delimiter[2:]) else body.find(delimiter)
    start = body.find(b"\r\n\r\n", start) + 4
    end = body.find(delimiter, start)
    if start < 4 or end < 0 or body[end + len(delimiter) :][:2] != b"--":
        raise ValueError("the answer isn't one part")
    return body[start:end]


class _Slowed(HTTPAdapter):
    """Lets every piece that is sent wait for its turn."""

    def __init__(self, sending: Callable[[int], None]) -> None:
        self._sending = sending
        super().__init__()

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        """Make connections that wait; urllib3 takes their class from the pool's."""
        super().init_poolmanager(*arguments, **more)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _pool_of(HTTPConnectionPool, HTTPConnection, self._sending),
            "https": _pool_of(HTTPSConnectionPool, HTTPSConnection, self._sending),
        }


def _pool_of(
    pool: type[HTTPConnectionPool],
    connection: type[HTTPConnection],
    sending: Callable[[int], None],
) -> type[HTTPConnectionPool]:
    def send(self: Any, data: Any) -> None:
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            sending(len(piece))
            connection.send(self, piece)

    slowed = type(connection.__name__, (connection,), {"send": send})
    return type(pool.__name__, (pool,), {"ConnectionCls": slowed})
