"""A box with loops to review: the real services, the real engine, sent over a real association."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from http.cookiejar import CookieJar
from json import dumps, loads
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import (
    BaseHandler,
    HTTPCookieProcessor,
    HTTPSHandler,
    ProxyHandler,
    Request,
    build_opener,
)

from appliance import scu
from appliance.ledger import user
from tests.box import PIN, Box, hashed_pin

_TOKEN = re.compile(r'name="csrf-token" content="([^"]+)"')


@contextmanager
def reviewing(root: Path, loops: list[Path]) -> Iterator[Box]:
    """Start a box, send it some files, and wait until each is analysed or kept."""
    with Box(root, services=("scp", "engine", "webui")) as box:
        send(box, loops)
        yield box


def send(box: Box, loops: list[Path]) -> list[dict[str, Any]]:
    """Send files to a box; return its instances, oldest first, once they are settled."""
    before = len(box.loops())
    for loop in loops:
        sent = scu.send([loop], "127.0.0.1", box.dicom_port, called_ae="ECHOCART")
        assert all(item.outcome is scu.Outcome.STORED for item in sent), sent
    return sorted(box.wait_settled(before + len(loops)), key=lambda row: row["seq"])


def enrol(box: Box, initials: str, *roles: str) -> None:
    """Make a user of a box, with `tests.box.PIN`; a sonographer unless roles are given."""
    if user.find(box.ledger, initials) is None:
        user.add(box.ledger, initials, roles or ["sonographer"], hashed_pin(), "test")


class Page:
    """A signed-in reviewer's HTTP requests, as a browser makes them.

    Parameters
    ----------
    box
        A running box.
    initials
        Who signs in, with `tests.box.PIN`; made a sonographer if unknown. "" signs nobody in.
    context
        For a page over TLS: whom to trust.
    """

    def __init__(
        self, box: Box, initials: str = "AK", context: ssl.SSLContext | None = None
    ) -> None:
        self.box = box
        self.cookies = CookieJar()
        handlers: list[BaseHandler] = [HTTPCookieProcessor(self.cookies), ProxyHandler({})]
        if context is not None:
            handlers.append(HTTPSHandler(context=context))
        self._opener = build_opener(*handlers)
        self.token = ""
        if initials:
            enrol(box, initials)
            status, text = self.sign_in(initials)
            assert status == 200, text

    def sign_in(self, initials: str, pin: str = PIN) -> tuple[int, str]:
        """Choose initials and type a PIN into the page's form; return what came of it."""
        status, text = self.post("/sign-in", user=initials, pin=pin, next="/")
        self.learn_token("/sign-in")
        return status, text

    def post(self, path: str, **fields: Any) -> tuple[int, str]:
        """Send a form of the page, with the token against forgery; return status and text."""
        if not self.token:
            self.learn_token("/sign-in")
        form = urlencode({"csrf_token": self.token, **fields}, doseq=True)
        status, _, text = self.ask(path, form.encode())
        return status, text.decode()

    def ask(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of an answer, whatever the status."""
        given = {"Referer": self.box.url + "/", **(headers or {})}
        request = Request(self.box.url + path, body, given)
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def get(self, path: str, headers: dict[str, str] | None = None) -> Any:
        """Return the JSON of an address that must answer."""
        status, _, text = self.ask(path, None, headers)
        assert status == 200, (status, text)
        return loads(text)

    def review(self, seq: int, **changes: Any) -> tuple[int, Any]:
        """Post a decision on a loop as it is shown now, with changes; return status and JSON."""
        shown = self.get(f"/api/loops/{seq}")
        body = {
            "decision": "accepted",
            "analysis_sha256": shown["analysis"]["sha256"],
            "patient_id": shown["patient_id"],
            "key": changes.pop("key", None) or _fresh_key(),
        }
        headers = {"Content-Type": "application/json", "X-CSRFToken": self.token}
        posted = dumps({**body, **changes}).encode()
        status, _, text = self.ask(f"/api/loops/{seq}/reviews", posted, headers)
        return status, loads(text)

    def learn_token(self, path: str) -> None:
        """Take the token from a page, as the browser does with each one it opens."""
        found = _TOKEN.search(self.ask(path)[2].decode())
        assert found is not None
        self.token = unescape(found.group(1))


def _fresh_key() -> str:
    from uuid import uuid4

    return str(uuid4())
