"""The destination `fhir`: a FHIR server, which takes a bundle as one transaction.

Each resource is put under an identifier of ours (a conditional update), so that the same bundle
again changes nothing and a later one takes its place. An answer of success proves nothing here
either: every resource is looked up by its identifier and compared.
"""

from __future__ import annotations

import json
import threading
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests

from appliance.errors import DeliveryError
from appliance.fhir_client import Answer, Client, Resource, SecretError
from appliance.sync.brake import Brake
from appliance.sync.destinations import Absent, Proof, Unreachable
from appliance.sync.door import Door
from appliance.sync.fhir_outcome import reason
from appliance.sync.seg import Part10

_OPERATION = "deliver to a FHIR server"
_WAITS = "The bundle waits; nothing is lost."
_TAKEN = (HTTPStatus.OK, HTTPStatus.CREATED)
# Answers that concern every bundle.
_SHUT = {
    301: ("has moved", "Correct the destination's url."),
    302: ("has moved", "Correct the destination's url."),
    307: ("has moved", "Correct the destination's url."),
    308: ("has moved", "Correct the destination's url."),
    401: ("refuses the user or the token", "Correct user and password_file, or token_file."),
    403: ("doesn't allow this user to do it", "Give the user the right to write and to search."),
    404: ("has no FHIR service at this address", "Correct the destination's url."),
    405: ("takes no transactions at this address", "Correct the destination's url."),
    429: ("asks for less", _WAITS),
    502: ("is not ready", _WAITS),
    503: ("is not ready", _WAITS),
    504: ("is not ready", _WAITS),
    507: ("is full", "Make room on it; nothing is lost."),
}


class FhirServer:
    """A FHIR server.

    Parameters
    ----------
    client
        Asks it.
    brake
        How fast bundles may leave.
    """

    def __init__(self, client: Client, brake: Brake | None = None) -> None:
        self._client, self._url = client, client.url
        self._brake = brake or Brake(0)
        self._turn = threading.Lock()
        parts = urlsplit(client.url)
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
        """Send a bundle; an answer other than success is believed only after a look.

        Raises
        ------
        Unreachable
            When nothing can be sent there now.
        DeliveryError
            When it doesn't take this bundle; with its reason.
        """
        body = b"".join(result.parts)
        self._brake(len(body))
        # One at a time: two that name the same patient's study would race to create it.
        with self._turn:
            answer = self._ask("transaction", body)
        if answer.status in _TAKEN:
            return
        self._must_be_open(answer)
        if not self._has(result):
            words = reason(answer.resource, body)
            subject = f"{self._url} answers {_status(answer.status)} to the bundle{words}"
            hint = "Ask its administrator; the bundle is tried again."
            raise DeliveryError(_OPERATION, subject, hint, retry=True)

    def prove(self, result: Part10) -> Proof:
        """Look up every resource of a bundle by its identifier and compare it.

        Raises
        ------
        Absent
            When one is missing, or isn't as it was sent.
        Unreachable
            When nothing can be looked up there now.
        DeliveryError
            When the server has two under one identifier, or doesn't search.
        """
        entries = json.loads(b"".join(result.parts))["entry"]
        sent = [entry["resource"] for entry in entries]
        there = [self._found(resource) for resource in sent]
        names = {
            entry["fullUrl"]: f"{found['resourceType']}/{found.get('id', '')}"
            for entry, found in zip(entries, there, strict=True)
        }
        for resource, found in zip(sent, there, strict=True):
            # A hospital's own ImagingStudy stays as it is: ours is made only where there is none.
            if resource["resourceType"] != "ImagingStudy" and not _says(found, resource, names):
                kind = resource["resourceType"]
                raise Absent(
                    _OPERATION,
                    f"{self._url} holds another {kind} than was sent",
                    "The bundle is sent again.",
                    retry=True,
                )
        return Proof(result.sha256, result.size)

    def _has(self, result: Part10) -> bool:
        try:
            self.prove(result)
        except Absent:
            return False
        return True

    def _found(self, resource: Resource) -> Resource:
        kind, identifier = resource["resourceType"], resource["identifier"][0]
        answer = self._ask("search", kind, identifier["system"], identifier["value"])
        if answer.status != HTTPStatus.OK or answer.resource.get("resourceType") != "Bundle":
            self._must_be_open(answer)
            words = reason(answer.resource, b"{}")
            subject = f"{self._url} answers {_status(answer.status)} when asked for {kind}{words}"
            raise DeliveryError(_OPERATION, subject, "It is asked again.", retry=True)
        entries = answer.resource.get("entry") or []
        found: list[Resource] = [
            entry["resource"]
            for entry in entries
            if isinstance(entry, dict)
            and entry.get("resource", {}).get("resourceType") == kind
            and identifier in entry["resource"].get("identifier", [])
        ]
        if not found:
            subject = f"{self._url} doesn't have the {kind}"
            raise Absent(_OPERATION, subject, _WAITS, retry=True)
        if len(found) > 1:
            subject = f"{self._url} has {len(found)} resources {kind} under one identifier"
            hint = "Have all but one removed there."
            raise DeliveryError(_OPERATION, subject, hint, retry=True)
        return found[0]

    def _ask(self, method: str, *arguments: object) -> Answer:
        try:
            answer: Answer = getattr(self._client, method)(*arguments)
        except SecretError as error:
            raise Unreachable(_OPERATION, error.subject, error.hint, retry=True) from error
        except requests.exceptions.SSLError as error:
            hint = "Name its authority's certificate in ca_file, or mend the server's."
            raise self._shut("shows a certificate that isn't trusted", hint) from error
        except (requests.RequestException, OSError) as error:
            self._door.found_shut()
            raise self._shut("doesn't answer", _WAITS) from error
        return answer

    def _must_be_open(self, answer: Answer) -> None:
        # A server that says in FHIR what is wrong is there, and means this bundle.
        told = answer.resource.get("resourceType") == "OperationOutcome"
        if answer.status in _SHUT and not (told and answer.status == HTTPStatus.NOT_FOUND):
            raise self._shut(*_SHUT[answer.status])

    def _shut(self, subject: str, hint: str) -> Unreachable:
        return Unreachable(_OPERATION, f"{self._url} {subject}", hint, retry=True)


def _says(there: Any, sent: Any, names: dict[str, str]) -> bool:
    """Tell whether all that was sent is there; a server may add elements and resolves references."""
    if isinstance(sent, dict):
        return isinstance(there, dict) and all(
            key in there and _says(there[key], value, names) for key, value in sent.items()
        )
    if isinstance(sent, list):
        return (
            isinstance(there, list)
            and len(there) == len(sent)
            and all(_says(one, other, names) for one, other in zip(there, sent, strict=True))
        )
    if sent in names and isinstance(there, str):
        return there.partition("/_history/")[0].endswith(names[sent])
    moment = _instant(sent)
    return bool(there == sent) or (moment is not None and _instant(there) == moment)


def _instant(value: Any) -> datetime | None:
    """The moment that a text tells: a server may write it in another time zone."""
    try:
        found = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except (AttributeError, ValueError):
        return None
    return found if found.tzinfo else None


def _status(number: int) -> str:
    try:
        return f"{number} {HTTPStatus(number).phrase}"
    except ValueError:
        return str(number)  # one that nobody registered
