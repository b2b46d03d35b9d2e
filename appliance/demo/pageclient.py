"""The review page's HTTP API from a program: what the page itself calls, nothing else."""

import http.client
import http.cookiejar
import json
import re
import urllib.error
import urllib.parse
import urllib.request
import uuid
from html import unescape
from typing import Any

from appliance.errors import ApplianceError

TIMEOUT_S = 30.0
_TOKEN = re.compile(r'name="csrf[-_]token" (?:content|value)="([^"]+)"')
_ACTION = re.compile(r'<form method="post" action="([^"]+)"')


class PageError(ApplianceError):
    """The page refused, or doesn't answer."""


class PageClient:
    """A signed-in reviewer.

    Parameters
    ----------
    url
        The page's address without a path ("http://127.0.0.1:8080").
    """

    def __init__(self, url: str) -> None:
        self._url = url
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        # A site's proxy has no business between a box and itself.
        self._opener = urllib.request.build_opener(jar, urllib.request.ProxyHandler({}))

    def sign_in(self, initials: str, pin: str) -> None:
        """Sign in as the page's form does.

        Raises
        ------
        PageError
            When the page does not offer its form, or refuses initials or PIN.
        """
        page = self._call("/")
        token, action = _TOKEN.search(page), _ACTION.search(page)
        if token is None or action is None:
            raise PageError("sign in", "the page offers no form", "Is this an Echocart box?")
        form = {"csrf_token": unescape(token.group(1)), "user": initials, "pin": pin, "next": "/"}
        self._call(unescape(action.group(1)), urllib.parse.urlencode(form).encode())

    def loop(self, seq: int) -> dict[str, Any]:
        """Return a loop as the viewer gets it.

        Raises
        ------
        PageError
            When there is no such loop.
        """
        row: dict[str, Any] = json.loads(self._call(f"/api/loops/{seq}"))
        return row

    def accept(self, seq: int) -> dict[str, Any]:
        """Accept a loop as it is shown now and return the stored review.

        Raises
        ------
        PageError
            When the page refuses, with its sentence.
        """
        return self.review(seq, decision="accepted", **self._shown(seq))

    def correct(
        self, seq: int, contours: dict[int, dict[int, list[list[float]]]]
    ) -> dict[str, Any]:
        """Save drawn contours, by frame (from 0) and label, and return the stored review.

        Raises
        ------
        PageError
            When the page refuses, with its sentence.
        """
        return self.review(seq, decision="corrected", contours=contours, **self._shown(seq))

    def _shown(self, seq: int) -> dict[str, Any]:
        shown = self.loop(seq)
        return {
            "analysis_sha256": shown["analysis"]["sha256"],
            "patient_id": shown["patient_id"],
            "newest_review": shown["newest_review"],
        }

    def review(self, seq: int, **decision: Any) -> dict[str, Any]:
        """Post a decision and return the stored review.

        Raises
        ------
        PageError
            When the page refuses, with its sentence.
        """
        token = _TOKEN.search(self._call("/"))
        headers = {
            "Content-Type": "application/json",
            "X-CSRFToken": unescape(token.group(1)) if token else "",
        }
        body = json.dumps({"key": str(uuid.uuid4()), **decision}).encode()
        row: dict[str, Any] = json.loads(self._call(f"/api/loops/{seq}/reviews", body, headers))
        return row

    def _call(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> str:
        given = {"Referer": self._url + "/", **(headers or {})}
        request = urllib.request.Request(self._url + path, body, given)  # noqa: S310
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                text: str = answer.read().decode()
        except urllib.error.HTTPError as error:
            raise PageError("use the page", _sentence(error), "Look at it in a browser.") from error
        except (OSError, http.client.HTTPException) as error:
            hint = "Is the box running?"
            raise PageError("use the page", f"{self._url} does not answer", hint) from error
        return text


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        detail: str = json.loads(error.read())["detail"]
    except (ValueError, KeyError):
        return f"HTTP status {error.code}"  # not one of our own answers
    return detail
