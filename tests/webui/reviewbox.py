"""A box with loops to review: the real services, the real engine, sent over a real association."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from http.cookiejar import CookieJar
from json import dumps, loads
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

from appliance import scu
from tests.box import Box

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


class Page:
    """A signed-in reviewer's HTTP requests, as a browser makes them."""

    def __init__(self, box: Box, initials: str = "AK") -> None:
        self.box = box
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()), ProxyHandler({}))
        self.token = ""
        if initials:
            self.sign_in(initials)

    def sign_in(self, initials: str) -> tuple[int, str]:
        """Type initials into the page's form."""
        self._learn_token("/sign-in")
        form = urlencode({"csrf_token": self.token, "initials": initials, "next": "/"})
        status, _, text = self.ask("/sign-in", form.encode())
        self._learn_token("/")
        return status, text.decode()

    def ask(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of an answer, whatever the status."""
        request = Request(self.box.url + path, body, headers or {})
        try:
            with self._opener.open(request, timeout=30) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def get(self, path: str) -> Any:
        """Return the JSON of an address that must answer."""
        status, _, text = self.ask(path)
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

    def _learn_token(self, path: str) -> None:
        found = _TOKEN.search(self.ask(path)[2].decode())
        assert found is not None
        self.token = unescape(found.group(1))


def _fresh_key() -> str:
    from uuid import uuid4

    return str(uuid4())
