"""The support file: how a box stands, without anything that tells of a patient.

Made from an allow-list. Objects are named by hashes of their UIDs; of log lines only the words
that this program itself uses are kept.
"""

import hashlib
import io
import json
import re
import sqlite3
import tarfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from appliance import __version__, deliveries
from appliance.doctor.probe import Asked, Finding, NotNow, output
from appliance.ledger import Ledger, engine_state
from appliance.spool import write_durably
from appliance.supervisor import SERVICES

_SOURCES = Path(__file__).resolve().parents[1]
_WORD = re.compile(r"[^\W\d_]+|\d+|_+|[^\w]", re.ASCII)
_UID = re.compile(r"\d+(?:\.\d+){3,}")
_LONGEST_NUMBER = 3  # status codes, counts, lines; a patient's number or birth date is longer
_HIDDEN = "#"
_LINES = "4000"
_HASH = 16  # hexadecimal digits: no two objects of a box share them
# Columns that tell of machines and of this program's work, none of what a machine wrote of a
# patient, an exam or its time.
_INSTANCES = (
    "SELECT seq, sop_instance_uid, study_instance_uid, sop_class_uid, transfer_syntax_uid, size,"
    " number_of_frames, rows, columns, state, received_at, purged_at != '' AS purged"
    " FROM instance ORDER BY seq DESC LIMIT 2000"
)
_PATIENTS = "SELECT DISTINCT patient_id, patient_name, patient_birth_date FROM instance"
_TABLES = {
    "analyses": "SELECT seq, frames, model_name, model_version, engine, precision, state, timings"
    " FROM analysis ORDER BY id DESC LIMIT 500",
    "reviews": "SELECT seq, analysis_id, decision, at FROM review ORDER BY id DESC LIMIT 2000",
    "outbox": "SELECT seq, kind, state, tries, queued_at, changed_at FROM outbox"
    " WHERE state NOT IN ('proven', 'withdrawn') ORDER BY id DESC LIMIT 2000",
    "migrations": "SELECT name, applied_at FROM _sqlite_migrations",
}


def write(path: Path, asked: Asked, findings: Sequence[Finding], logs: Sequence[Path] = ()) -> None:
    """Write the support file, a tar archive packed by gzip.

    Parameters
    ----------
    path
        Where; replaced if it is there.
    asked
        The box, in whatever state.
    findings
        Of `diagnose`.
    logs
        Files with log lines, beside what the journal holds.

    Raises
    ------
    OSError
        When it can't be written.
    """
    mask = Mask(_identifying(asked))
    parts = {
        "findings.json": _json([mask.plain(asdict(finding)) for finding in findings]),
        "versions.json": _json(_versions()),
        "log.txt": "\n".join(map(mask, _lines(logs))).encode(),
    }
    try:
        parts["box.json"] = _json(_box(asked, mask))
    except (NotNow, sqlite3.Error) as why:
        parts["box.json"] = _json({"unknown": mask(str(why))})
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in parts.items():
            item = tarfile.TarInfo(f"echocart-support/{name}")
            item.size, item.mtime, item.mode = len(content), int(time.time()), 0o600
            archive.addfile(item, io.BytesIO(content))
    write_durably(path, packed.getvalue())
    path.chmod(0o600)


def hashed(uid: str) -> str:
    """Return what stands for a UID: whoever has the UID can tell that it is meant."""
    return hashlib.sha256(uid.encode()).hexdigest()[:_HASH] if uid else ""


def _box(asked: Asked, mask: "Mask") -> dict[str, Any]:
    ledger, settings = asked.ledger, asked.settings
    rows = ledger.read(_INSTANCES)
    for row in rows:
        for name in ("sop_instance_uid", "study_instance_uid"):
            row[name] = hashed(row[name])
    waiting = deliveries.account(settings, ledger)
    for row in waiting:
        # What a destination answered may repeat what it was sent.
        row["problems"], row["resting"] = mask.plain(row["problems"]), mask.plain(row["resting"])
        row["paused"] = bool(row["paused"])
    return {
        "instances": rows,
        "deliveries": waiting,
        "engine": engine_state.get(ledger),
        "settings": _settings(asked),
        "counts": _counts(ledger),
        **{name: ledger.read(sql) for name, sql in _TABLES.items()},
    }


def _settings(asked: Asked) -> dict[str, Any]:
    """Numbers, switches and choices; names, addresses and paths of the site stay out."""
    told = asked.settings.model_dump(mode="json")
    sections = {name: value for name, value in told.items() if isinstance(value, dict)}
    return {
        name: {
            key: value for key, value in section.items() if isinstance(value, (bool, int, float))
        }
        for name, section in sections.items()
    }


def _counts(ledger: Ledger) -> dict[str, int]:
    names = ledger.read("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return {
        row["name"]: ledger.read(f'SELECT count(*) AS n FROM "{row["name"]}"')[0]["n"]
        for row in names
    }


def _versions() -> dict[str, str]:
    told = {item.metadata["Name"]: item.version for item in distributions()}
    return {"echocart": __version__, **dict(sorted(told.items()))}


def _lines(logs: Iterable[Path]) -> Iterable[str]:
    units = [word for name in SERVICES for word in ("-u", f"echocart-{name}")]
    told = output("journalctl", "-q", "--no-pager", "-n", _LINES, "-o", "short-iso", *units)
    yield from (told or "").splitlines()
    for path in logs:
        yield from path.read_text(errors="replace").splitlines()[-int(_LINES) :]


class Mask:
    """Hides every word but those of this program's own sentences, and those too that name a patient.

    Parameters
    ----------
    identifying
        What the ledger knows of patients: their words stay hidden, whoever else uses them.
    """

    def __init__(self, identifying: Iterable[str] = ()) -> None:
        self._names = {part.lower() for text in identifying for part in _WORD.findall(text)}

    def __call__(self, line: str) -> str:
        """Return a line with UIDs as hashes and unknown words hidden."""
        hidden = _UID.sub(lambda found: f"uid:{hashed(found[0])}", line)
        shown = "".join(
            part if part.startswith("uid:") else self._words(part)
            for part in re.split(rf"(uid:[0-9a-f]{{{_HASH}}})", hidden)
        )
        return re.sub(rf"{_HIDDEN}[{_HIDDEN} ]*{_HIDDEN}", _HIDDEN, shown)

    def plain(self, value: Any) -> Any:
        """Return a JSON-ready value with every text in it masked."""
        if isinstance(value, dict):
            return {self(str(key)): self.plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.plain(item) for item in value]
        if isinstance(value, (int, float)) or value is None:
            return value
        return self(str(value))

    def _words(self, text: str) -> str:
        return "".join(map(self._shown, _WORD.findall(text)))

    def _shown(self, word: str) -> str:
        if not word.isalnum():
            return word if word.isascii() else _HIDDEN
        if word.lower() in self._names:
            return _HIDDEN
        known = len(word) <= _LONGEST_NUMBER if word.isdigit() else word.lower() in _vocabulary()
        return word if known else _HIDDEN


def _identifying(asked: Asked) -> list[str]:
    try:
        rows = asked.ledger.read(_PATIENTS)
    except (NotNow, sqlite3.Error):
        return []
    return [str(value) for row in rows for value in row.values()]


@cache
def _vocabulary() -> frozenset[str]:
    """Every word of this program's source."""
    words = {"a", "s", "t"}  # as in "isn't"
    for path in _SOURCES.rglob("*.py"):
        words |= set(re.findall(r"[a-z]{2,}", path.read_text(encoding="utf-8").lower()))
    return frozenset(words)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()
