"""The page's files as they are sent: without comments and spare blanks, line for line the same."""

import re
from collections.abc import Iterator

_SPARE = re.compile(r"[ \t]+")
_WORD = re.compile(r"[\w$#]")
_PIECE = re.compile(
    r"(?P<comment>/\*.*?\*/|//[^\n]*)"
    r"|(?P<text>'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")"
    r"|(?P<template>`)"
    r"|(?P<blank>[ \t]+)"
    r"|(?P<code>[\w$#]+|.)",
    re.DOTALL,
)
# Where a slash begins a pattern, not a division: after nothing that has a value.
_PATTERN = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\[\n])+/\w*")
_BEFORE_PATTERN = re.compile(r"(?:^|[(,=:\[!&|?{};>+\n]|\breturn)\Z")
_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_CSS_JOINT = re.compile(r"(?<=[{};,])[ \t]+|[ \t]+(?=[{}])|^[ \t]+|(?<=[\w-]:)[ \t]+", re.M)


def compact(text: str, *, script: bool) -> str:
    """Leave out comments, indentation, and blanks that part nothing.

    A third of what crosses a slow network. A line keeps its number, so that an error in the
    browser still names the right one.

    Parameters
    ----------
    text
        JavaScript or CSS.
    script
        Whether it is JavaScript.
    """
    if script:
        return "".join(_joined(text))
    return _CSS_JOINT.sub("", _CSS_COMMENT.sub(_lines, text))


def _lines(comment: re.Match[str]) -> str:
    return "\n" * comment.group().count("\n")


def _joined(text: str) -> Iterator[str]:
    """Give the pieces of a script, with a blank only between two that would else be one."""
    last, parted = "", False
    for piece in _pieces(text):
        if _SPARE.fullmatch(piece):
            parted = True
            continue
        if parted and last and _would_join(last[-1], piece[0]):
            yield " "
        yield piece
        last, parted = piece, False


def _would_join(left: str, right: str) -> bool:
    if left in "+-" and right in "+-":
        return True
    return bool(_WORD.match(left) and _WORD.match(right))


def _pieces(text: str) -> Iterator[str]:
    """Give comments as their line ends; strings, templates and patterns whole; the rest by words."""
    at, before = 0, ""
    while at < len(text):
        found = _PIECE.match(text, at)
        assert found is not None  # its last alternative takes any character
        piece = found.group()
        if found.lastgroup == "comment":
            yield "\n" * piece.count("\n") or " "
            at = found.end()
            continue
        if found.lastgroup == "template":
            piece = text[at : _end_of_template(text, at + 1)]
        elif piece == "/" and _BEFORE_PATTERN.search(before):
            pattern = _PATTERN.match(text, at)
            piece = pattern.group() if pattern else piece
        yield piece
        at += len(piece)
        if found.lastgroup != "blank":
            before = (before + piece)[-len("return ") :]


def _end_of_template(text: str, at: int) -> int:
    """Return where a template literal ends whose inside begins at a place."""
    while text[at] != "`":
        if text[at] == "\\":
            at += 2
        elif text.startswith("${", at):
            at = _end_of_braces(text, at + 2)
        else:
            at += 1
    return at + 1


def _end_of_braces(text: str, at: int) -> int:
    depth = 1
    while depth:
        found = _PIECE.match(text, at)
        assert found is not None
        if found.lastgroup == "template":
            at = _end_of_template(text, at + 1)
            continue
        depth += {"{": 1, "}": -1}.get(found.group(), 0)
        at = found.end()
    return at
