"""The page's files as they are sent: without comments and indentation, line for line the same."""

import re

_BLOCK = re.compile(r"^[ \t]*/\*.*?\*/[ \t]*$", re.DOTALL | re.MULTILINE)
_LINE = re.compile(r"^[ \t]*//.*$", re.MULTILINE)
# Behind code: what has a quote after it may lie in a string, and stays.
_BEHIND = re.compile(r"(?<=[;{},)\]]) +// [^'`\"\n]*$", re.MULTILINE)
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)


def compact(text: str, *, script: bool) -> str:
    """Leave out comments and indentation.

    A third of what crosses a slow network. A line keeps its number, so that an error in the
    browser still names the right one. A template literal over several lines must not rely on its
    indentation.

    Parameters
    ----------
    text
        JavaScript or CSS.
    script
        Whether it is JavaScript, which has comments of one line too.
    """
    text = _BLOCK.sub(lambda found: "\n" * found.group().count("\n"), text)
    if script:
        text = _BEHIND.sub("", _LINE.sub("", text))
    return _INDENT.sub("", text)
