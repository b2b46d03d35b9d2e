"""The page's files as they are sent: without comments and what blanks and lines part nothing."""

import re
from collections.abc import Callable, Iterator
from string import ascii_letters

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
# A line's end behind or before these means nothing.
_GOES_ON, _WENT_ON = ";{,([=?:&|", "}),.;?:&|"
_CONSTANT = re.compile(r"^const ([A-Z][A-Z0-9_]+)\b", re.MULTILINE)
_PRIVATE = re.compile(r"(?:^\s+|\bthis\.)(#[A-Za-z]\w*)", re.MULTILINE)
_NAME = re.compile(r"#?(?<![.\w#])[A-Za-z]\w*|(?<=\.)#\w+")
_CSS_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_CSS_BLANKS = re.compile(r"\s+")
_CSS_JOINT = re.compile(r"(?<=[{};,]) | (?=[{}])|^ | $|(?<=[\w-]:) |;(?= ?})")


def compact(text: str, *, script: bool) -> str:
    """Leave out comments, indentation, and blanks that part nothing.

    A third of what crosses a slow network. A script keeps the line ends that may end a statement;
    names that no other script can use become short.

    Parameters
    ----------
    text
        JavaScript or CSS.
    script
        Whether it is JavaScript.
    """
    if script:
        return "".join(_joined(text))
    return _CSS_JOINT.sub("", _CSS_BLANKS.sub(" ", _CSS_COMMENT.sub(" ", text)))


def _joined(text: str) -> Iterator[str]:
    """Give the pieces of a script, with a blank only between two that would else be one."""
    last, parted, ended = ";", False, False
    shorten = _shortened(text)
    for piece in _pieces(text):
        if piece == "\n":
            ended = True
            continue
        if _SPARE.fullmatch(piece):
            parted = True
            continue
        if ended and last[-1] not in _GOES_ON and piece[0] not in _WENT_ON:
            yield "\n"
        elif (parted or ended) and _would_join(last[-1], piece[0]):
            yield " "
        yield shorten(piece, last)
        last, parted, ended = piece, False, False
    yield "\n"


def _shortened(text: str) -> Callable[[str, str], str]:
    """Return what gives a piece its own names short: constants and private names of one script.

    No other script can use them. It takes the piece before, too: behind a dot stands another's.
    """
    names = {
        name: f"${letter}"
        for name, letter in zip(_CONSTANT.findall(text), ascii_letters, strict=False)
    }
    private = dict.fromkeys(_PRIVATE.findall(text))
    names |= {name: f"#{letter}" for name, letter in zip(private, ascii_letters, strict=False)}

    def shorten(piece: str, before: str) -> str:
        if piece[0] == "`":
            return _NAME.sub(lambda found: names.get(found.group(), found.group()), piece)
        return piece if before == "." and piece[0] != "#" else names.get(piece, piece)

    return shorten


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
            yield "\n" if "\n" in piece else " "
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
