"""A FHIR client over HTTP that gives up in time, follows nobody elsewhere, and says nothing in logs."""

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from appliance.http_client import ANSWER_S, CONNECT_S, Secret, SecretError, session

__all__ = ["Answer", "Client", "Resource", "SecretError"]

JSON = "application/fhir+json"
_LARGEST = 32 << 20  # bytes of an answer that are read

Resource = dict[str, Any]


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
        with self._session().request(
            method,
            self.url + path,
            params=query,
            data=body,
            headers=headers,
            timeout=(self.connect_s, self.answer_s),
            allow_redirects=False,
            stream=True,
        ) as response:
            return Answer(response.status_code, _resource(response))

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            secret = Secret(self.user, self.password_file, self.token_file)
            self._local.session = session(secret, self.ca_file)
        found = self._local.session
        assert isinstance(found, requests.Session)
        return found


def _resource(response: requests.Response) -> Resource:
    content = response.raw.read(_LARGEST, decode_content=True)
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "resourceType" in found else {}
