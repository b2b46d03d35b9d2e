"""How answers leave: the page's own files before anything is asked, and texts packed."""

import gzip
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from flask import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_LEVEL = 3  # on a fast network packing must not take longer than it saves
_LEAST = 1000  # bytes: less fits one packet anyway
# Contours too: numbers of a line that hardly moves.
_PACKED = frozenset({"text/html", "application/json", "application/octet-stream"})

File = tuple[bytes, str]


class FilesFirst:
    """Answers for the page's files before the application: two dozen are fetched for one page.

    They are the same for everybody and hold nothing of anybody, so nobody is asked who they are.

    Parameters
    ----------
    application
        Gets every other request.
    find
        Gives the gzipped bytes and the kind of the file at a path that stays what it is, or None.
    headers
        Of every answer.
    """

    def __init__(
        self,
        application: "WSGIApplication",
        find: Callable[[str], File | None],
        headers: dict[str, str],
    ) -> None:
        self._application = application
        self._find = find
        self._headers = [*headers.items(), ("Content-Encoding", "gzip")]
        self._headers.append(("Cache-Control", "public, max-age=31536000, immutable"))

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        """Answer a request (PEP 3333)."""
        wanted = environ["REQUEST_METHOD"] == "GET"
        found = self._find(environ.get("PATH_INFO", "")) if wanted else None
        if found is None:
            return self._application(environ, start)
        data, kind = found
        own = [("Content-Type", kind), ("Content-Length", str(len(data)))]
        start("200 OK", [*own, *self._headers])
        return [data]


def pack(response: Response, request: Request) -> None:
    """Send a text gzipped where the browser takes that.

    Secrets beside what others may choose (BREACH) are in no danger: the session's cookie is
    SameSite=Strict, so no other site can have a page fetched with it.
    """
    if (
        response.mimetype in _PACKED
        and not response.is_streamed
        and "Content-Encoding" not in response.headers
        and request.accept_encodings["gzip"] > 0
        and len(data := response.get_data()) >= _LEAST
    ):
        response.set_data(gzip.compress(data, _LEVEL, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
        response.vary.add("Accept-Encoding")
