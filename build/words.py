"""Templates of translation, from the source: every text that the page can show.

    python build/words.py            renews appliance/webui/locale/*.pot, compiles each LANG/*.po
    python build/words.py --check    says whether the templates are those of the source

Translate: `pybabel init -D echocart -i appliance/webui/locale/echocart.pot -d appliance/webui/locale
-l LANG`, the same for `echocart-js`; fill in both files; run this again.
"""

import ast
import json
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_file
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
APPLIANCE = ROOT / "appliance"
WEBUI = APPLIANCE / "webui"
LOCALE = WEBUI / "locale"
KEYWORDS = {"_": None, "N_": None, "n_": (1, 2)}
SCRIPT_KEYWORDS = {"t": None, "n": (1, 2)}
# Whose sentences the page shows as they come: reasons, refusals, problems of destinations.
ELSEWHERE = (
    *("cine/refusal.py", "cine/loop.py", "sector/calibration.py", "sector/fan.py"),
    *("measures/planes.py", "measures/summary.py", "views.py"),
    *("engine/admission.py", "engine/quality.py", "engine/view.py", "engine/worker.py"),
    *("ledger/analysis.py", "ledger/engine_state.py", "ledger/expert.py", "ledger/identity.py"),
    *("ledger/person.py", "ledger/review.py", "ledger/skew.py", "ledger/user.py"),
    *(
        "ledger/view.py",
        "kept_back.py",
        "pace.py",
        "pins.py",
        "scrub.py",
        "scu.py",
        "spool.py",
    ),
    *(
        "sync/archive.py",
        "sync/http_server.py",
        "sync/courier.py",
        "sync/folder.py",
        "sync/originals.py",
    ),
    *("sync/pacs.py", "sync/commands.py", "preflight.py", "preflight_dicom.py"),
)
_AUDITED = 2  # what was done: the third argument of these
_RECORDERS = ("audit.record", "audit.note", "sessions.end")
_CHANGING = (b'"POT-Creation', b'"PO-Revision', b'"Generated-By', b'"Last-Tr', b'"Report-')
_ERRORS = ("Error", "Stale", "Conflict", "Unreachable")  # their first argument: the operation
_UNSAID = ("SELECT ", "INSERT ", "UPDATE ", "DELETE ", "FROM ", " = ?", "(state IN", "\\", "(?:")


def page_catalogue() -> Catalog:
    """Return every text of templates, of the page's modules, and of those they are told by."""
    catalogue = _empty()
    for path in sorted(WEBUI.glob("*.py")):
        _extract(catalogue, path, "python", KEYWORDS)
    for path in sorted(WEBUI.glob("templates/*.html")):
        _extract(catalogue, path, "jinja2", KEYWORDS)
    for name in ELSEWHERE:
        path = APPLIANCE / name
        for text in sorted(set(sentences(path.read_text()))):
            catalogue.add(text, locations=[_place(path)])
    for path in sorted(APPLIANCE.rglob("*.py")):
        for text in sorted(set(audited(path.read_text()))):
            catalogue.add(text, locations=[_place(path)])
    for path in sorted(ROOT.glob("models/released/*/manifest.json")):
        for item in json.loads(path.read_text())["structures"]:
            for name in (item["name"], item["name"].lower()):
                catalogue.add(name, locations=[("models/released", 0)])
    return catalogue


def script_catalogue() -> Catalog:
    """Return every text of the page's scripts."""
    catalogue = _empty()
    for path in sorted(WEBUI.glob("static/*.js")):
        _extract(catalogue, path, "javascript", SCRIPT_KEYWORDS)
    return catalogue


def _empty() -> Catalog:
    # No date and no version: the file changes when a text does.
    made = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return Catalog(
        project="Echocart",
        version="page",
        header_comment="# Every text of Echocart's page. Made by `make words`: write into a LANG/*.po.",
        creation_date=made,
        charset="utf-8",
        fuzzy=False,
    )


def _extract(catalogue: Catalog, path: Path, method: str, keywords: dict) -> None:
    for _line, message, _comments, _context in extract_from_file(
        method, path, keywords, options={"parse_template_string": True}
    ):
        catalogue.add(message, locations=[_place(path)])


def _place(path: Path) -> tuple[str, int]:
    return (path.relative_to(ROOT).as_posix(), 0)


def sentences(source: str) -> Iterator[str]:
    """Give what a module says to people: its texts of several words, with places as {0}, {1}.

    Docstrings, what goes to the log, SQL, and what an error calls its own operation are left out.
    """
    tree = ast.parse(source)
    skipped = set(_unsaid(tree))
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            text = _with_places(node)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        else:
            continue
        words = text.strip()
        if " " in words and _is_said(words):
            yield words


def _is_said(text: str) -> bool:
    return any(map(str.isalpha, text)) and not any(part in text for part in _UNSAID)


def audited(source: str) -> Iterator[str]:
    """Give what a module writes into the audit as done."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in _RECORDERS:
            what = node.args[_AUDITED] if len(node.args) > _AUDITED else None
            if isinstance(what, ast.Constant) and isinstance(what.value, str):
                yield what.value


def _unsaid(tree: ast.Module) -> Iterator[int]:
    operations: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield from map(id, node.values)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name.startswith("log."):
                yield from map(id, ast.walk(node))
            if name.endswith(_ERRORS) and node.args:
                operation = node.args[0]
                yield id(operation)
                operations.add(ast.unparse(operation))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in operations:
            yield id(node.value)


def _with_places(node: ast.JoinedStr) -> str:
    text, count = "", 0
    for value in node.values:
        if isinstance(value, ast.Constant):
            text += str(value.value)
        else:
            text += f"{{{count}}}"
            count += 1
    return text


def written(catalogue: Catalog) -> bytes:
    """Return a catalogue as a file: sorted, without line numbers and dates."""
    file = BytesIO()
    write_po(file, catalogue, sort_output=True, include_lineno=False, width=100)
    lines = file.getvalue().splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(_CHANGING))


def compiled(translated: Path) -> bytes:
    """Return a translator's file as gettext reads it."""
    file = BytesIO()
    with translated.open("rb") as given:
        write_mo(file, read_po(given))
    return file.getvalue()


def main() -> int:
    """Renew the templates and compile what is translated, or say what is old."""
    files = {"echocart.pot": page_catalogue(), "echocart-js.pot": script_catalogue()}
    old = [
        name
        for name, catalogue in files.items()
        if not (LOCALE / name).exists() or (LOCALE / name).read_bytes() != written(catalogue)
    ]
    if "--check" in sys.argv:
        if old:
            sys.stderr.write(f"{', '.join(old)}: not of this source; run `make words`\n")
        return 1 if old else 0
    for name in old:
        (LOCALE / name).write_bytes(written(files[name]))
    for path in LOCALE.glob("*/LC_MESSAGES/*.po"):
        path.with_suffix(".mo").write_bytes(compiled(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
