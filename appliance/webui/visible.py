"""Names and IDs as a machine sent them, with what no eye can see of them made visible."""

import re

# Controls, and what hides or turns other letters (Unicode 15, general categories Cc and Cf);
# not the joiners, which Persian and Indian names are written with.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def visible(text: str) -> str:
    r"""Return a text in which nothing hides, and nothing turns the letters around.

    Examples
    --------
    >>> visible("DOE\u202e, JANE")
    'DOE⟨U+202E⟩, JANE'
    """
    return _UNSEEN.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text)
