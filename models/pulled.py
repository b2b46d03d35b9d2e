"""What a directory of corrections holds and where each came from: one SQLite file beside the frames.

A correction is noted in one transaction, after its files are written: killed at any moment, it is
either all there or not yet. `frames.csv` and `index.parquet` are made from it.
"""

import hashlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from appliance.manifest import Manifest
from models.corrections import CorrectionsError, Row
from models.metrics import overlap
from models.pull_study import Taken

NAME = "pulled.sqlite"
HELD_OUT = 0.2  # of the patients judge, and teach nothing
_OLD = "pulled.txt"  # of earlier releases: what they fetched is fetched again
_OF_STUDY = (
    *("scanner", "model_sha256", "sop_hash", "patient", "reviewer_role", "parent", "source"),
)
_OF_FRAME = (
    *("view", "phase", "frame", "rows", "cols", "spacing_mm", "source_rows", "source_cols"),
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS study (
    study TEXT PRIMARY KEY, date TEXT, site TEXT, scanner TEXT, model TEXT, model_sha256 TEXT,
    sop_hash TEXT, decision INTEGER, patient TEXT, reviewer_role TEXT, parent TEXT, source TEXT);
CREATE INDEX IF NOT EXISTS study_loop ON study (sop_hash, decision);
CREATE TABLE IF NOT EXISTS frame (
    id INTEGER PRIMARY KEY, study TEXT REFERENCES study, view TEXT, phase TEXT, frame INTEGER,
    rows INTEGER, cols INTEGER, spacing_mm TEXT, source_rows INTEGER, source_cols INTEGER,
    image_sha256 TEXT, mask_sha256 TEXT);
CREATE INDEX IF NOT EXISTS frame_content ON frame (image_sha256, mask_sha256);
CREATE TABLE IF NOT EXISTS moved (
    frame_id INTEGER REFERENCES frame, structure TEXT, dice REAL, px REAL, mm REAL,
    before INTEGER, after INTEGER, PRIMARY KEY (frame_id, structure));
CREATE TABLE IF NOT EXISTS agreement (
    image_sha256 TEXT, one TEXT, other TEXT, structure TEXT, dice REAL,
    PRIMARY KEY (image_sha256, one, other, structure));
CREATE TABLE IF NOT EXISTS heart (patient TEXT PRIMARY KEY, heart TEXT, split TEXT);
DROP VIEW IF EXISTS drawing;
CREATE VIEW drawing AS
    WITH newest AS (SELECT sop_hash, max(decision) AS decision FROM study GROUP BY sop_hash),
    held AS (
        SELECT f.*, s.date, s.site, s.scanner, s.model, s.model_sha256, s.sop_hash, s.decision,
            s.patient, s.reviewer_role, s.parent, s.source, s.decision = n.decision AS holds,
            s.patient || '_' || f.view || '_' || f.phase AS stem
        FROM frame f JOIN study s USING (study) JOIN newest n USING (sop_hash)),
    ranked AS (
        SELECT *, row_number() OVER (
            PARTITION BY image_sha256, mask_sha256 ORDER BY holds DESC, study, frame) AS rank
        FROM held)
    SELECT r.*, heart, split, CASE WHEN NOT holds THEN 'superseded' WHEN rank > 1 THEN 'duplicate'
        ELSE 'taught' END AS state
    FROM ranked r JOIN heart USING (patient);
"""


class Pulled:
    """The record of a corrections directory.

    Parameters
    ----------
    folder
        It.

    Raises
    ------
    CorrectionsError
        When there are frames that no pull wrote, or the record can't be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, path = folder, folder / NAME
        foreign = (folder / "frames.csv").exists() and not (folder / _OLD).exists()
        if foreign and not path.exists():
            what = f"{folder} holds frames that no pull wrote"
            raise CorrectionsError("pull corrections", what, "Name another directory.")
        try:
            self.db = sqlite3.connect(path)
            self.db.row_factory = sqlite3.Row
            self.db.execute("PRAGMA journal_mode=WAL")
            self.db.execute("PRAGMA synchronous=FULL")
            self.db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            hint = "Move the directory away and pull again."
            raise CorrectionsError("pull corrections", f"{path} can't be used", hint) from error

    def close(self) -> None:
        """Close the record."""
        self.db.close()

    def is_empty(self) -> bool:
        """Tell whether nothing is noted yet."""
        return self.db.execute("SELECT 1 FROM study LIMIT 1").fetchone() is None

    def has(self, StudyInstanceUID: str) -> bool:
        """Tell whether a correction is noted."""
        found = self.db.execute("SELECT 1 FROM study WHERE study = ?", [StudyInstanceUID])
        return found.fetchone() is not None

    def note(self, StudyInstanceUID: str, taken: Taken) -> None:
        """Note a correction whose files are written."""
        row = taken.about
        study = {
            "study": StudyInstanceUID,
            **{key: getattr(taken, key) for key in ("date", "site", "model")},
            **{key: getattr(row, key) for key in _OF_STUDY},
            "decision": int(row.decision or 0),
        }
        with self.db:
            self._insert("study", study)
            for item in taken.frames:
                values = {key: getattr(item.row, key) for key in _OF_FRAME}
                hashes = {"image_sha256": item.image_sha256, "mask_sha256": item.mask_sha256}
                number = self._insert("frame", {"study": StudyInstanceUID, **values, **hashes})
                for found in item.moved:
                    self._insert("moved", {"frame_id": number, **found._asdict()})

    def settle(self, manifest: Manifest) -> None:
        """Say whose heart each picture is of, who judges, and how far reviewers agree.

        Two boxes call one patient by two names; a picture that both hold tells. A heart that has
        taught once never judges.
        """
        with self.db:
            self.db.execute("DELETE FROM heart")
            patients = [row[0] for row in self.db.execute("SELECT DISTINCT patient FROM study")]
            hearts = self._hearts(patients)
            split: dict[str, str] = {}
            for patient, heart in hearts.items():
                if split.get(heart) != "train":
                    split[heart] = split_of(patient)
            self.db.executemany(
                "INSERT INTO heart VALUES (?, ?, ?)",
                ((patient, heart, split[heart]) for patient, heart in hearts.items()),
            )
        self._agree(manifest)

    def rows(self) -> Iterator[Row]:
        """Yield what frames.csv says, in an order that doesn't depend on when what was pulled."""
        found = self.db.execute(
            "SELECT * FROM drawing WHERE state = 'taught' ORDER BY study, frame, phase"
        )
        names = [name for name in Row.__dataclass_fields__ if name != "split"]
        for line in found:
            values = {name: "" if line[name] is None else str(line[name]) for name in names}
            yield replace(Row(**values), split=line["split"])

    def _hearts(self, patients: list[str]) -> dict[str, str]:
        """Name the heart of each patient: the first of the names that share a picture."""
        heart = {patient: patient for patient in patients}

        def root(patient: str) -> str:
            while heart[patient] != patient:
                patient = heart[patient]
            return patient

        for one, other in self.db.execute(
            "SELECT DISTINCT a.patient, b.patient FROM"
            " (SELECT image_sha256, min(patient) AS patient FROM frame JOIN study USING (study)"
            "  GROUP BY image_sha256 HAVING count(DISTINCT patient) > 1) a"
            " JOIN frame f USING (image_sha256) JOIN study b USING (study)"
            " WHERE a.patient < b.patient"
        ):
            first, second = sorted((root(one), root(other)))
            heart[second] = first
        return {patient: root(patient) for patient in patients}

    def _agree(self, manifest: Manifest) -> None:
        """Dice between each two drawings of one picture that differ."""
        pairs = self.db.execute(
            "SELECT DISTINCT a.image_sha256, a.mask_sha256 AS one, b.mask_sha256 AS other,"
            " min(a.stem) AS stem, min(b.stem) AS other_stem FROM drawing a"
            " JOIN drawing b ON a.image_sha256 = b.image_sha256 AND a.mask_sha256 < b.mask_sha256"
            " LEFT JOIN agreement g ON g.image_sha256 = a.image_sha256"
            " AND g.one = a.mask_sha256 AND g.other = b.mask_sha256"
            " WHERE g.one IS NULL GROUP BY a.image_sha256, one, other"
        ).fetchall()
        with self.db:
            for pair in pairs:
                a, b = (self._mask(pair[key]) for key in ("stem", "other_stem"))
                if a.shape != b.shape:
                    continue
                for item in manifest.structures:
                    dice = round(overlap(a == item.label, b == item.label), 5)
                    values = [pair["image_sha256"], pair["one"], pair["other"], item.name, dice]
                    self.db.execute("INSERT INTO agreement VALUES (?, ?, ?, ?, ?)", values)

    def _mask(self, stem: str) -> npt.NDArray[np.uint8]:
        found = cv2.imread(str(self.folder / "masks" / f"{stem}.png"), cv2.IMREAD_GRAYSCALE)
        if found is None:
            what = f"{self.folder / 'masks' / stem}.png is missing or no image"
            hint = "Move the directory away and pull again."
            raise CorrectionsError("pull corrections", what, hint)
        return np.asarray(found, np.uint8)

    def _insert(self, table: str, values: dict[str, Any]) -> int:
        marks = ", ".join("?" * len(values))
        sql = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"
        return int(self.db.execute(sql, list(values.values())).lastrowid or 0)


def split_of(patient: str) -> str:
    """Return "train" or "validation": the same for a pseudonym in every directory."""
    number = int.from_bytes(hashlib.sha256(f"split {patient}".encode()).digest()[:8], "big")
    return "validation" if number / 2**64 < HELD_OUT else "train"
