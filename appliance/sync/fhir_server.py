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
from typing import Any, ClassVar

from appliance.errors import DeliveryError
from appliance.fhir_client import Answer, Client, Resource
from appliance.sync.brake import Brake
from appliance.sync.destinations import Absent, Proof
from appliance.sync.fhir_outcome import reason
from appliance.sync.http_server import SHUT, WAITS, HttpServer, phrase
from appliance.sync.seg import Part10

_OPERATION = "deliver to a FHIR server"
_TAKEN = (HTTPStatus.OK, HTTPStatus.CREATED)
_MOVED = ("has moved", "Correct the destination's url.")


class FhirServer(HttpServer):
    """A FHIR server.

    Parameters
    ----------
    client
        Asks it.
    brake
        How fast bundles may leave.
    """

    operation = _OPERATION
    shut_by: ClassVar = {
        **SHUT,
        **dict.fromkeys((301, 302, 307, 308), _MOVED),
        401: ("refuses the user or the token", "Correct user and password_file, or token_file."),
        403: (
            "doesn't allow this user to do it",
            "Give the user the right to write and to search.",
        ),
        404: ("has no FHIR service at this address", "Correct the destination's url."),
        405: ("takes no transactions at this address", "Correct the destination's url."),
    }
    untrusted = "Name its authority's certificate in ca_file, or mend the server's."

    def __init__(self, client: Client, brake: Brake | None = None) -> None:
        super().__init__(client.url)
        self._client = client
        self._brake = brake or Brake(0)
        self._turn = threading.Lock()

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
            answer = self.ask(lambda: self._client.transaction(body))
        if answer.status in _TAKEN:
            return
        self._must_mean_this(answer)
        if not self._has(result):
            words = reason(answer.resource, body)
            subject = f"{self._url} answers {phrase(answer.status)} to the bundle{words}"
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
        wanted = (kind, identifier["system"], identifier["value"])
        answer = self.ask(lambda: self._client.search(*wanted))
        if answer.status != HTTPStatus.OK or answer.resource.get("resourceType") != "Bundle":
            self._must_mean_this(answer)
            words = reason(answer.resource, b"{}")
            subject = f"{self._url} answers {phrase(answer.status)} when asked for {kind}{words}"
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
            raise Absent(_OPERATION, subject, WAITS, retry=True)
        if len(found) > 1:
            subject = f"{self._url} has {len(found)} resources {kind} under one identifier"
            hint = "Have all but one removed there."
            raise DeliveryError(_OPERATION, subject, hint, retry=True)
        return found[0]

    def _must_mean_this(self, answer: Answer) -> None:
        # A server that says in FHIR what is wrong is there, and means this bundle.
        told = answer.resource.get("resourceType") == "OperationOutcome"
        if not (told and answer.status == HTTPStatus.NOT_FOUND):
            self.must_be_open(answer.status)


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
