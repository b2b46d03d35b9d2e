"""What a DICOMweb client takes (PS3.18 8.7): its Accept, and the best of what there is for it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from urllib.request import parse_http_list

from flask import Request

from appliance.webui.app import Refused

MULTIPART = "multipart/related"
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
JSON = "application/json"
BYTES = "application/octet-stream"
JPEG = "image/jpeg"

# Viewers leave the quotes of type="application/dicom" out, which RFC 9110 5.6.6 asks for.
_GIVEN = re.compile(r"([\w-]+)\s*=\s*(?:\"([^\"]*)\"|([^;\"]*))")
# Which media type frames of a transfer syntax have (PS3.18 table 8.7.3-5).
_MEDIA = {
    "1.2.840.10008.1.2.4.50": JPEG,
    "1.2.840.10008.1.2.4.51": JPEG,
    "1.2.840.10008.1.2.4.57": JPEG,
    "1.2.840.10008.1.2.4.70": JPEG,
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.92": "image/jpx",
    "1.2.840.10008.1.2.4.93": "image/jpx",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}


@dataclass(frozen=True)
class Offer:
    """A form in which something can leave.

    Attributes
    ----------
    kind
        Media type, of each part where there are several.
    multipart
        Whether it leaves as multipart/related.
    syntax
        Transfer syntax of what is in it, "" where none belongs.
    """

    kind: str
    multipart: bool = False
    syntax: str = ""

    @property
    def part_type(self) -> str:
        """Content-Type of a part, or of the whole where there is one."""
        return f"{self.kind}; transfer-syntax={self.syntax}" if self.syntax else self.kind

    @property
    def words(self) -> str:
        """How a client asks for it."""
        return f'{MULTIPART}; type="{self.kind}"' if self.multipart else self.kind


@dataclass(frozen=True)
class _Wish:
    kind: str  # "*/*" for any
    multipart: bool | None  # None: both are fine
    syntax: str  # "" and "*": as it is stored
    quality: float

    def takes(self, offer: Offer) -> bool:
        family, _, name = self.kind.partition("/")
        fits = self.kind in ("*/*", offer.kind) or (name == "*" and offer.kind.startswith(family))
        same = self.syntax in ("", "*") or not offer.syntax or self.syntax == offer.syntax
        return fits and same and self.multipart in (None, offer.multipart)


def chosen(request: Request, offers: Sequence[Offer]) -> Offer:
    """Return the offer that a request likes best; among equals the first.

    Raises
    ------
    Refused
        With 406, when it takes none.
    """
    wishes = sorted(_wishes(request), key=lambda wish: -wish.quality)
    for wish in wishes:
        for offer in offers:
            if wish.takes(offer) and not _is_excluded(offer, wishes):
                return offer
    stored = next((offer.syntax for offer in offers if offer.syntax), "")
    kept = f" It is stored as {stored}, and nothing is transcoded." if stored else ""
    there = ", or ".join(dict.fromkeys(offer.words for offer in offers))
    raise Refused(HTTPStatus.NOT_ACCEPTABLE, f"Ask for {there}.{kept}")


def of_frames(syntax: str, count: int, *, native: bool) -> list[Offer]:
    """Return in what forms frames of a stored syntax can leave, as many as are asked for."""
    own = BYTES if native else _MEDIA.get(syntax, BYTES)
    kinds = list(dict.fromkeys([own, BYTES]))
    found = [Offer(kind, multipart=True, syntax=syntax) for kind in kinds]
    return found + ([Offer(kind, syntax=syntax) for kind in kinds] if count == 1 else [])


def _is_excluded(offer: Offer, wishes: Sequence[_Wish]) -> bool:
    return any(not wish.quality and wish.kind != "*/*" and wish.takes(offer) for wish in wishes)


def _wishes(request: Request) -> list[_Wish]:
    # PS3.18 8.3.3.1: the address may say it, for programs that can set no header.
    written = request.args.get("accept") or request.headers.get("Accept") or "*/*"
    found = [_wish(item) for item in parse_http_list(written)]
    return [wish for wish in found if wish.quality or wish.kind != "*/*"]


def _wish(item: str) -> _Wish:
    kind, _, rest = item.partition(";")
    kind = kind.strip().lower()
    given = {
        name.lower(): (quoted or plain).strip() for name, quoted, plain in _GIVEN.findall(rest)
    }
    syntax = given.get("transfer-syntax", "")
    try:
        quality = float(given.get("q", 1))
    except ValueError:
        quality = 1.0
    if kind == MULTIPART:
        return _Wish(given.get("type", "*/*").lower(), True, syntax, quality)
    return _Wish(kind or "*/*", None if kind in ("*/*", "") else False, syntax, quality)
