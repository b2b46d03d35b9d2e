"""The page in the language that a browser asks for. What is written in the code is English.

Catalogues are gettext's, in two domains: `echocart` (templates, sentences of the box) and
`echocart-js` (the page's scripts). `make words` renews their templates in `locale/`.
"""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Any

from flask import Flask, current_app, g, has_request_context, request
from markupsafe import Markup, escape

from appliance import catalogues
from appliance.catalogues import PLACE
from appliance.config import Settings

log = logging.getLogger("echocart.webui")

SOURCE = "en"
_SHIPPED = Path(__file__).parent / "locale"
_LEAST = 6  # letters that a sentence with places must have, to be known again among others
_SEPARATORS = (". ", ": ", "; ", ", ")


class Catalogue:
    """What is known in one language.

    Parameters
    ----------
    tag
        Language (RFC 5646), as in `<html lang>`.
    folder
        Holds `LANG/LC_MESSAGES/echocart.mo`; None for the language of the code.

    Raises
    ------
    CatalogueError
        When one can't be read.
    """

    def __init__(self, tag: str, folder: Path | None) -> None:
        self.tag = tag
        self._own = _read(catalogues.PAGE, tag, folder)
        self._patterns = [
            (_pattern(known), known)
            for known in catalogues.messages(self._own)
            if isinstance(known, str) and PLACE.search(known) and _letters(known) >= _LEAST
        ]
        # The longest says the most: "Only {} frames" would take what is another's.
        self._patterns.sort(key=lambda pair: -_letters(pair[1]))
        self.scripts = _for_scripts(_read(catalogues.SCRIPTS, tag, folder))

    def one(self, text: str, values: Mapping[str, Any]) -> str:
        """Return a text of the code, with its places filled."""
        return _filled(self._own.gettext(text), text, values)

    def several(self, one: str, many: str, count: int) -> str:
        """Return a text of the code for so many, its places open."""
        return self._own.ngettext(one, many, count)

    def told(self, text: str) -> str:
        """Return a sentence that was filled where it was made; as it is, where it isn't known."""
        if not text or self.tag == SOURCE:
            return text
        return self._known(text) or self._joined(text) or text

    def _known(self, text: str) -> str:
        messages = catalogues.messages(self._own)
        if text in messages:
            return str(messages[text])
        for pattern, source in self._patterns:
            if found := pattern.fullmatch(text):
                values = map(self.told, found.groups())
                into = str(messages[source])
                for place, value in zip(PLACE.findall(source), values, strict=True):
                    into = into.replace(place, value)
                return into
        return ""

    def _joined(self, text: str) -> str:
        """A text of several known ones; "" when nothing of it is known."""
        if text.endswith(".") and (known := self._known(text[:-1]) or self._joined(text[:-1])):
            return f"{known}."
        for separator in _SEPARATORS:
            parts = text.split(separator)
            known_parts = [self._known(part) or self._known(f"{part}.")[:-1] for part in parts]
            if len(parts) > 1 and any(known_parts):
                told = [
                    known or self.told(part) for known, part in zip(known_parts, parts, strict=True)
                ]
                return separator.join(told)
        return ""


def _read(domain: str, tag: str, folder: Path | None) -> NullTranslations:
    return catalogues.read(domain, tag, folder) if folder else NullTranslations()


def _for_scripts(read: NullTranslations) -> dict[str, Any]:
    """What the page's scripts look their texts up in; {} when they say them as they are written.

    A text that counts has a list of its forms; under "" stands which form each number takes.
    """
    if not isinstance(read, GNUTranslations):
        return {}
    said: dict[str, Any] = {
        "": [catalogues.form(read, number) for number in range(catalogues.COUNTED)]
    }
    for message, text in catalogues.messages(read).items():
        if isinstance(message, tuple):
            said.setdefault(message[0], []).append((message[1], text))
        elif message:
            said[message] = text
    return {
        message: [form for _, form in sorted(text)] if message and isinstance(text, list) else text
        for message, text in said.items()
    }


