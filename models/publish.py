"""Publish models: signed into a repository (TUF) that boxes fetch from, a folder any web server serves.

    python -m models.publish init --repository DIR --keys DIR [--root-keys 3 --threshold 2]
    python -m models.publish add MODEL --repository DIR --keys DIR --gate gate.json
    python -m models.publish withdraw NAME --why TEXT --repository DIR --keys DIR
    python -m models.publish refresh --repository DIR --keys DIR
    python -m models.publish rotate ROLE --root-key FILE --root-key FILE --repository DIR --keys DIR
    python -m models.publish list --repository DIR
    python -m models.publish usb-key --keys DIR
    python -m models.publish usb MODEL --gate gate.json --keys DIR --out DIR

`init` is the key ceremony: afterwards take each root key to another person and place, and copy
`metadata/1.root.json` to the boxes. `usb` writes one file that a person carries to a box without a
network, signed with the key that `usb-key` made. The passphrase is asked for, or in ECHOCART_KEY_PASSPHRASE.
"""

import argparse
import io
import json
import os
import re
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
from pydantic import ValidationError

from appliance import __version__
from appliance.drift import reference
from appliance.engine.onnxruntime import OnnxRuntime
from appliance.engine.parity import resized
from appliance.errors import ApplianceError, ManifestError
from appliance.manifest import Manifest
from appliance.releases import bundle
from appliance.releases.model_store import must_fit, name_of
from appliance.releases.shadowing import Thresholds
from models import signing, usb
from models.evaluate import chosen
from models.repository import WITHDRAWN, Repository

_PUBLISH = "publish a model"
_THREADS = 2
_NUMBERS = re.compile(r"\d+\.\d+\.\d+")
_BESIDE = ("README.md", "lineage.json", "reference.json")


def pack(
    manifest: Manifest,
    gate: dict[str, Any],
    minimum_appliance: str,
    path: Path,
    *,
    shadow: Thresholds | None = None,
    floor: str = "",
) -> None:
    """Write a bundle: the model, its papers, and what it draws on the golden frames.

    Parameters
    ----------
    manifest
        The model.
    gate
        Report of `models.evaluate --gate`.
    minimum_appliance
        Oldest release of the box that may run it.
    path
        Written.
    shadow
        What it must reach on a box before it draws; careful ones by default.
    floor
        Oldest version of its name that a box may go back to; "" for any.

    Raises
    ------
    ManifestError
        When a box couldn't take the model, or its gate isn't of this model or didn't let it pass.
    """
    must_fit(manifest)
    _must_have_passed(manifest, gate)
    about = bundle.About(
        minimum_appliance=minimum_appliance,
        published_at=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        gate=gate,
        shadow=shadow or Thresholds(),
        floor=floor,
    )
    reference = OnnxRuntime(manifest, "f32", _THREADS)
    with tarfile.open(path, "w:", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, bundle.ABOUT, about.model_dump_json(indent=1).encode())
        names = ["manifest.json", *sorted(manifest.files)]
        names += [name for name in _BESIDE if (manifest.folder / name).is_file()]
        for name in names:
            _add(tar, name, (manifest.folder / name).read_bytes())
        for number, frame in enumerate(resized(manifest)):
            labels = reference.infer(frame).labels
            for suffix, picture in ((bundle.FRAME, frame), (bundle.LABELS, labels)):
                data = cv2.imencode(".png", picture)[1].tobytes()
                _add(tar, f"{bundle.GOLDEN}/{number:02}{suffix}", data)


def _thresholds(path: Path | None) -> Thresholds:
    if path is None:
        return Thresholds()
    try:
        return Thresholds.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        what = ": ".join([str(path), *map(str, first["loc"]), first["msg"]])
        raise ManifestError(_PUBLISH, what, "docs/updates.md names the thresholds.") from error


def _gate(path: Path) -> dict[str, Any]:
    """Read a gate's report; what it says is judged by `pack`."""
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("candidate"), dict):
        hint = "Name the gate.json that models.evaluate --gate wrote."
        raise ManifestError(_PUBLISH, f"{path} is no gate's report", hint)
    return found


