"""A network's release: each precision in the file it needs, measured, and said in the manifest.

A lower precision is released only if no structure loses more Dice on validation frames than the
manifest's gate allows.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from appliance.config import Engine
from appliance.engine.backend import Backend, loses, open_backend
from appliance.errors import BackendError
from appliance.manifest import Accuracy, BackendName, Manifest, Precision, Variant
from models import card, graph, quantize
from models.accuracy import agreement
from models.corrections import write_whole
from models.proof import Proof

if TYPE_CHECKING:
    import onnx

Make = Callable[[quantize.Recipe], bytes]

_THREADS = 2  # of the smallest box
_TIMED, _TOLD = 50, 10  # frames: where a time counts, and where it is told beside the Dice


def _say(line: str) -> None:
    print(line, flush=True)


@dataclass
class Release:
    """A release being made.

    Attributes
    ----------
    like
        The model whose structures, licence and gates it has; name, version and lineage its own.
    folder
        Where its files are written.
    proof
        Frames to calibrate with and to measure on; None: neither.
    say
        Tells the person what was measured, and what wasn't made and why.
    stem
        Begins the name of each network's file.
    variants
        What is ready.
    """

    like: Manifest
    folder: Path
    proof: Proof | None
    say: Callable[[str], None] = _say
    stem: str = "network"
    variants: list[Variant] = field(default_factory=list)

    def add_full(self, model: "onnx.ModelProto") -> None:
        """Add f32, and bf16, which is computed from the same file."""
        here: tuple[BackendName, ...] = ("openvino", "onnxruntime")
        full = self._write("onnx", "f32", here, _bytes(graph.packed(model)))
        self._add(full)
        self._add(full.model_copy(update={"precision": "bf16", "backends": ("openvino",)}))

    def add_half(self, model: "onnx.ModelProto") -> None:
        """Add f16."""
        data = _bytes(graph.half(model))
        self._add(self._write("f16.onnx", "f16", ("onnxruntime", "tensorrt"), data))

    def add_int8(self, model: "onnx.ModelProto") -> None:
        """Add both 8-bit forms, by the first recipe that loses little enough."""
        if self.proof is None:
            self.say("int8: not made: it is calibrated on frames; give --camus DIR")
            return
        frames = self.proof.calibration
        self._first_good(
            lambda data: self._write("int8.openvino.zip", "int8", ("openvino",), data),
            lambda recipe: quantize.for_openvino(model, frames, recipe),
            quantize.OPENVINO,
        )
        self._first_good(
            lambda data: self._write("int8.onnx", "int8", ("onnxruntime", "tensorrt"), data),
            lambda recipe: quantize.symmetric(model, frames, recipe),
            quantize.TENSORRT,
        )

    def manifest(self, variants: Sequence[Variant] | None = None) -> Manifest:
        """Return the manifest as it stands, or of other variants."""
        values = self.like.model_dump()
        values["variants"] = [v.model_dump() for v in variants or self.variants]
        made = Manifest.model_validate(values)
        made._folder = self.folder
        return made

    def _first_good(
        self, write: Callable[[bytes], Variant], make: Make, recipes: Sequence[quantize.Recipe]
    ) -> None:
        for recipe in recipes:
            variant = write(make(recipe))
            self.say(f"int8 for {variant.backends[0]}: {recipe}")
            if self._add(variant):
                return

    def _add(self, variant: Variant) -> bool:
        """Measure a variant, and keep it if it loses little enough; tell whether it was kept."""
        if self.proof is None:
            self.variants.append(variant)
            if variant.precision != "f32":
                self.say(f"{variant.precision}: not measured, so never taken unasked")
            return True
        measured: list[Accuracy] = []
        for name in variant.backends:
            if name != "tensorrt":
                measured += self._measured(variant, name)
        lost = [self._loses(accuracy) for accuracy in measured]
        gate = self.like.gates.precision_loss
        if not measured or max(lost) > gate:
            why = f"a structure loses {max(lost):.2f} Dice points, more than {gate}" if lost else ""
            self.say(f"{variant.precision}: not released: {why or 'not measured here'}")
            if variant.file not in {kept.file for kept in self.variants}:
                (self.folder / variant.file).unlink()
            return False
        self.variants.append(variant.model_copy(update={"accuracy": tuple(measured)}))
        return True

    def _measured(self, variant: Variant, name: BackendName) -> list[Accuracy]:
        assert self.proof is not None
        manifest = self.manifest([variant])
        engine = Engine(backend=name, precision=variant.precision, threads=_THREADS)
        try:
            backend = open_backend(manifest, engine)
        except BackendError as error:
            self.say(f"{name} {variant.precision}: {error}")
            return []
        accuracy = agreement(backend, manifest, self.proof.judges, self.proof.data)
        figures = "  ".join(f"{key} {value:.4f}" for key, value in accuracy.dice.items())
        took = frame_ms(backend, manifest, _TOLD)
        self.say(f"{name} {variant.precision}: {figures}  {took:.1f} ms")
        return [accuracy]

    def _loses(self, accuracy: Accuracy) -> float:
        full = [
            kept.dice
            for variant in self.variants
            for kept in variant.accuracy
            if (variant.precision, kept.backend) == ("f32", accuracy.backend)
        ]
        return loses(full[0], accuracy.dice) if full else 0.0

    def _write(
        self, suffix: str, precision: Precision, backends: Sequence[str], data: bytes
    ) -> Variant:
        file = f"{self.stem}.{suffix}"
        write_whole(self.folder / file, data)
        return Variant(
            file=file,
            sha256=hashlib.sha256(data).hexdigest(),
            precision=precision,
            backends=tuple(backends),  # type: ignore[arg-type]
            accuracy=(),
        )


def frame_ms(backend: Backend, manifest: Manifest, frames: int = _TIMED) -> float:
    """Return the median time of a frame, milliseconds, on two threads."""
    frame = np.full((manifest.input.rows, manifest.input.columns), 40, np.uint8)
    times = []
    for _ in range(frames):
        start = time.perf_counter()
        backend.infer(frame)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def copy_view(like: Manifest, folder: Path) -> None:
    """Take the view network along: it goes with the views, not with the drawing network."""
    if like.view:
        shutil.copyfile(like.folder / like.view.file, folder / like.view.file)


def write_manifest(made: Manifest, folder: Path, lineage: dict[str, Any]) -> None:
    """Write manifest.json, lineage.json and the card's beginning."""
    (folder / "README.md").write_text(page(made), encoding="utf-8")
    text = json.dumps(lineage, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    (folder / "lineage.json").write_text(text, encoding="utf-8")
    (folder / "manifest.json").write_text(made.model_dump_json(indent=2) + "\n", encoding="utf-8")


def page(made: Manifest) -> str:
    """Return the model's card, in Markdown: what the manifest knows; the rest is for its author."""
    research = "**For research use only: not a medical device.** " if made.research_use_only else ""
    lineage = "\n".join(f"{number}. {line}" for number, line in enumerate(made.lineage, 1))
    return f"""# Model card: {made.name} {made.version}

{research}Made by `models.export`.

## Licence
{made.licence}. Whoever publishes anything made with it cites:

> {made.citation}

## How good it is
{card.measured(made)}

## Lineage
{lineage}
"""


def _bytes(model: "onnx.ModelProto") -> bytes:
    return bytes(model.SerializeToString(deterministic=True))
