"""A directory of drawn frames: `frames.csv`, `images/` and `masks/`, as CAMUS is packed.

`models.pull` writes one from an archive, `models.retrain` and `models.accuracy` read it. A
corrections directory has six columns more than CAMUS; a reader takes both.
"""

import csv
import hashlib
import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.errors import ApplianceError

Bytes = npt.NDArray[np.uint8]

LARGEST_LABEL = 3  # 0 background, 1 left ventricle, 2 myocardium, 3 left atrium
_TABLE = "frames.csv"
_READ = "read a directory of frames"


class CorrectionsError(ApplianceError):
    """A directory of frames can't be read or written as it is."""


@dataclass(frozen=True)
class Row:
    """One line of frames.csv; every value as text, "" when unknown.

    Attributes
    ----------
    patient, view, phase
        Together the name of the frame's files. CAMUS has ED and ES for `phase`; a correction
        has the frame's number and the beginning of its content's hash.
    split
        "train" or "validation".
    rows, cols
        Size of image and mask.
    spacing_mm
        Side of a pixel; pixels are square.
    sop_hash
        SHA-256 of the UID that stands for the original loop: the same in all its corrections.
    frame
        Number in the loop, from 0.
    model_sha256
        Of the network that the person corrected.
    reviewer_role
        What the person was, as far as the archive says.
    parent
        SOPInstanceUID of what was corrected: the model's SEG.
    source
        SOPInstanceUID of the corrected SEG.
    decision
        Counts the decisions about the loop: only frames of its newest one stay in the table.
    scanner
        Make and model of the ultrasound machine.
    """

    patient: str
    view: str
    phase: str
    split: str = "train"
    rows: str = ""
    cols: str = ""
    spacing_mm: str = ""
    source_rows: str = ""
    source_cols: str = ""
    sop_hash: str = ""
    frame: str = ""
    model_sha256: str = ""
    reviewer_role: str = ""
    parent: str = ""
    source: str = ""
    decision: str = ""
    scanner: str = ""

    @property
    def stem(self) -> str:
        """Name of the frame's files without their suffixes."""
        return f"{self.patient}_{self.view}_{self.phase}"


@dataclass(frozen=True)
class Drawn:
    """A frame and what was drawn on it: `image` grey and `mask` labels, uint8 of one shape.

    Attributes
    ----------
    spacing
        mm per pixel down the rows and across the columns; None when unknown.
    """

    row: Row
    image: Bytes
    mask: Bytes
    spacing: tuple[float, float] | None = None

    @property
    def aspect(self) -> float:
        """Height of a pixel over its width; 1.0 when unknown."""
        return self.spacing[0] / self.spacing[1] if self.spacing else 1.0


def rows(folder: Path) -> list[Row]:
    """Read frames.csv.

    Raises
    ------
    CorrectionsError
        When it is missing, or has no columns `patient`, `view` and `phase`.
    """
    path = folder / _TABLE
    try:
        with path.open(newline="", encoding="utf-8") as table:
            lines = list(csv.DictReader(table))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        hint = "Name the directory that holds frames.csv, images/ and masks/."
        raise CorrectionsError(_READ, f"{path} can't be read", hint) from error
    known = {field.name for field in fields(Row)}
    made = []
    for number, line in enumerate(lines, 2):
        values = {name: value or "" for name, value in line.items() if name in known}
        if not all(values.get(name) for name in ("patient", "view", "phase")):
            hint = "Mend the line, or delete it and run models.pull again."
            raise CorrectionsError(
                _READ, f"{path} line {number} lacks patient, view or phase", hint
            )
        made.append(Row(**values))
    return made


def read(folder: Path, split: str = "") -> Iterator[Drawn]:
    """Yield the frames of a directory, all or those of one split, in the table's order.

    Raises
    ------
    CorrectionsError
        At the first frame that `check` would name.
    """
    for row in rows(folder):
        if not split or row.split == split:
            yield load(folder, row)


def check(folder: Path) -> list[str]:
    """Return one line for each mistake, naming the file and what to do; [] when all is well."""
    mistakes = []
    for row in rows(folder):
        try:
            load(folder, row)
        except CorrectionsError as error:
            mistakes.append(f"{error.subject}. {error.hint}")
    return mistakes


def add(folder: Path, drawn: Iterable[Drawn]) -> int:
    """Add frames to a directory, which is made if need be; return how many were new.

    Notes
    -----
    Images and masks are whole under their names before the table names them, and the table is
    exchanged as a whole: cut short at any moment the directory stays readable. A frame that is
    there already, by its stem, is not written again: `content_phase` puts its content into it.
    What a later decision about the same loop replaces is taken out.
    """
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    have = rows(folder) if (folder / _TABLE).exists() else []
    table = {row.stem: row for row in have}
    for item in drawn:
        if item.row.stem in table:
            continue
        table[item.row.stem] = item.row
        put(folder, item)
    kept = _newest(list(table.values()))
    if kept != have or not have:
        write_table(folder, kept)
    for stem in set(table) - {row.stem for row in kept}:
        (folder / "images" / f"{stem}.webp").unlink(missing_ok=True)
        (folder / "masks" / f"{stem}.png").unlink(missing_ok=True)
    return len({row.stem for row in kept} - {row.stem for row in have})


