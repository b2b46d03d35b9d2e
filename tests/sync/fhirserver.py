"""A FHIR server in one file, as far as the specification's transactions go (R5 3.2.0.7, 3.2.0.13).

None that is real fits a test: HAPI and Blaze need a Java machine and a gigabyte, what PyPI and npm
offer has no transactions or no storage. Bundles are validated by fhir.resources.
"""

import base64
import importlib
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import ValidationError

MODULES = {"R5": "fhir.resources.bundle", "R4B": "fhir.resources.R4B.bundle"}
JSON = "application/fhir+json"


class Refusal(Exception):
    """An answer other than success: status, code and words of an OperationOutcome."""

    def __init__(self, status: int, code: str, words: str, place: str = "") -> None:
        super().__init__(words)
        self.status, self.code, self.words, self.place = status, code, words, place


class FhirServer:
    """Its resources, and how it behaves.

    Attributes
    ----------
    resources
        By type and id; each is what `GET` answers.
    user, password, token
        What it asks for; "" for nothing.
    answers
        (status, body) of the next requests, instead of what they ask for; None as body cuts the
        line.
    cuts_after
        Number of transactions that are done and never answered.
    forgetful
        Conditional updates make a new resource each time, as on servers that know none.
    """

    def __init__(self, release: str = "R5") -> None:
        self.release = release
        self.resources: dict[str, dict[str, dict[str, Any]]] = {}
        self.user = self.password = self.token = ""
        self.answers: list[tuple[int, bytes | None]] = []
        self.cuts_after = self.transactions = self.requests = 0
        self.forgetful = False
        self.url = ""
        self._turn = threading.Lock()
        self._next = 1

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        return list(self.resources.get(kind, {}).values())

    @contextmanager
    def serving(self, tls: Path | None = None, port: int = 0) -> Iterator["FhirServer"]:
        """Serve below /fhir, by TLS with the PEM pair `tls`.pem and `tls`.key."""
        handler = type("Handler", (_Handler,), {"fhir": self})
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.with_suffix(".pem"), tls.with_suffix(".key"))
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}/fhir"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def may(self, authorization: str) -> bool:
        if self.token:
            return authorization == f"Bearer {self.token}"
        if self.user:
            secret = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            return authorization == f"Basic {secret}"
        return True

    def capabilities(self) -> dict[str, Any]:
        kinds = ["ImagingStudy", "Observation", "DiagnosticReport"]
        kinds += ["ImagingSelection"] if self.release == "R5" else []
        return {
            "resourceType": "CapabilityStatement",
            "fhirVersion": {"R5": "5.0.0", "R4B": "4.3.0"}[self.release],
            "rest": [
                {
                    "mode": "server",
                    "interaction": [{"code": "transaction"}],
                    "resource": [{"type": kind} for kind in kinds],
                }
            ],
        }

    def search(self, kind: str, query: str) -> dict[str, Any]:
        found = self._matching(kind, query)
        entries = [{"resource": item, "search": {"mode": "match"}} for item in found]
        return {
            "resourceType": "Bundle",
            "type": "searchset",
            "total": len(found),
            "entry": entries,
        }

    def transaction(self, body: bytes) -> dict[str, Any]:
        """Do all of a bundle, or nothing."""
        try:
            importlib.import_module(MODULES[self.release]).Bundle.model_validate_json(body)
        except ValidationError as error:
            words = f"Invalid element: {error.errors()[0]['msg']}"
            raise Refusal(400, "structure", words) from error
        bundle = json.loads(body)
        if bundle["type"] != "transaction":
            raise Refusal(400, "value", "Bundle is no transaction")
        with self._turn:
            before = json.dumps([self.resources, self._next])
            try:
                return self._done(bundle["entry"])
            except Refusal:
                self.resources, self._next = json.loads(before)
                raise

    def _done(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        names, places = {}, []
        for entry in entries:
            kind, number, is_new = self._place(entry["request"])
            names[entry["fullUrl"]] = f"{kind}/{number}"
            places.append((kind, number, is_new))
        answers = []
        for entry, (kind, number, is_new) in zip(entries, places, strict=True):
            status = "201 Created" if is_new else "200 OK"
            if is_new or entry["request"]["method"] == "PUT":
                self._put(kind, number, entry["resource"], names)
            answers.append({"response": {"status": status, "location": f"{kind}/{number}"}})
        self.transactions += 1
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}

    def _place(self, request: dict[str, Any]) -> tuple[str, str, bool]:
        kind, _, query = request["url"].partition("?")
        if request["method"] == "POST":
            query = request.get("ifNoneExist", "")
        found = self._matching(kind, query) if query and not self.forgetful else []
        if len(found) > 1:
            raise Refusal(412, "multiple-matches", "Multiple resources match", f"{kind}.identifier")
        if found:
            return kind, found[0]["id"], False
        self._next += 1
        return kind, str(self._next), True

    def _put(self, kind: str, number: str, resource: dict[str, Any], names: dict[str, str]) -> None:
        stored = json.loads(json.dumps(resource), object_hook=lambda item: _resolved(item, names))
        known = self.resources.setdefault(kind, {}).get(number, {})
        version = int(known.get("meta", {}).get("versionId", "0")) + 1
        self.resources[kind][number] = {**stored, "id": number, "meta": {"versionId": str(version)}}

    def _matching(self, kind: str, query: str) -> list[dict[str, Any]]:
        (wanted,) = parse_qs(query)["identifier"]
        system, _, value = unquote(wanted).partition("|")
        identifier = {"system": system, "value": value}
        return [item for item in self.all_of(kind) if identifier in item.get("identifier", [])]


def _resolved(item: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    if item.get("reference", "").startswith("urn:"):
        if item["reference"] not in names:
            raise Refusal(400, "not-found", f"Unknown reference {item['reference']}")
        return {**item, "reference": names[item["reference"]]}
    return item


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fhir: FhirServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(lambda: self.fhir.transaction(body))

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        kind = parts.path.rpartition("/")[2]
        if kind == "metadata":
            self._answer(self.fhir.capabilities)
        else:
            self._answer(lambda: self.fhir.search(kind, parts.query))

    def _answer(self, asked: Any) -> None:
        server = self.fhir
        server.requests += 1
        if server.answers:
            status, content = server.answers.pop(0)
            return self._send(status, content)
        if not self.path.startswith("/fhir"):
            return self._send(404, b"<html>nothing here</html>")
        if not server.may(self.headers.get("Authorization", "")):
            return self._send(401, b"")
        try:
            found = asked()
        except Refusal as refusal:
            issue = {"severity": "error", "code": refusal.code, "diagnostics": refusal.words}
            if refusal.place:
                issue["expression"] = [refusal.place]
            outcome = {"resourceType": "OperationOutcome", "issue": [issue]}
            return self._send(refusal.status, json.dumps(outcome).encode())
        if self.command == "POST" and server.cuts_after:
            server.cuts_after -= 1
            return self._send(0, None)
        return self._send(200, json.dumps(found).encode())

    def _send(self, status: int, content: bytes | None) -> None:
        self.close_connection = content is None
        if content is None:
            return
        self.send_response(status)
        self.send_header("Content-Type", JSON)
        self.send_header("Content-Length", str(len(content)))
        if status in (301, 302, 307, 308):
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass
