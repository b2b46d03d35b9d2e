"""The models of a box: those it came with, and those added to it, in the state directory.

A model is known by the name of its folder, `<name>-<version>`. What is added is verified first,
then copied whole or not at all.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from appliance.config import Settings
from appliance.errors import ManifestError
from appliance.ledger import Ledger, setting
from appliance.manifest import (
    VIEW_INPUT,
    Manifest,
    ViewNetwork,
    current_model,
    load_manifest,
    released_dir,
)
from appliance.measures.chambers import draws_heart
from appliance.sector.geometry import MAP_SIZE
from appliance.views import OTHER

_ADD, _REMOVE = "add a model", "remove a model"
_MANIFEST = "manifest.json"
_PARTIAL = ".partial-"
_BESIDE = ("README.md", "reference.json")  # the card; what drift is told against
_ERRORS_ONLY = 3  # ONNX Runtime's log severity
_NUMPY = {"uint8": np.uint8, "float32": np.float32}


@dataclass(frozen=True)
class Listed:
    """A model of this box.

    Attributes
    ----------
    name
        Of its folder: what `use` takes.
    manifest
        None when it can't be used; `problem` says why.
    added
        Whether it was added to this box rather than shipped with it.
    place
        Among those the engine runs, or will from its next loop on: 1 is asked first; 0 for none.
    """

    name: str
    manifest: Manifest | None
    problem: str
    added: bool
    place: int


def name_of(manifest: Manifest) -> str:
    """Return the name a model's folder has."""
    return f"{manifest.name}-{manifest.version}"


def added_dir(state_dir: Path) -> Path:
    """Return where added models are kept."""
    return state_dir / "models"


def load(state_dir: Path, name: str = "") -> Manifest:
    """Load a model by name, an added one or a released one; "" is the released default.

    Raises
    ------
    ManifestError
        When there is none of that name, or its files are not what its manifest says.
    """
    if name in _added(state_dir):
        return load_manifest(added_dir(state_dir) / name)
    try:
        return current_model(name)
    except ManifestError as error:
        if not name or name in _released():
            raise
        have = ", ".join(sorted({*_released(), *_added(state_dir)}))
        hint = f"Models of this box: {have}. `echocart model add` adds one."
        raise ManifestError("load a model", f"there is no model {name!r}", hint) from error


def chosen(ledger: Ledger, settings: Settings) -> tuple[str, ...]:
    """Return the names of the models in force, in order: chosen while running, else the TOML file's.

    "" among them is the released default.
    """
    return setting.chosen_models(ledger) or configured(settings)


def configured(settings: Settings) -> tuple[str, ...]:
    """Return the names of the TOML file's models, in order; "" is the released default."""
    return tuple(dict.fromkeys((settings.engine.model, *settings.engine.beside)))


def resolved(names: Iterable[str]) -> tuple[str, ...]:
    """Write the released default by its name, and each name once."""
    return tuple(dict.fromkeys(name or name_of(current_model()) for name in names))


def add(state_dir: Path, source: Path) -> Manifest:
    """Verify a model and copy it into the state directory.

    Parameters
    ----------
    state_dir
        Of the box.
    source
        A model's folder, or a file in it: its manifest.json or its network.

    Returns
    -------
    Manifest
        Of the copy. The same model again changes nothing, or mends a copy that isn't whole.

    Raises
    ------
    ManifestError
        When its manifest or files are not whole, it doesn't keep the box's interface, or the
        box has another model of that name and version.
    """
    manifest = load_manifest(_folder_of(source))
    # An OpenVINO IR (ZIP) is not for ONNX Runtime: its SHA-256 is that of the release.
    for file in sorted({v.file for v in manifest.variants if v.file.endswith(".onnx")}):
        run_one_frame(manifest, file)
    if manifest.view:
        run_view(manifest, manifest.view)
    must_fit(manifest)
    kept = _kept(state_dir, manifest)
    if kept is None:
        _install(manifest, added_dir(state_dir))
        kept = load_manifest(added_dir(state_dir) / name_of(manifest))
    return kept


