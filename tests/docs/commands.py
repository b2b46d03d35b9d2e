"""Commands that the pages name, as a shell would see them."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.box import REPOSITORY

PAGES = sorted({*(REPOSITORY / "docs").rglob("*.md"), REPOSITORY / "README.md"})
_FENCE = re.compile(r"^\s*```(\w*)")
_SPAN = re.compile(r"`([^`]+)`")
_BEFORE = ("sudo", "$", "export", "time")
_ENDS = {"|", "||", "&&", ";", ">", ">>", "<", "&"}
RUN = "<!-- run -->"


@dataclass(frozen=True)
class Named:
    """A command in a page."""

    page: Path
    line: int
    words: tuple[str, ...]

    def __str__(self) -> str:
        place = self.page.relative_to(REPOSITORY)
        return f"{place}:{self.line}: {' '.join(self.words)}"


def named(program: str) -> list[Named]:
    """Return every use of a program in a block or between backticks."""
    return [item for page in PAGES for item in _of_page(page, program)]


def _of_page(page: Path, program: str) -> Iterator[Named]:
    inside, language = False, ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if fence := _FENCE.match(line):
            inside, language = not inside, fence[1]
            continue
        if inside and language not in ("", "sh", "console", "shell"):
            continue
        for text in [line] if inside else _SPAN.findall(line):
            for words in commands(text):
                if words[0] == program:
                    yield Named(page, number, tuple(words))


def commands(text: str) -> Iterator[list[str]]:
    """Split a line of shell into its commands, without what stands before them."""
    try:
        lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split, lexer.commenters = True, "#"
        tokens = list(lexer)
    except ValueError:  # a quote that prose leaves open
        return
    words: list[str] = []
    for token in [*tokens, ";"]:
        if token in _ENDS:
            if words:
                yield words
            words = []
        elif words or not (token in _BEFORE or "=" in token):
            words.append(token)


def marked_blocks(page: Path) -> list[str]:
    """Return the shell blocks of a page that are marked to be run, in order."""
    text = page.read_text()
    found = re.findall(rf"^( *){RUN}\n *```sh\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    assert len(found) == text.count(RUN), "a mark stands before no shell block"
    return [textwrap.dedent(block) for _indent, block in found]