def _letters(text: str) -> int:
    return sum(map(str.isalpha, PLACE.sub("", text)))


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile("(.*?)".join(map(re.escape, PLACE.split(text))), re.DOTALL)


def _filled(text: str, source: str, values: Mapping[str, Any]) -> str:
    if not values:
        return text
    try:
        return text.format(**values)
    except (IndexError, KeyError, ValueError):  # a stray brace must not take the page away
        return source.format(**values)


_ENGLISH = Catalogue(SOURCE, None)


@lru_cache
def _catalogue(tag: str, folder: Path | None) -> Catalogue:
    try:
        return Catalogue(tag, folder)
    except catalogues.CatalogueError as error:
        # Kept like any other answer: told once.
        log.error("%s: the page speaks English instead. %s", error.subject, error.hint)
        return _ENGLISH


def register(app: Flask, settings: Settings) -> None:
    """Let the application speak the languages that are there."""
    folders = [_SHIPPED, *([settings.webui.locale_dir] if settings.webui.locale_dir else [])]
    app.extensions["echocart.languages"] = {
        SOURCE: None,
        **{tag: folder for folder in folders for tag in catalogues.languages(folder)},
    }
    app.extensions["echocart.language"] = settings.webui.language
    app.jinja_env.filters["translated"] = _marked
    app.jinja_env.globals.update(_=_marked, n_=_marked_several, told=told, language=spoken)


def spoken() -> Catalogue:
    """Return the catalogue of the present request; English outside of one."""
    if not has_request_context():
        return _ENGLISH
    if "language" not in g:
        g.language = _asked_for(current_app.extensions.get("echocart.languages", {SOURCE: None}))
    chosen: Catalogue = g.language
    return chosen


def _asked_for(there: Mapping[str, Path | None]) -> Catalogue:
    wanted: str = current_app.extensions.get("echocart.language", "")
    ranges = [wanted] if wanted else [tag for tag, _quality in request.accept_languages]
    tag = _looked_up(ranges, there)
    return _catalogue(tag, there[tag]) if tag in there else _ENGLISH


def _looked_up(ranges: Sequence[str], there: Collection[str]) -> str:
    """The first that is there, as it is asked for or more generally (RFC 4647 3.4)."""
    known = {tag.lower(): tag for tag in there}
    for wanted in ranges:
        parts = wanted.lower().replace("_", "-").split("-")
        for length in range(len(parts), 0, -1):
            if found := known.get("-".join(parts[:length])):
                return found
    return SOURCE


def _(text: str, **values: Any) -> str:
    """Say a text of the code in the language of the present request.

    Parameters
    ----------
    text
        English, with `{name}` where a value goes.
    values
        What goes there.
    """
    return spoken().one(text, values)


def n_(one: str, many: str, count: int, **values: Any) -> str:
    """Say a text that counts; `{count}` is the number."""
    source = one if count == 1 else many
    return _filled(spoken().several(one, many, count), source, {"count": count, **values})


def N_(text: str) -> str:  # noqa: N802 - gettext's own name
    """Mark a text for the catalogue that is said later."""
    return text


def told(text: str) -> str:
    """Say a sentence that another part of the box has made, its places filled already."""
    return spoken().told(text)


def told_all(texts: Sequence[str]) -> list[str]:
    """Say each of several sentences."""
    return [told(text) for text in texts]


def _marked(text: str, **values: Any) -> Markup:
    """Say a text in a template; all of it is escaped but what is markup among the values."""
    return _into_page(spoken().one(text, {}), text, values)


def _marked_several(one: str, many: str, count: int, **values: Any) -> Markup:
    said = spoken().several(one, many, count)
    return _into_page(said, one if count == 1 else many, {"count": count, **values})


def _into_page(said: str, source: str, values: Mapping[str, Any]) -> Markup:
    return Markup(_filled(escape(said), escape(source), values))  # noqa: S704