def remove(state_dir: Path, name: str, in_force: Sequence[str]) -> None:
    """Delete a model that was added to this box. What it has drawn stays.

    Parameters
    ----------
    state_dir
        Of the box.
    name
        Of the model's folder.
    in_force
        What `chosen` returns: none of these is deleted.

    Raises
    ------
    ManifestError
        When there is no added model of that name, it is in force, or can't be deleted.
    """
    if name not in _added(state_dir):
        shipped = name in _released()
        what = f"{name} came with the box" if shipped else f"no model {name!r} was added"
        raise ManifestError(_REMOVE, what, "`echocart model list` shows those that were.")
    if name in in_force:
        hint = "Choose others first: `echocart model use`."
        raise ManifestError(_REMOVE, f"{name} is in use", hint)
    home = added_dir(state_dir)
    aside = home / f"{_PARTIAL}{secrets.token_hex(4)}"
    try:
        (home / name).rename(aside)  # gone whole or not at all
        shutil.rmtree(aside)
        _sync(home)
    except OSError as error:
        what = f"{home / name} can't be deleted ({error.strerror})"
        raise ManifestError(_REMOVE, what, "Mend it, and try again.") from error


def must_fit(manifest: Manifest) -> None:
    """Refuse a model whose loops the box could neither prepare nor tell apart.

    Raises
    ------
    ManifestError
        When its frames have another size than the box's, or it draws other structures than the
        apical heart and brings no view network: then nothing could refuse a loop.
    """
    size = (manifest.input.rows, manifest.input.columns)
    if size != (MAP_SIZE, MAP_SIZE):
        what = f"{name_of(manifest)} takes frames of {size[0]}x{size[1]}"
        raise ManifestError(_ADD, what, f"The box gives {MAP_SIZE}x{MAP_SIZE}: export it for that.")
    if manifest.view is None and not draws_heart(manifest.structures_as_dicts()):
        what = f"{name_of(manifest)} draws no apical heart and has no view network"
        raise ManifestError(_ADD, what, "Give it one: nothing else would tell which loops it gets.")


def warnings(manifest: Manifest) -> list[str]:
    """Return what a person should know before a model that can be used is used; often nothing."""
    name = name_of(manifest)
    if manifest.view is None:
        return [
            f"{name} has no view network: where no model before it tells the view,"
            " EF and volumes are withheld until a person sets it"
        ]
    known = manifest.view.views
    unknown = [view for view in manifest.gates.views if view not in known or view == OTHER]
    if not unknown:
        return []
    gets = "no loop" if len(unknown) == len(manifest.gates.views) else "none of those loops"
    return [
        f"{name} is to draw {', '.join(unknown)}, which its view network doesn't tell"
        f" ({', '.join(known)}): by its own network it gets {gets}"
    ]


def listed(state_dir: Path, in_force: Sequence[str]) -> list[Listed]:
    """Return every model of the box, by name, and those in force that are gone.

    `in_force` is what `chosen` returns.
    """
    order = resolved(in_force)
    made = []
    for name in sorted({*_released(), *_added(state_dir), *order}):
        manifest, problem = None, ""
        try:
            manifest = load(state_dir, name)
        except ManifestError as error:
            problem = str(error)
        place = order.index(name) + 1 if name in order else 0
        made.append(Listed(name, manifest, problem, name not in _released(), place))
    return made


def run_one_frame(manifest: Manifest, file: str) -> None:
    """Run a network once on ONNX Runtime and hold its answer against its manifest.

    Raises
    ------
    ManifestError
        When it doesn't load, or an output lacks the name, type, shape or labels promised.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    wanted = {output.name: output for output in manifest.outputs}
    frame = np.zeros((1, 1, manifest.input.rows, manifest.input.columns), np.uint8)
    try:
        session = onnxruntime.InferenceSession(
            manifest.folder / file, options, providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        made = dict(zip(names, session.run(names, {"frame": frame}), strict=True))
    # Its exceptions have no common base of their own.
    except Exception as error:
        raise _broken(file, "ONNX Runtime can't run it on a frame") from error
    for name, output in wanted.items():
        if name not in made:
            raise _broken(file, f"it has no output {name}")
        if made[name].dtype != _NUMPY[output.type] or made[name].shape != output.shape:
            have = f"{made[name].dtype} {list(made[name].shape)}"
            raise _broken(file, f"{name} is {have}, not {output.type} {list(output.shape)}")
    if not set(np.unique(made["labels"])) <= {0, *manifest.labels}:
        raise _broken(file, "it gives label values the manifest doesn't name")


def run_view(manifest: Manifest, view: ViewNetwork) -> None:
    """Run a view network on two frames and hold its answer against its manifest.

    Raises
    ------
    ManifestError
        When it doesn't load, or its outputs aren't those that `ViewNetwork` describes.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    frames = np.zeros((2, 1, *VIEW_INPUT), np.uint8)
    try:
        session = onnxruntime.InferenceSession(
            manifest.folder / view.file, options, providers=["CPUExecutionProvider"]
        )
        said, distance = session.run(["view", "distance"], {"frames": frames})
    # Its exceptions have no common base of their own.
    except Exception as error:
        raise _broken(view.file, "ONNX Runtime can't run it on frames") from error
    if said.shape != (2, len(view.views)) or distance.shape != (2,):
        raise _broken(view.file, f"its outputs are not of {len(view.views)} views")


