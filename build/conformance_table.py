"""What the tables of the conformance statement have alike."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydicom.uid import UID

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
Row = Sequence[object]
# Than pydicom's dictionary.
_YOUNGER = {"1.2.840.10008.5.1.4.1.1.66.7": "Label Map Segmentation Storage"}


def table(heads: Row, rows: Iterable[Row]) -> str:
    """Return a table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def named(uid: object) -> tuple[str, str]:
    """Return a UID's name, and itself."""
    return _YOUNGER.get(str(uid), UID(str(uid)).name), str(uid)
