"""What is wrong in a TOML file, in words a person can act on: setting, line, what to do."""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from appliance.config.destinations import KINDS
from appliance.config.settings import Cart, Settings
from appliance.config.values import MINISIGN, NAME, WEB

Location = tuple[int | str, ...]  # keys from the top: ("destination", 1, "path")


def line_of(text: str, location: Location) -> int | None:
    """Return the line (from 1) where a TOML key or its table stands, or None.

    Parameters
    ----------
    text
        The file.
    location
        Keys from the top, as pydantic gives them: ("scp", "port"), ("destination", 1, "path").
    """
    table, index = str(location[0]), 0
    rest = list(location[1:])
    if rest and isinstance(rest[0], int):
        index = int(rest.pop(0))
    key = str(rest[0]) if rest else None
    current, seen, table_line = "", -1, None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[{1,2}\s*([^\]]+?)\s*\]{1,2}", line)
        if header:
            current = header.group(1)
            seen += current == table
            if current == table and max(seen, 0) == index:
                table_line = number
        elif re.match(rf"\s*{re.escape(key or table)}\s*=", line):
            inside = current == table and max(seen, 0) == index
            if (key and inside) or (key is None and current == ""):
                return number
    return table_line


def called(location: Location, values: Mapping[str, Any]) -> str:
    """Return what a person calls a setting: a destination by its name, or counted from 1.

    Parameters
    ----------
    location
        Keys from the top, as pydantic gives them.
    values
        The whole file.
    """
    parts = [str(part) for part in location]
    if len(location) > 1 and isinstance(location[1], int):
        parts[1] = str(location[1] + 1)
        table = values[parts[0]][location[1]]
        name = table.get("name") if isinstance(table, dict) else None
        if isinstance(name, str) and re.fullmatch(NAME, name):
            parts[1] = name
    return ".".join(parts)


def explain(text: str, values: dict[str, Any], problem: dict[str, Any]) -> str:
    """Return "line N: what is wrong. What to do" for one of pydantic's problems."""
    location = _without_tag(tuple(problem["loc"]))
    if problem["type"] in ("union_tag_not_found", "union_tag_invalid"):
        location = (*location, "kind")
    name = called(location, values)
    line = line_of(text, location)
    where = f"line {line}: " if line else ""
    if problem["type"] == "extra_forbidden":
        return f"{where}{name} is not a setting. {_did_you_mean(tuple(problem['loc']))}"
    if problem["type"] == "union_tag_not_found":
        return f"{where or 'the file: '}{name} is missing: {_one_kind_of()}"
    if problem["type"] == "union_tag_invalid":
        return f"{where}{name}: {_one_kind_of(str(problem['input'].get('kind')))}"
    if problem["type"] == "missing" and location == ("box",):
        return (
            'the file: [box] with ae_title is missing. Add the two lines [box] and ae_title = "…"'
        )
    if problem["type"] == "missing":
        return f"{where or 'the file: '}{name} is missing. Add it; it has no default"
    return f"{where}{name}: {_words(location, problem)}{_given(problem)}"


def _words(location: Location, problem: dict[str, Any]) -> str:
    if problem["type"] != "value_error" and (
        len(location) == 1 or (isinstance(location[-1], int) and len(location) == 2)
    ):
        section = str(location[0])
        header = f"[[{section}]]" if section in _LISTS else f"[{section}]"
        return f"must be a table that begins with the line {header}"
    return in_plain_words(problem)


def in_plain_words(problem: dict[str, Any]) -> str:
    """Say what is wrong with a value; pydantic's own words speak of Python."""
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if problem["type"] == "string_pattern_mismatch":
        return _PATTERNS.get(problem["ctx"]["pattern"], "isn't written as it must be")
    said = _PLAIN_WORDS.get(problem["type"], "can't be used here")
    return said.format(**problem.get("ctx", {}))


_PATTERNS = {
    NAME: "must be 1 to 32 letters, digits, - or _",
    WEB: "must begin with http:// or https://",
    MINISIGN: "must be the second line of usb.pub: RW and 54 characters more",
}
_LISTS = ("destination", "cart")  # tables in double brackets, as many as you like
_PLAIN_WORDS = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "string_type": "must be text in quotation marks",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a number of finite size",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "path_type": "must be a path in quotation marks",
    "tuple_type": 'must be a list, as in ["results"]',
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}


def _given(problem: dict[str, Any]) -> str:
    given = problem["input"]
    # A whole table is no help; an address with "@" may hold a password.
    hidden = isinstance(given, dict | list | BaseModel) or "@" in str(given)
    return "" if hidden else f" (now {given!r})"


def _without_tag(location: Location) -> Location:
    """Drop the kind of destination that pydantic puts behind its index."""
    tagged = location[0] == "destination" and len(location) > 2
    return (*location[:2], *location[3:]) if tagged else location


def _one_kind_of(given: str = "") -> str:
    close = get_close_matches(given, KINDS, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    now = f" (now {given!r})" if given else ""
    return f"must be one of {', '.join(KINDS)}{now}.{guess}"


def _did_you_mean(location: Location) -> str:
    model: Any = Settings
    if location[0] == "destination" and len(location) > 2:
        model = KINDS[str(location[2])]
    elif location[0] == "cart" and len(location) > 1:
        model = Cart
    elif len(location) > 1:
        model = Settings.model_fields[str(location[0])].annotation
    known = list(model.model_fields)
    close = get_close_matches(str(location[-1]), known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Settings here: {', '.join(known)}"
