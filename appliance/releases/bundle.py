"""A released model on its way: one tar file with the model, golden frames, and what its makers say.

What is signed is the tar; nothing of it is believed before the signature was, and little after:
names, sizes and every hash are looked at again.
"""

import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance import __version__
from appliance.errors import ManifestError
from appliance.manifest import Manifest, load_manifest
from appliance.releases.shadowing import Thresholds

VERSION_OR_NONE = r"^(\d+\.\d+\.\d+)?$"
ABOUT = "bundle.json"
GOLDEN = "golden"
FRAME, LABELS = ".frame.png", ".labels.png"  # of one golden frame, uint8 grey [rows, columns] each
SUFFIX = ".tar"
MOST_BYTES = 512_000_000  # of a bundle, unpacked
_MOST_FILES = 500
_TAKE = "take a model's bundle"
_AGAIN = "Fetch it again; if that doesn't help, tell those who published it."


class About(BaseModel):
    """What the makers say of a release."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle_version: Literal[1] = 1
    minimum_appliance: str = Field(
        pattern=r"^\d+\.\d+\.\d+$", description="oldest box that runs it"
    )
    published_at: str = Field(description="UTC, ISO 8601")
    gate: dict[str, Any] = Field(description="report of models.evaluate --gate")
    shadow: Thresholds = Field(default=Thresholds(), description="what it must reach in the shadow")
    floor: str = Field(
        default="", pattern=VERSION_OR_NONE, description="oldest version of its name to go back to"
    )


@dataclass(frozen=True)
class Bundle:
    """A bundle that was unpacked.

    Attributes
    ----------
    folder
        What it was unpacked into.
    manifest
        Of the model in it.
    about
        What its makers say.
    """

    folder: Path
    manifest: Manifest
    about: About

    def golden(self) -> Iterator[tuple[Path, Path]]:
        """Yield the files of each golden frame and of its expected label map."""
        for frame in sorted((self.folder / GOLDEN).glob(f"*{FRAME}")):
            yield frame, frame.with_name(frame.name.replace(FRAME, LABELS))


def unpacked(state_dir: Path, name: str) -> Path:
    """Return where a fetched bundle lies unpacked."""
    return state_dir / "updates" / name


def version(text: str) -> tuple[int, ...]:
    """Return a version's numbers, for comparison; what isn't a number counts as 0."""
    return tuple(int(part) if part.isdigit() else 0 for part in text.split("+")[0].split("."))


def unpack(path: Path, into: Path) -> Bundle:
    """Unpack a bundle into a folder that isn't there yet, whole or not at all.

    Raises
    ------
    ManifestError
        When it is no bundle, holds anything but plain files in their places, is too large, its
        model isn't whole, has no golden frames, or needs a newer release of the box.
    """
    shutil.rmtree(into, ignore_errors=True)
    try:
        with tarfile.open(path, "r:") as tar:
            _extract(tar, into)
        bundle = opened(into)
    except (tarfile.TarError, OSError, EOFError) as error:
        shutil.rmtree(into, ignore_errors=True)
        raise ManifestError(_TAKE, f"{path.name} can't be unpacked", _AGAIN) from error
    except ManifestError:
        shutil.rmtree(into, ignore_errors=True)
        raise
    return bundle


def opened(folder: Path) -> Bundle:
    """Look at a bundle that lies unpacked in a folder.

    Raises
    ------
    ManifestError
        As `unpack` does.
    """
    about_it = about(folder)
    if version(about_it.minimum_appliance) > version(__version__):
        what = f"it needs Echocart {about_it.minimum_appliance}, this is {__version__}"
        raise ManifestError(_TAKE, what, "Update the box first.")
    bundle = Bundle(folder, load_manifest(folder), about_it)
    if not (pairs := list(bundle.golden())):
        raise ManifestError(_TAKE, "it has no golden frames", _AGAIN)
    for labels in (labels for _, labels in pairs if not labels.is_file()):
        raise ManifestError(_TAKE, f"{labels.name} is missing", _AGAIN)
    return bundle


def about(folder: Path) -> About:
    """Return what the makers say of a bundle that lies unpacked in a folder.

    Raises
    ------
    ManifestError
        When it can't be read.
    """
    try:
        return About.model_validate(json.loads((folder / ABOUT).read_bytes()))
    except (OSError, ValueError, ValidationError) as error:
        raise ManifestError(_TAKE, f"its {ABOUT} can't be read", _AGAIN) from error


def _extract(tar: tarfile.TarFile, into: Path) -> None:
    """Write plain files only, each below `into`: the tar of a stolen key may hold anything."""
    room = MOST_BYTES
    into.mkdir(parents=True)
    for number, member in enumerate(tar):
        place = PurePosixPath(member.name)
        known = len(place.parts) == 1 or (len(place.parts) == 2 and place.parts[0] == GOLDEN)
        room -= member.size
        if not member.isreg() or not known or ".." in place.parts or place.is_absolute():
            raise ManifestError(_TAKE, "it holds something that is no part of a model", _AGAIN)
        if room < 0 or number >= _MOST_FILES:
            raise ManifestError(_TAKE, f"it is larger than {MOST_BYTES // 1_000_000} MB", _AGAIN)
        target = into.joinpath(*place.parts)
        target.parent.mkdir(exist_ok=True)
        source = tar.extractfile(member)
        assert source is not None  # a regular file has content
        with source, target.open("xb") as stream:
            shutil.copyfileobj(source, stream)
