"""A DICOMweb client that gives up in time, sends files as they are, and says nothing in logs.

Import it where it is used: dicomweb-client costs 0.7 s.
"""

import logging
import os
from pathlib import Path

import requests
from dicomweb_client.web import DICOMwebClient, _Transaction
from pydicom.dataset import Dataset
from requests.auth import HTTPBasicAuth

from appliance.errors import ApplianceError

CONNECT_S = 10.0
ANSWER_S = 120.0


class PasswordError(ApplianceError):
    """The file that holds a server's password can't be used."""


class Client(DICOMwebClient):  # type: ignore[misc,unused-ignore]
    """A DICOMweb client for one server.

    Parameters
    ----------
    url
        Base of its services.
    user, password_file
        For HTTP basic authentication; "" and None without. The file is read now.
    connect_s, answer_s
        Seconds to wait for a connection, and for each piece of an answer.

    Raises
    ------
    PasswordError
        When the password can't be read.
    """

    def __init__(
        self,
        url: str,
        user: str = "",
        password_file: Path | None = None,
        connect_s: float = CONNECT_S,
        answer_s: float = ANSWER_S,
    ) -> None:
        # Their lines name studies by their UIDs, and quote errors at length.
        for name in ("dicomweb_client", "retrying", "urllib3"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        session = requests.Session()
        if password_file:
            # As UTF-8 (RFC 7617 2.1): requests would encode text in Latin-1.
            session.auth = HTTPBasicAuth(user.encode(), _password(password_file))
        super().__init__(url, session=session, timeout=(connect_s, answer_s), permissive_uid=True)
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


def _password(path: Path) -> bytes:
    try:
        password = path.read_bytes().strip()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise PasswordError(
            "read a password", f"{path}: {reason}", "Name a file that this service may read."
        ) from error
    if not password:
        raise PasswordError("read a password", f"{path} is empty", "Write the password into it.")
    return password
