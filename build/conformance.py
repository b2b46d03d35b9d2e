"""The tables of docs/conformance.md, from the code that does what they say.

    python build/conformance.py            renews them between their markers
    python build/conformance.py --check    says whether they are those of the source

`make conformance` is the first of them.
"""

import re
import sys

# First: it makes the repository's packages known.
from conformance_table import ROOT  # isort: skip
import conformance_associations
import conformance_objects

PAGE = ROOT / "docs" / "conformance.md"
TABLES = {**conformance_associations.TABLES, **conformance_objects.TABLES}
_MARKED = re.compile(r"<!-- table: ([a-z-]+) -->\n(?:.*?\n)??<!-- end -->", re.DOTALL)


def renewed(page: str) -> str:
    """Return the page with every table as the code has it by now.

    Raises
    ------
    LookupError
        When a marker names no table, or a table has no marker.
    """
    names = _MARKED.findall(page)
    if sorted(names) != sorted(TABLES):
        raise LookupError(f"markers and tables differ: {sorted(set(names) ^ set(TABLES))}")

    def filled(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- table: {name} -->\n\n{TABLES[name]()}\n\n<!-- end -->"

    return _MARKED.sub(filled, page)


def main() -> int:
    """Renew the tables, or say that they are old."""
    page = PAGE.read_text()
    new = renewed(page)
    if "--check" in sys.argv:
        if page != new:
            sys.stderr.write("docs/conformance.md: not of this source; run `make conformance`\n")
        return int(page != new)
    if page != new:
        PAGE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
