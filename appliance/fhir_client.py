"""A FHIR client over HTTP that gives up in time, follows nobody elsewhere, and says nothing in logs."""

import json
import logging
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from appliance.errors import ApplianceError

CONNECT_S = 10.0
ANSWER_S = 120.0
JSON = "application/fhir+json"
_LARGEST = 32 << 20  # bytes of an answer that are read

Resource = dict[str, Any]


class SecretError(ApplianceError):
    """The file that holds a server's password or token can't be used."""


@dataclass(frozen=True)
class Answer:
    """What a server answered: HTTP status, and the resource; {} where it is none."""

    status: int
    resource: Resource


@dataclass
class Client:
    """One FHIR server.

    Attributes
    ----------
    url
        Its base.
    user, password_file
        For HTTP basic authentication; "" and None without.
    token_file
        Holds a bearer token (RFC 6750); None without. Both files are read at each request: a new
        secret works at once.
    ca_file
        Who signs its certificate; None for the authorities of the system.
    connect_s, answer_s
        Seconds to wait for a connection, and for each piece of an answer.
    """

    url: str
    user: str = ""
    password_file: Path | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    connect_s: float = CONNECT_S
    answer_s: float = ANSWER_S
    _local: threading.local = field(default_factory=threading.local)

    def metadata(self) -> Answer:
        """Ask what it can do (CapabilityStatement)."""
        return self._ask("GET", "/metadata")

    def transaction(self, bundle: bytes) -> Answer:
        """Send a transaction bundle, which is taken as a whole or not at all (http.html#transaction)."""
        return self._ask("POST", "", bundle)

    def search(self, kind: str, system: str, value: str) -> Answer:
        """Look for the resources of a kind that have an identifier."""
        return self._ask("GET", f"/{kind}", identifier=f"{system}|{value}")

    def _ask(self, method: str, path: str, body: bytes | None = None, **query: str) -> Answer:
        """Ask over this thread's connection.

        Raises
        ------
        SecretError
            When the password or token can't be read.
        requests.RequestException
            When there is no answer in HTTP.
        """
        headers = {"Accept": JSON, "Cache-Control": "no-cache"}
        if body is not None:
            headers["Content-Type"] = JSON
        if secret := self._secret():
            headers["Authorization"] = secret
        with self._session().request(
            method,
            self.url + path,
            params=query,
            data=body,
            headers=headers,
            timeout=(self.connect_s, self.answer_s),
            allow_redirects=False,
            verify=str(self.ca_file) if self.ca_file else True,
            stream=True,
        ) as response:
            return Answer(response.status_code, _resource(response))

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            logging.getLogger("urllib3").setLevel(logging.CRITICAL + 1)  # its lines quote addresses
            session = requests.Session()
            session.trust_env = False  # neither a .netrc nor a proxy decides where results go
            self._local.session = session
        session = self._local.session
        assert isinstance(session, requests.Session)
        return session

    def _secret(self) -> str:
        if self.token_file:
            return f"Bearer {_read(self.token_file, 'token')}"
        if self.password_file:
            password = _read(self.password_file, "password")
            # As UTF-8 (RFC 7617 2.1): requests would encode text in Latin-1.
            header: str = requests.auth._basic_auth_str(self.user.encode(), password.encode())
            return header
        return ""


def _resource(response: requests.Response) -> Resource:
    content = response.raw.read(_LARGEST, decode_content=True)
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "resourceType" in found else {}


def _read(path: Path, what: str) -> str:
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeError) as error:
        reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "no text"
        hint = "Name a file that this service may read."
        raise SecretError(f"read a {what}", f"{path}: {reason}", hint) from error
    if not secret or not secret.isprintable():
        raise SecretError(f"read a {what}", f"{path} holds no {what}", f"Write the {what} into it.")
    return secret