def _must_tell_drift(manifest: Manifest) -> None:
    if reference.read(manifest) is None:
        hint = (
            f"Make it: python -m models.reference_statistics --camus DIR --model {manifest.folder}."
            " With --no-reference boxes tell drift against their own first studies alone."
        )
        what = f"{manifest.folder / reference.NAME} is missing, or is another network's"
        raise ManifestError(_PUBLISH, what, hint)


def _must_have_passed(manifest: Manifest, gate: dict[str, Any]) -> None:
    hint = "Run models.evaluate --gate, and give its gate.json."
    full = next(variant for variant in manifest.variants if variant.precision == "f32")
    if gate.get("candidate", {}).get("sha256") != full.sha256:
        raise ManifestError(_PUBLISH, f"the gate's report isn't of {name_of(manifest)}", hint)
    if gate.get("passed") is not True:
        raise ManifestError(_PUBLISH, f"{name_of(manifest)} did not pass its gate", hint)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """The same model gives the same tar, whoever packs it."""
    item = tarfile.TarInfo(name)
    item.size = len(data)
    tar.addfile(item, io.BytesIO(data))


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _COMMANDS[options.command](options)
    except ApplianceError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        no_folder = isinstance(error, (FileExistsError, NotADirectoryError))
        reason = "a file is where a folder should be" if no_folder else error.strerror
        print(f"{_PUBLISH}: {error.filename}: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{_PUBLISH}: stopped; nothing more was signed", file=sys.stderr)
        return 130
    return 0


def _init(options: argparse.Namespace) -> None:
    repository = Repository(options.repository)
    repository.must_be_free(options.root_keys, options.threshold)
    secret = signing.passphrase(again=True)
    roots = [f"root-{number}" for number in range(1, options.root_keys + 1)]
    made = signing.make(options.keys, [*roots, *signing.ONLINE], secret)
    try:
        repository.create([made[name] for name in roots], options.threshold, made)
    except (ApplianceError, OSError):
        for name in made:  # they have signed nothing that anybody believes
            (options.keys / f"{name}.pem").unlink()
        raise
    print(f"{options.repository} is begun; {options.threshold} of {options.root_keys} root keys")
    print(
        f"Take {', '.join(f'{name}.pem' for name in roots)} out of {options.keys}, each to another place."
    )
    print(f"Each box needs {options.repository / 'metadata' / '1.root.json'} as updates.root.")


def _publish(options: argparse.Namespace) -> None:
    online = signing.online(options.keys, signing.passphrase())
    with tempfile.TemporaryDirectory() as scratch:
        path = _packed(options, Path(scratch))
        about = {"minimum_appliance": options.minimum_appliance}
        Repository(options.repository).add(path.name, path, about, online)
        print(f"{path.name} is released, {path.stat().st_size / 1e6:.1f} MB")


def _packed(options: argparse.Namespace, folder: Path) -> Path:
    """Pack the model that was named; returns the bundle."""
    manifest = chosen(options.model)
    gate = _gate(options.gate)
    if not options.no_reference:
        _must_tell_drift(manifest)
    shadow = _thresholds(options.thresholds)
    path = folder / (name_of(manifest) + bundle.SUFFIX)
    minimum, floor = options.minimum_appliance, options.floor or ""
    pack(manifest, gate, minimum, path, shadow=shadow, floor=floor)
    return path


def _usb_key(options: argparse.Namespace) -> None:
    public = usb.make_key(options.keys, signing.passphrase(again=True))
    print(f"Each box needs this as updates.usb_key:\n{public}")


def _usb(options: argparse.Namespace) -> None:
    place = options.keys / f"{usb.KEY}.pem"
    if not place.exists():
        hint = "Name the folder of the keys, or make one: models.publish usb-key."
        raise signing.SigningError(_PUBLISH, f"{place} is missing", hint)
    key = signing.private(place, signing.passphrase())
    with tempfile.TemporaryDirectory() as scratch:
        made = usb.write(_packed(options, Path(scratch)), key, options.out)
        print(f"on the box: echocart model fetch --file {made}")


