"""CAMUS and what is laid out like it: which frames there are, whose, and for what they may be used.

`open_dataset` takes CAMUS as its makers ship it (`database_nifti/patientXXXX/*.nii.gz`,
`database_split/subgroup_*.txt`), and a directory of `frames.csv`, `images/` and `masks/`, which
a corrections directory is too. Nothing is decoded until a frame's `load`, or `check`.

    python -m models.camus DIR      # look at every file, and say what is wrong with it
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ApplianceError
from models import corrections, makers
from models.corrections import CorrectionsError, Drawn, Row
from models.nifti import read_pair

SPLITS = makers.SPLITS
BETWEEN = makers.BETWEEN  # phase of a half-cycle sequence's frames other than ED and ES

# The test patients of the official split (Leclerc 2019; subgroup_testing.txt): never trained on,
# whatever a table or a split file says.
TEST_PATIENTS = frozenset(
    f"patient{number:04d}"
    for number in (
        *(27, 47, 51, 52, 187, 189, 191, 194, 197, 199, 201, 208, 213, 214, 215, 217, 218, 219),
        *(220, 221, 223, 224, 225, 226, 227, 228, 231, 234, 237, 238, 239, 240, 241, 242, 243),
        *(246, 248, 251, 252, 254, 258, 260, 261, 262, 263, 266, 269, 273, 275, 276),
    )
)

_OPEN = "open a data set"
_THREADS = 4  # decoding and hashing release the interpreter's lock


@dataclass(frozen=True)
class Frame:
    """A frame and its drawing, not yet read.

    Attributes
    ----------
    row
        Patient, view ("2CH", "4CH", "other"), phase ("ED", "ES", "between", a correction's own)
        and split.
    image, mask
        Files; those of a half-cycle sequence hold many frames.
    index
        Number in a half-cycle sequence, from 0; None for a file of one frame.
    """

    row: Row
    image: Path
    mask: Path
    index: int | None = None

    @property
    def patient(self) -> str:
        """Whose heart."""
        return self.row.patient

    @property
    def view(self) -> str:
        """Of the heart."""
        return self.row.view

    @property
    def phase(self) -> str:
        """Of the cycle."""
        return self.row.phase

    @property
    def split(self) -> str:
        """What it is for."""
        return self.row.split

    @property
    def stem(self) -> str:
        """Name that no other frame of the data set has."""
        return self.row.stem if self.index is None else f"{self.row.stem}{self.index:03d}"

    def load(self) -> Drawn:
        """Read image and mask, uint8 [rows, columns], apex up, with the spacing if known.

        Raises
        ------
        CorrectionsError
            At the first thing that is wrong with either file.
        """
        if self.image.suffix == ".webp":
            return corrections.load(self.image.parent.parent, self.row)
        images, masks, spacing = read_pair(self.image, self.mask, self.index or 0)
        place = self.index or 0
        return Drawn(self.row, images[place], masks[place], spacing)


@dataclass(frozen=True)
class Dataset:
    """Frames of a folder, split by patient.

    Attributes
    ----------
    folder
        What was opened.
    tables
        Files that say which frame is whose and for what.
    every
        All frames, half-cycle sequences too.
    """

    folder: Path
    tables: tuple[Path, ...]
    every: tuple[Frame, ...]

    def frames(self, split: str, *, between: bool = False) -> list[Frame]:
        """Return the frames of "train", "validation" or "test", in order of the names.

        Parameters
        ----------
        split
            No patient of one split is in another, and no test patient in "train".
        between
            With the frames between ED and ES of half-cycle sequences.
        """
        if split not in SPLITS:
            raise ValueError(f"no split {split}: {', '.join(SPLITS)}")
        return [
            frame
            for frame in self.every
            if frame.split == split and (between or frame.phase != BETWEEN)
        ]

    @property
    def patients(self) -> dict[str, int]:
        """Number of patients in each split."""
        return dict(Counter({frame.patient: frame.split for frame in self.every}.values()))


def open_dataset(folder: Path) -> Dataset:
    """Recognise the layout and list the frames; no image is read.

    Raises
    ------
    CorrectionsError
        When it is neither layout, a patient is in two splits or in none, an official test patient
        is not in "test", or a split file names a patient who isn't there.
    """
    nifti = folder if folder.name == makers.NIFTI else folder / makers.NIFTI
    if (folder / "frames.csv").is_file():
        dataset = _of_table(folder)
    elif nifti.is_dir():
        frames = tuple(Frame(*found) for found in makers.frames(nifti))
        dataset = Dataset(folder, makers.tables(nifti), frames)
    else:
        hint = f"Name the folder that holds {makers.NIFTI}/, or frames.csv, images/ and masks/."
        raise CorrectionsError(_OPEN, f"{folder} is no data set", hint)
    _refuse_mixed(dataset)
    return dataset


def check(
    dataset: Dataset,
    frames: Sequence[Frame] | None = None,
    on_file: Callable[[int, int], None] = lambda done, of: None,
) -> list[str]:
    """Read every file and return one line for each mistake: which file, what, and what to do.

    Parameters
    ----------
    dataset
        As opened.
    frames
        Only these; all if absent.
    on_file
        Told how many pairs of files are done, of how many.
    """
    wanted = list({frame.image: frame for frame in frames or dataset.every}.values())
    mistakes: list[str] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, mistake in enumerate(pool.map(_mistake, wanted), 1):
            mistakes += [mistake] if mistake else []
            on_file(done, len(wanted))
    return mistakes


def checked(folder: Path, on_file: Callable[[int, int], None] = lambda done, of: None) -> Dataset:
    """Open a data set that has no mistake: what training starts with.

    Raises
    ------
    CorrectionsError
        With the first mistake, and how many more there are.
    """
    dataset = open_dataset(folder)
    mistakes = check(dataset, on_file=on_file)
    if mistakes:
        more = f" ({len(mistakes) - 1} more: python -m models.camus {folder})" * bool(mistakes[1:])
        what, _, hint = mistakes[0].partition(". ")
        raise CorrectionsError(_OPEN, what, f"{hint}{more}")
    return dataset


def checksum(dataset: Dataset, frames: Iterable[Frame] | None = None) -> str:
    """Return one SHA-256 of what is used, for the lineage.

    Parameters
    ----------
    dataset
        As opened.
    frames
        What is used; ED and ES of training and validation if absent.

    Returns
    -------
    str
        Hash over the sorted lines "SHA-256, name" of the images, masks and tables. Where the
        folder lies doesn't matter.
    """
    if frames is None:
        frames = [*dataset.frames("train"), *dataset.frames("validation")]
    files = sorted({*dataset.tables, *(path for f in frames for path in (f.image, f.mask))})
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = pool.map(_file_hash, files)
        lines = sorted(f"{value}  {path.name}\n" for path, value in zip(files, hashes, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _of_table(folder: Path) -> Dataset:
    rows = corrections.rows(folder)
    doubles = [stem for stem, count in Counter(row.stem for row in rows).items() if count > 1]
    if doubles:
        hint = "Delete one of the lines."
        raise CorrectionsError(_OPEN, f"{folder / 'frames.csv'} has {doubles[0]} twice", hint)
    frames = [
        Frame(row, folder / "images" / f"{row.stem}.webp", folder / "masks" / f"{row.stem}.png")
        for row in rows
    ]
    return Dataset(folder, (folder / "frames.csv",), tuple(frames))


def _refuse_mixed(dataset: Dataset) -> None:
    """A patient is in one split alone, and the official test patients are in theirs."""
    split_of: dict[str, str] = {}
    tables = ", ".join(str(table) for table in dataset.tables)
    for frame in dataset.every:
        if frame.split not in SPLITS:
            hint = f"It is {', '.join(SPLITS[:-1])} or {SPLITS[-1]}."
            raise CorrectionsError(_OPEN, f"{tables}: {frame.stem} is in {frame.split!r}", hint)
        if split_of.setdefault(frame.patient, frame.split) != frame.split:
            both = f"{split_of[frame.patient]} and {frame.split}"
            hint = "Frames of one heart must not judge what others of it taught: choose one."
            raise CorrectionsError(_OPEN, f"{tables}: {frame.patient} is in {both}", hint)
        if frame.patient in TEST_PATIENTS and frame.split != "test":
            what = f"{tables}: {frame.patient}, a test patient of CAMUS, is in {frame.split}"
            raise CorrectionsError(_OPEN, what, "Take the official split.")


def _mistake(frame: Frame) -> str:
    try:
        frame.load()
    except CorrectionsError as error:
        return f"{error.subject}. {error.hint}"
    return ""


def _file_hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CorrectionsError(_OPEN, f"{path} can't be read", "Put it back.") from error


def main(arguments: Sequence[str]) -> int:
    """Check a data set; returns the exit status."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        dataset = open_dataset(Path(arguments[0]))
        mistakes = check(dataset)
    except ApplianceError as error:
        print(error, file=sys.stderr)
        return 1
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    if mistakes:
        return 1
    counts = ", ".join(f"{count} {split}" for split, count in dataset.patients.items())
    print(f"{len(dataset.every)} frames, patients: {counts}; sha256 {checksum(dataset)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