def _folder_of(source: Path) -> Path:
    folder = source if source.is_dir() else source.parent
    if not (folder / _MANIFEST).is_file():
        hint = "Name the folder that models.retrain wrote: it holds manifest.json and the network."
        raise ManifestError(_ADD, f"there is no {_MANIFEST} in {folder}", hint)
    if source.is_file() and source.name != _MANIFEST:
        manifest = load_manifest(folder)
        if source.name not in {variant.file for variant in manifest.variants}:
            what = f"{folder / _MANIFEST} doesn't name {source.name}"
            raise ManifestError(_ADD, what, "Name the folder instead.")
    return folder


def _kept(state_dir: Path, manifest: Manifest) -> Manifest | None:
    """Return the box's own of a model's name; None where there is none, or its copy isn't whole."""
    name = name_of(manifest)
    added = name in _added(state_dir)
    if not added and name not in _released():
        return None
    _same_or_refused(_said(added_dir(state_dir) if added else released_dir(), name), manifest)
    try:
        return load(state_dir, name)
    except ManifestError:
        if added:
            return None
        raise


def _install(manifest: Manifest, home: Path) -> None:
    """Copy a model whole or not at all; what is left of an earlier copy goes."""
    place, partial = home / name_of(manifest), home / f"{_PARTIAL}{secrets.token_hex(4)}"
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o755)
        _clear(home)
        _copy(manifest, partial)
        load_manifest(partial)  # what was copied is what was verified
        if place.exists():
            place.rename(home / f"{_PARTIAL}{secrets.token_hex(4)}")
        partial.rename(place)
        _sync(home)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ManifestError(
            _ADD, f"it can't be copied to {home} ({error.strerror})", "Make room, or mend it."
        ) from error
    _clear(home)


def _clear(home: Path) -> None:
    """Delete what was moved aside, or is left of an `add` that was cut short."""
    for left in home.glob(f"{_PARTIAL}*"):
        shutil.rmtree(left, ignore_errors=True)


def _said(home: Path, name: str) -> Manifest | None:
    """What a kept manifest says, whatever became of its files; None when it can't be read."""
    try:
        return Manifest.model_validate_json((home / name / _MANIFEST).read_bytes())
    except (OSError, ValidationError):
        return None


def _same_or_refused(mine: Manifest | None, theirs: Manifest) -> None:
    if mine and mine.model_dump() != theirs.model_dump():
        hint = "Give the new one another version."
        raise ManifestError(_ADD, f"the box has another {name_of(theirs)}", hint)


def _copy(manifest: Manifest, partial: Path) -> None:
    """Copy what the manifest names, and what lies `_BESIDE` it; nothing else of the folder."""
    partial.mkdir()
    files = {_MANIFEST, *manifest.files}
    files |= {name for name in _BESIDE if (manifest.folder / name).is_file()}
    for file in sorted(files):
        shutil.copyfile(manifest.folder / file, partial / file)
        _sync(partial / file)
    _sync(partial)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _added(state_dir: Path) -> set[str]:
    """Every folder there, one that lost its manifest too: it can be mended and removed."""
    found = {path.name for path in added_dir(state_dir).glob("*") if path.is_dir()}
    whole = {path.parent.name for path in added_dir(state_dir).glob(f"*/{_MANIFEST}")}
    # What came with the box isn't hidden by what is left of a folder of its name.
    return {name for name in whole | (found - _released()) if not name.startswith(_PARTIAL)}


def _released() -> set[str]:
    return {path.parent.name for path in released_dir().glob(f"*/{_MANIFEST}")}


def _broken(file: str, what: str) -> ManifestError:
    hint = "Export it again with models.export, or models.retrain."
    return ManifestError(_ADD, f"{file}: {what}", hint)
