"""Translations on disk: gettext's catalogues of each language, and what is wrong with them."""

import re
from collections.abc import Iterator
from gettext import GNUTranslations, NullTranslations, translation
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError

DOMAINS = PAGE, SCRIPTS = "echocart", "echocart-js"
PLACE = re.compile(r"\{[^{}]*\}")  # where a value goes
COUNTED = 200  # plural rules look at a number's last two digits, and at small ones
_COUNT = "{count}"  # the form for one alone may say it in a word


class CatalogueError(ApplianceError):
    """A catalogue can't be read."""


def languages(folder: Path) -> list[str]:
    """Return the languages (RFC 5646) that a folder has a catalogue of the pages for."""
    found = sorted(folder.glob(f"*/LC_MESSAGES/{PAGE}.mo"))
    return [path.parent.parent.name.replace("_", "-") for path in found]


def read(domain: str, tag: str, folder: Path) -> NullTranslations:
    """Read a catalogue, without the texts that would put a value elsewhere, or nowhere.

    Parameters
    ----------
    domain
        One of `DOMAINS`.
    tag
        Language (RFC 5646).
    folder
        Holds `LANG/LC_MESSAGES/DOMAIN.mo`; where it doesn't, nothing is translated.

    Raises
    ------
    CatalogueError
        When the file is no catalogue, or its rule for plurals can't be followed.
    """
    found = _opened(domain, tag, folder)
    if isinstance(found, GNUTranslations):
        known, wrong = messages(found), _misplaced(found)
        # Every form of one that counts, or their numbers would be others'.
        kept = {key: text for key, text in known.items() if _source(key) not in wrong}
        found._catalog = kept  # type: ignore[attr-defined]  # not in typeshed
    return found


def problems(folder: Path) -> Iterator[str]:
    """Say what is wrong with the catalogues of a folder, and what to do about it."""
    if not languages(folder):
        yield f"{folder} holds no LANG/LC_MESSAGES/{PAGE}.mo. Name the folder above the languages"
    for tag in languages(folder):
        for domain in DOMAINS:
            yield from _problems_of(domain, tag, folder)


def _problems_of(domain: str, tag: str, folder: Path) -> Iterator[str]:
    try:
        wrong = sorted(_misplaced(_opened(domain, tag, folder)))
    except CatalogueError as error:
        yield f"{error.subject}: the page speaks English instead. {error.hint}"
        return
    if wrong:
        where = f"in {len(wrong)} of its texts, as {wrong[0]!r}"
        yield (
            f"{_name(domain, tag)}: {{places}} differ from the English ones {where}."
            " Correct them: until then, English is shown"
        )


def messages(catalogue: NullTranslations) -> dict[Any, str]:
    """Return every message of a catalogue; gettext itself gives one at a time only.

    The key of one that counts is its singular and the form's number.
    """
    return getattr(catalogue, "_catalog", {})


def form(catalogue: GNUTranslations, number: int) -> int:
    """Return which form of a message that counts a number takes."""
    chosen: int = catalogue.plural(number)  # type: ignore[attr-defined]  # not in typeshed
    return int(chosen)


def _opened(domain: str, tag: str, folder: Path) -> NullTranslations:
    try:
        found = translation(domain, folder, [tag.replace("-", "_")], fallback=True)
        if isinstance(found, GNUTranslations):
            for number in range(COUNTED):
                form(found, number)
    except Exception as error:  # gettext lets out whatever a broken file makes of its steps
        raise CatalogueError(
            "read a catalogue",
            f"{_name(domain, tag)} can't be read ({type(error).__name__})",
            "Compile it again and restart the page",
        ) from error
    return found


def _name(domain: str, tag: str) -> str:
    return f"{tag.replace('-', '_')}/LC_MESSAGES/{domain}.mo"


def _source(key: Any) -> str:
    return str(key[0] if isinstance(key, tuple) else key)


def _misplaced(catalogue: NullTranslations) -> set[str]:
    """Texts whose translation has other places than they have."""
    # Under "" stands what the file says of itself.
    return {_source(key) for key, text in messages(catalogue).items() if key and _differ(key, text)}


def _differ(key: Any, text: str) -> bool:
    places = set(PLACE.findall(_source(key))) ^ set(PLACE.findall(text))
    return bool(places - {_COUNT} if isinstance(key, tuple) else places)