def put(folder: Path, item: Drawn, by_way_of: Path | None = None) -> None:
    """Write a frame's image and mask, each whole or not there; no table names them yet.

    Parameters
    ----------
    folder, item
        Where, and what.
    by_way_of
        Folder of the same file system for what isn't whole yet; their own if absent.
    """
    image, mask = f"{item.row.stem}.webp", f"{item.row.stem}.png"
    write_whole(folder / "images" / image, _webp(item.image), by_way_of)
    write_whole(folder / "masks" / mask, png(item.mask), by_way_of)


def write_table(folder: Path, lines: Iterable[Row]) -> None:
    """Write frames.csv, as a whole: whoever reads meanwhile sees the one before."""
    partial = folder / f".{_TABLE}.partial"
    with partial.open("w", newline="", encoding="utf-8") as stream:
        names = [column.name for column in fields(Row)]
        writer: csv.DictWriter[Any] = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(asdict(row) for row in lines)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(folder / _TABLE)


def png(mask: Bytes) -> bytes:
    """Return a label map as a PNG file."""
    import cv2

    return bytes(cv2.imencode(".png", mask)[1])


def content_phase(frame: int, image: Bytes, mask: Bytes) -> str:
    """Return the `phase` of a correction: the same picture and drawing have the same one."""
    digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes() + mask.tobytes())
    return f"{frame:04d}-{digest.hexdigest()[:12]}"


def write_whole(path: Path, data: bytes, by_way_of: Path | None = None) -> None:
    """Write a file so that it is whole under its name, or not there (or as it was).

    Several may write the same file at a time where each has a folder of its own for `by_way_of`.
    """
    partial = (by_way_of or path.parent) / f".{path.name}.partial"
    with partial.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)


def load(folder: Path, row: Row) -> Drawn:
    """Read one frame.

    Raises
    ------
    CorrectionsError
        When a file is missing or no image, sizes differ, or there is a label that isn't one.
    """
    image_path = folder / "images" / f"{row.stem}.webp"
    mask_path = folder / "masks" / f"{row.stem}.png"
    image, mask = _picture(image_path), _picture(mask_path)
    if image.shape != mask.shape:
        what = f"{mask_path} is {_size(mask)}, its image {_size(image)}"
        raise CorrectionsError(_READ, what, f"Delete its line in {_TABLE} and pull it again.")
    if mask.max(initial=0) > LARGEST_LABEL:
        what = f"{mask_path} holds the label {mask.max()}"
        hint = f"Labels are 0 to {LARGEST_LABEL}: draw it again, or delete its line in {_TABLE}."
        raise CorrectionsError(_READ, what, hint)
    spacing = _spacing(folder, row)
    return Drawn(row, image, mask, spacing)


def _spacing(folder: Path, row: Row) -> tuple[float, float] | None:
    if not row.spacing_mm:
        return None
    try:
        side = float(row.spacing_mm)
    except ValueError:
        side = math.nan
    if not 0 < side < math.inf:
        what = f"{folder / _TABLE} says spacing_mm {row.spacing_mm!r} for {row.stem}"
        raise CorrectionsError(
            _READ, what, "It is millimetres per pixel; leave it empty if unknown."
        )
    return side, side


def _newest(table: Sequence[Row]) -> list[Row]:
    """Leave out what a later decision about the same loop replaces."""
    newest: dict[str, int] = {}
    for row in table:
        newest[row.sop_hash] = max(newest.get(row.sop_hash, 0), int(row.decision or 0))
    return [row for row in table if int(row.decision or 0) == newest[row.sop_hash]]


def _picture(path: Path) -> Bytes:
    import cv2

    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        hint = f"Put it back, or delete its line in {_TABLE}."
        raise CorrectionsError(_READ, f"{path} is missing or can't be read", hint) from error
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if data.size else None
    except cv2.error:  # some damage makes it raise, some makes it return nothing
        picture = None
    if picture is None:
        hint = f"Delete it and its line in {_TABLE}, and pull it again."
        raise CorrectionsError(_READ, f"{path} is not an image", hint)
    return np.asarray(picture, np.uint8)


def _webp(image: Bytes) -> bytes:
    """Lossless WebP; Pillow's quickest way takes a third of the only one that OpenCV has."""
    try:
        from PIL import Image
    except ImportError:
        import cv2

        lossless = 101  # a "quality" over 100, as OpenCV has it
        return bytes(cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, lossless])[1])
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", lossless=True, method=0, quality=0)
    return stream.getvalue()


def _size(picture: Bytes) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
