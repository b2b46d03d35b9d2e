"""CAMUS as its makers ship it: one folder a patient, NIfTI, text files for cycle and split."""

from collections.abc import Iterator
from pathlib import Path

from models.corrections import CorrectionsError, Row

NIFTI = "database_nifti"
VIEWS = ("2CH", "4CH")
PHASES = ("ED", "ES")
BETWEEN = "between"  # phase of a half-cycle sequence's frames other than ED and ES
SPLITS = ("train", "validation", "test")

Found = tuple[Row, Path, Path, int | None]

_OPEN = "open a data set"
_SPLIT = "database_split"
_SPLIT_FILES = ("subgroup_training.txt", "subgroup_validation.txt", "subgroup_testing.txt")
_AS_SHIPPED = "Take the split files as the makers ship them."


def tables(nifti: Path) -> tuple[Path, ...]:
    """Return the split files of training, validation and test, beside `database_nifti`."""
    return tuple(nifti.parent / _SPLIT / name for name in _SPLIT_FILES)


def frames(nifti: Path) -> Iterator[Found]:
    """Yield row, image, mask, and the number in a half-cycle sequence, from 0, if it is of one.

    Raises
    ------
    CorrectionsError
        When a split file can't be read or names a patient who isn't there or is in another too,
        a patient is in none, or an Info file doesn't say where ED and ES are.
    """
    split_of = _splits(nifti)
    for patient in sorted(split_of):
        yield from _of_patient(nifti / patient, split_of[patient])


def _splits(nifti: Path) -> dict[str, str]:
    """Patient to split; every patient in exactly one."""
    here = {path.name for path in nifti.glob("patient*") if path.is_dir()}
    split_of: dict[str, str] = {}
    for split, table in zip(SPLITS, tables(nifti), strict=True):
        for patient in _listed(table):
            if patient not in here:
                what = f"{table} names {patient}, who is not in {nifti}"
                hint = "Complete the download, or delete that line."
                raise CorrectionsError(_OPEN, what, hint)
            if split_of.setdefault(patient, split) != split:
                what = f"{table} names {patient}, who is in {split_of[patient]} too"
                raise CorrectionsError(_OPEN, what, _AS_SHIPPED)
    for patient in sorted(here - set(split_of)):
        what = f"{nifti / patient} is in none of {nifti.parent / _SPLIT}/subgroup_*.txt"
        raise CorrectionsError(_OPEN, what, _AS_SHIPPED)
    return split_of


def _listed(table: Path) -> list[str]:
    """Patients in a split file, one a line."""
    try:
        return table.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        hint = f"Put {_SPLIT}/ of the makers' download beside {NIFTI}/."
        raise CorrectionsError(_OPEN, f"{table} can't be read", hint) from error


def _of_patient(folder: Path, split: str) -> Iterator[Found]:
    patient = folder.name
    for view in VIEWS:
        for phase in PHASES:
            row = Row(patient, view, phase, split)
            yield (row, *_files(folder, f"{patient}_{view}_{phase}"), None)
        sequence = _files(folder, f"{patient}_{view}_half_sequence")
        if sequence[0].exists():
            row = Row(patient, view, BETWEEN, split)
            for index in _between(folder / f"Info_{view}.cfg"):
                yield (row, *sequence, index)


def _files(folder: Path, stem: str) -> tuple[Path, Path]:
    """Image and mask, packed as they are shipped, or unpacked."""
    suffix = ".nii" if (folder / f"{stem}.nii").exists() else ".nii.gz"
    return folder / f"{stem}{suffix}", folder / f"{stem}_gt{suffix}"


def _between(info: Path) -> list[int]:
    """Return the frames of a half cycle, from 0, without ED and ES, which have their own files."""
    try:
        lines = info.read_text(encoding="utf-8").splitlines()
        pairs = (line.partition(":") for line in lines)
        values = {name.strip(): value.strip() for name, _, value in pairs}
        diastole, systole, count = (int(values[name]) for name in ("ED", "ES", "NbFrame"))
    except (OSError, ValueError, KeyError) as error:
        hint = "Download it again from the makers of the data set."
        raise CorrectionsError(_OPEN, f"{info} has no ED, ES and NbFrame", hint) from error
    return [index for index in range(count) if index + 1 not in (diastole, systole)]
