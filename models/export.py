"""Make a release of a trained network: every precision the box and its GPU siblings run.

    python -m models.export NETWORK --out DIR/NAME-VERSION [--camus DIR] [--like MODEL]

NETWORK is the network.pt that models.train wrote, or an ONNX with the box's interface. Into
DIR/NAME-VERSION go:

    network.onnx               f32 and bf16; its weights are stored in float16
    network.f16.onnx           float16 to the last convolution, for TensorRT
    network.int8.openvino.zip  8 bits by NNCF, for OpenVINO
    network.int8.onnx          8 bits, symmetric, for TensorRT and ONNX Runtime
    manifest.json, lineage.json, README.md

--camus is CAMUS, or frames laid out like it: 8 bits are calibrated on its training frames, and
every precision is measured on its validation frames. One that loses more Dice than the gate
allows is not released. Structures, licence, gates and the view network are those of --like. The
same words give the same bytes.
"""

import argparse
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from appliance.errors import ApplianceError, ManifestError
from appliance.manifest import Manifest, current_model, load_manifest
from models import graph
from models.lineage import revision

if TYPE_CHECKING:
    import onnx

_EXPORT = "export a network"
_NAMED = re.compile(r"([a-z0-9-]+)-(\d+\.\d+\.\d+)")


def read(source: Path) -> "onnx.ModelProto":
    """Return the network of a checkpoint or an ONNX: float32, with the box's interface.

    Raises
    ------
    ManifestError
        When it can't be read, or is something else.
    """
    if source.suffix != ".onnx":
        from models.interface import read_checkpoint, to_onnx

        return to_onnx(read_checkpoint(source))
    model = graph.complete(graph.load(source))
    return graph.tidied(graph.constants_as_initialisers(model))


def export(source: Path, out: Path, camus: Path | None, like: Manifest) -> Manifest:
    """Write a release, whole or not at all.

    Parameters
    ----------
    source
        Checkpoint or ONNX; a lineage.json beside it goes along.
    out
        Called NAME-VERSION; holds no model yet.
    camus
        Frames to calibrate with and to measure on.
    like
        The model whose structures, licence, gates and view network it has.

    Raises
    ------
    ApplianceError
        When the network, the frames or the name can't be used.
    """
    from models.proof import Proof
    from models.release import Release, copy_view, write_manifest

    name, version = _named(out)
    model = read(source)
    lineage = _lineage(source, camus)
    lines = (*_told(source, lineage), _line(lineage))
    same = {"name": name, "version": version, "lineage": lines}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        folder = Path(scratch) / out.name
        folder.mkdir()
        proof = Proof.of_dataset(camus) if camus else None
        release = Release(like.model_copy(update=same), folder, proof)
        release.add_full(model)
        release.add_half(model)
        release.add_int8(model)
        copy_view(like, folder)
        write_manifest(release.manifest(), folder, lineage)
        folder.rename(out)
    return load_manifest(out)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        made = export(options.network, options.out, options.camus, current_model(options.like))
    except ApplianceError as error:
        print(error, file=sys.stderr)
        return 1
    except ImportError as error:
        hint = "pip install 'echocart[train]'"
        print(f"{_EXPORT}: {error.name} isn't installed: {hint}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{_EXPORT}: {error.filename or options.out}: {error.strerror}", file=sys.stderr)
        return 1
    for file in sorted(made.files):
        print(f"{made.folder / file}: {(made.folder / file).stat().st_size} bytes")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m models.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", type=Path, help="checkpoint (.pt) or .onnx")
    parser.add_argument("--out", type=Path, required=True, help="DIR/NAME-VERSION")
    parser.add_argument("--camus", type=Path, help="frames with an expert's drawings")
    parser.add_argument("--like", default="", help="released model; the default one if absent")
    return parser


def _named(out: Path) -> tuple[str, str]:
    found = _NAMED.fullmatch(out.name)
    if not found:
        hint = "Call it NAME-VERSION, as in frame-1.0.0."
        raise ApplianceError(_EXPORT, f"--out {out} names no version", hint)
    if out.exists():
        raise ApplianceError(_EXPORT, f"{out} is there already", "Choose another, or delete it.")
    return found[1], found[2]


def _lineage(source: Path, camus: Path | None) -> dict[str, Any]:
    """Everything the release depends on, as plain values."""
    made: dict[str, Any] = {
        "source": source.name,
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "revision": revision(),
    }
    beside = source.with_name("lineage.json")
    if beside.is_file():
        try:
            made["training"] = json.loads(beside.read_text(encoding="utf-8"))
        except ValueError as error:
            what = f"{beside} is no JSON"
            raise ManifestError(_EXPORT, what, "Mend it, or move it away.") from error
    if camus is not None:
        from models.camus import checksum, open_dataset

        made["data_sha256"] = checksum(open_dataset(camus))
    return made


def _told(source: Path, lineage: dict[str, Any]) -> tuple[str, ...]:
    """What is known of the steps before: of the model an ONNX belongs to, or of a training."""
    if (source.with_name("manifest.json")).is_file() and source.suffix == ".onnx":
        before = load_manifest(source.parent)
        if source.name in before.files:
            return before.lineage
    training = lineage.get("training", {})
    if not training:
        return ("the training of this network is not recorded",)
    recipe = training.get("recipe", {})
    return (
        f"trained on {training.get('frames', 'an unknown number of')} frames"
        f" (data sha256 {training.get('data_sha256', 'unknown')})",
        f"models.train {training.get('revision', '')}: recipe {json.dumps(recipe)}",
    )


def _line(lineage: dict[str, Any]) -> str:
    data = lineage.get("data_sha256")
    return (
        f"models.export {lineage['revision'] or 'of no known revision'} from {lineage['source']}"
        f" (sha256 {lineage['source_sha256']})"
        + (f", calibrated and measured on data sha256 {data}" if data else ", not measured")
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