def _withdraw(options: argparse.Namespace) -> None:
    online = signing.online(options.keys, signing.passphrase())
    name = options.name.removesuffix(bundle.SUFFIX)
    Repository(options.repository).withdraw(name + bundle.SUFFIX, options.why, online)
    print(f"{name} is withdrawn")


def _refresh(options: argparse.Namespace) -> None:
    repository = Repository(options.repository)
    repository.refresh(signing.online(options.keys, signing.passphrase()))
    print(f"signed again, until {repository.expires():%Y-%m-%d}")


def _rotate(options: argparse.Namespace) -> None:
    secret = signing.passphrase()
    roots = [signing.load(path, secret) for path in options.root_key]
    fresh_name, old_name = f"{options.role}.new", f"{options.role}.{os.getpid()}.old"
    place, repository = options.keys / f"{fresh_name}.pem", Repository(options.repository)
    # Left by one that was cut short, maybe after root had named it.
    left = signing.load(place, secret) if place.exists() else None
    fresh = left or signing.make(options.keys, [fresh_name], secret)[fresh_name]
    try:
        if not repository.names(options.role, fresh):
            repository.rotate(options.role, fresh, roots)
    except ApplianceError:
        place.unlink()
        raise
    mine = options.keys / f"{options.role}.pem"
    if mine.exists():
        mine.rename(options.keys / f"{old_name}.pem")
    place.rename(mine)
    repository.refresh(signing.online(options.keys, secret))
    print(f"another key signs for {options.role} now")


def _list(options: argparse.Namespace) -> None:
    repository = Repository(options.repository)
    if not (released := repository.released()):
        print("nothing is released yet")
    for name, target in sorted(released.items()):
        why = target.unrecognized_fields.get("custom", {}).get(WITHDRAWN)
        print(f"{name}  {target.length / 1e6:.1f} MB{f'  withdrawn: {why}' if why else ''}")
    print(f"signed until {repository.expires():%Y-%m-%d}")


_COMMANDS = {
    "init": _init,
    "add": _publish,
    "withdraw": _withdraw,
    "refresh": _refresh,
    "rotate": _rotate,
    "list": _list,
    "usb-key": _usb_key,
    "usb": _usb,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.publish",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    made = {name: commands.add_parser(name) for name in _COMMANDS}
    for name, command in made.items():
        if not name.startswith("usb"):
            command.add_argument("--repository", type=Path, required=True)
        if name != "list":
            command.add_argument("--keys", type=Path, required=True, help="folder of the PEM files")
    made["init"].add_argument("--root-keys", type=int, default=3)
    made["init"].add_argument("--threshold", type=int, default=2, help="root keys that must sign")
    for name in ("add", "usb"):
        _of_a_release(made[name])
    made["usb"].add_argument("--out", type=Path, required=True, help="folder, such as the stick's")
    made["withdraw"].add_argument("name", help="NAME-VERSION")
    made["withdraw"].add_argument("--why", required=True, help="boxes show it")
    made["rotate"].add_argument("role", choices=signing.ONLINE)
    made["rotate"].add_argument("--root-key", type=Path, action="append", required=True)
    return parser


def _of_a_release(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="its folder, or the name of a release here")
    command.add_argument("--gate", type=Path, required=True, help="of models.evaluate --gate")
    command.add_argument(
        "--minimum-appliance",
        type=_version,
        default=__version__.split("+")[0],
        metavar="VERSION",
        help="oldest release of the box that may run it; this one if absent",
    )
    command.add_argument(
        "--thresholds",
        type=Path,
        help="JSON: what it must reach in the shadow; see docs/updates.md",
    )
    command.add_argument(
        "--floor",
        type=_version,
        default=None,
        metavar="VERSION",
        help="oldest version that a box may go back to",
    )
    command.add_argument(
        "--no-reference", action="store_true", help="release it without a reference.json"
    )


def _version(text: str) -> str:
    if not _NUMBERS.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no version such as 1.2.0")
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
