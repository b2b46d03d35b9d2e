"""What one would write first, as the anchor of `bench.engine`: decode all, shrink, infer, argmax.

    python -m bench.straightforward FILE MODEL THREADS

pydicom's `pixel_array`, NumPy, and PyTorch in eager mode with the model's own weights; where
PyTorch can't be imported, ONNX Runtime at f32, whose graph has the argmax in it. Says on its first
line which; then for each line it is sent, how many frames a second it made of the loop.
"""

import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from appliance.config import Engine
from appliance.engine.backend import open_backend
from appliance.manifest import Manifest, load_manifest
from appliance.sector.geometry import Geometry

FRAMES = 24  # that the network is timed on: it is slow
Picture = npt.NDArray[np.uint8]
Infer = Callable[[Picture], object]


def main() -> None:
    """Answer until standard input ends."""
    path, model, threads = sys.argv[1:]
    manifest = load_manifest(Path(model))
    name, infer = _eager(manifest, int(threads)) or _onnxruntime(manifest, int(threads))
    infer(np.zeros((384, 384), np.uint8))
    print(name, flush=True)
    for _ in sys.stdin:
        print(_rate(Path(path), infer), flush=True)


def _rate(path: Path, infer: Infer) -> float:
    start = time.perf_counter()
    pictures = pydicom.dcmread(path).pixel_array
    decoded = time.perf_counter() - start
    start = time.perf_counter()
    for picture in pictures[:FRAMES]:
        infer(_shrink(picture if picture.ndim == 2 else picture.mean(axis=-1).astype(np.uint8)))
    inferred = (time.perf_counter() - start) / min(FRAMES, len(pictures))
    return 1 / (decoded / len(pictures) + inferred)


def _eager(manifest: Manifest, threads: int) -> tuple[str, Infer] | None:
    if not (find_spec("torch") and find_spec("onnx")):
        return None
    torch, export = import_module("torch"), import_module("models.export")
    torch.set_num_threads(threads)
    onnx = manifest.folder / manifest.variant("onnxruntime", "f32").file
    network = import_module("models.network").from_onnx(export.read(onnx))

    def infer(picture: Picture) -> Any:
        with torch.no_grad():
            logits = network(torch.from_numpy(picture[None, None]).float() / 255)
        return np.argmax(logits.numpy(), axis=1)

    return "PyTorch eager f32 + NumPy argmax", infer


def _onnxruntime(manifest: Manifest, threads: int) -> tuple[str, Infer]:
    backend = open_backend(
        manifest, Engine(backend="onnxruntime", precision="f32", threads=threads)
    )
    return "ONNX Runtime f32", backend.infer


def _shrink(grey: Picture) -> Picture:
    rows, columns = grey.shape
    geometry = Geometry.fit(rows, columns, (0, 0, columns, rows))
    width, height = geometry.inner
    picked = np.ix_(
        np.arange(height) * rows // height,
        np.arange(width) * columns // width,
    )
    canvas = np.zeros((geometry.map_rows, geometry.map_columns), np.uint8)
    top, left = geometry.pad_y, geometry.pad_x
    canvas[top : top + height, left : left + width] = grey[picked]
    return canvas


if __name__ == "__main__":
    main()
