"""Train the network that tells apical four-chamber, apical two-chamber and other pictures apart.

    python -m models.view --camus DIR --out NAME-VERSION/

It trains in about ten minutes on one CPU core, writes `view.onnx` into a model's folder and names
it in that folder's manifest.json. `models.view_report` says how well it does.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from appliance.engine.view import SIDE
from appliance.errors import ApplianceError
from appliance.manifest import ViewNetwork, load_manifest
from appliance.views import OTHER as NONE
from models import camus
from models.data import letterboxed
from models.lineage import revision
from models.view_pictures import OTHER, SQUARE, Bytes, apical, degraded, halved, other

VIEWS = ("A4C", "A2C", NONE)
CAMUS_VIEWS = {"4CH": 0, "2CH": 1}
FILE = "view.onnx"
_STEP = "models.view: the view network, from"
FEATURES = 96
_FILTERS = (24, 48, 64, 64, FEATURES, FEATURES)
_STRIDES = (2, 2, 2, 1, 2, 1)
_KEPT = 0.995  # of validation frames, strangely changed, lie within the limit of distance
LIMIT_APICAL = 0.7  # default to refuse: seven in ten, not one in two
_SMOOTH = 0.05
_RATE, _DECAY = 2e-3, 1e-3


@dataclass(frozen=True)
class Recipe:
    """How to train; `kinds` are those of `OTHER` it is shown, `hidden` whether the path is hidden."""

    epochs: int = 40
    batch: int = 64
    seed: int = 0
    threads: int = 1
    hidden: bool = True
    kinds: tuple[str, ...] = tuple(OTHER)


class Looker(nn.Module):
    """Six convolutions and a mean: 0.2 M parameters, about a millisecond a frame on one core."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for filters, stride in zip(_FILTERS, _STRIDES, strict=True):
            layers += [
                nn.Conv2d(channels, filters, 3, stride, 1, bias=False),
                nn.BatchNorm2d(filters),
                nn.ReLU(inplace=True),
            ]
            channels = filters
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, len(VIEWS))
        places = torch.linspace(-1, 1, SIDE)
        y, x = torch.meshgrid(places, places, indexing="ij")
        # Where a thing lies tells an upright heart from one on its side.
        self.register_buffer("places", torch.stack([x, y])[None])

    def features(self, frames: Tensor) -> Tensor:
        """What is seen in frames uint8 [n, 1, 96, 96]: float32 [n, 96], whatever their gain."""
        picture = frames.float() / 255
        mean = picture.mean((2, 3), keepdim=True)
        spread = (picture - mean).square().mean((2, 3), keepdim=True).sqrt()
        picture = (picture - mean) / (spread + 0.02)
        places = self.places.expand(frames.shape[0], -1, -1, -1)
        seen: Tensor = self.body(torch.cat([picture, places], 1)).mean((2, 3))
        return seen

    def forward(self, frames: Tensor) -> Tensor:
        """Logits of the views, float32 [n, 3]."""
        logits: Tensor = self.head(functional.dropout(self.features(frames), 0.2, self.training))
        return logits


class Released(nn.Module):
    """What the box runs: probabilities, and the Mahalanobis distance to the nearer apical view.

    Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples".
    """

    def __init__(self, looker: Looker, centres: Tensor, whitening: Tensor) -> None:
        super().__init__()
        self.looker = looker
        self.register_buffer("centres", centres[None])
        self.register_buffer("whitening", whitening)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities float32 [n, 3] and distances float32 [n] of uint8 [n, 1, 96, 96]."""
        features = self.looker.features(frames)
        away = (features[:, None] - self.centres) @ self.whitening
        distance = away.square().sum(2).amin(1).sqrt()
        return self.looker.head(features).softmax(1), distance


@dataclass(frozen=True)
class Pictures:
    """One split of CAMUS: `hearts` uint8 [192, 192] as the recipe sees them, `views` their numbers."""

    hearts: list[Bytes]
    views: list[int]


def read(dataset: camus.Dataset, split: str, *, hidden: bool) -> Pictures:
    """Read a split's frames; `hidden` brings both views through the 224x224 square."""
    hearts, views = [], []
    for frame in dataset.frames(split):
        if frame.view not in CAMUS_VIEWS:
            continue
        drawn = frame.load()
        hearts.append(halved(degraded(drawn.image) if hidden else letterboxed(drawn)[0]))
        views.append(CAMUS_VIEWS[frame.view])
    return Pictures(hearts, views)


def train(pictures: Pictures, recipe: Recipe) -> Looker:
    """Train on apical frames and as many made pictures of other kinds."""
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(recipe.threads)
    looker = Looker().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(looker.parameters(), _RATE, weight_decay=_DECAY)
    steps = recipe.epochs * -(-2 * len(pictures.hearts) // recipe.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, steps)
    looker.train()
    for epoch in range(recipe.epochs):
        total = 0.0
        for frames, views in _batches(
            pictures, recipe, np.random.default_rng([recipe.seed, epoch])
        ):
            with torch.autocast("cpu", torch.bfloat16):
                said = looker(frames)
            loss = functional.cross_entropy(said.float(), views, label_smoothing=_SMOOTH)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.item()) * len(views)
        mean = total / (2 * len(pictures.hearts))
        print(f"epoch {epoch + 1}/{recipe.epochs}: loss {mean:.4f}", file=sys.stderr, flush=True)
    return looker.eval().to(memory_format=torch.contiguous_format)


def _batches(
    pictures: Pictures, recipe: Recipe, random: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    hearts = len(pictures.hearts)
    order = random.permutation(2 * hearts)
    for start in range(0, len(order), recipe.batch):
        chosen = order[start : start + recipe.batch]
        frames = [_shown(int(i), pictures, recipe, random) for i in chosen]
        views = [pictures.views[i] if i < hearts else VIEWS.index(NONE) for i in chosen]
        yield as_batch(frames), torch.tensor(views)


def _shown(index: int, pictures: Pictures, recipe: Recipe, random: np.random.Generator) -> Bytes:
    if index < len(pictures.hearts):
        return apical(pictures.hearts[index], random, any_aspect=recipe.hidden)
    kind = recipe.kinds[int(random.integers(len(recipe.kinds)))]
    return other(kind, pictures.hearts, random)


def as_batch(frames: Sequence[Bytes]) -> Tensor:
    """Stack frames uint8 [96, 96] to what the network takes, uint8 [n, 1, 96, 96]."""
    return torch.from_numpy(np.stack(frames)[:, None])


def finish(
    looker: Looker, learnt: Pictures, kept: Pictures, recipe: Recipe
) -> tuple[Released, float]:
    """Measure where apical hearts lie among the features; return the network and its limit.

    Parameters
    ----------
    looker
        Trained.
    learnt, kept
        Frames it learnt from, and frames it didn't: the limit keeps 99.5 % of the latter, each
        changed as a strange machine might.
    recipe
        How it was trained.
    """
    random = np.random.default_rng([recipe.seed, 1 << 20])
    places, views = [], np.array(learnt.views * 2)
    for _ in range(2):
        frames = [apical(heart, random, any_aspect=recipe.hidden) for heart in learnt.hearts]
        places.append(_features(looker, frames))
    found = np.concatenate(places)
    centres = np.stack([found[views == view].mean(0) for view in (0, 1)])
    spread = np.cov((found - centres[views]).T) + 1e-3 * np.eye(FEATURES)
    whitening = np.linalg.cholesky(np.linalg.inv(spread))
    made = Released(
        looker, torch.from_numpy(centres).float(), torch.from_numpy(whitening).float()
    ).eval()
    strange = [
        apical(heart, random, any_aspect=recipe.hidden) for heart in kept.hearts for _ in range(4)
    ]
    return made, float(np.quantile(run(made, strange)[1], _KEPT))


def run(
    network: Released, frames: Sequence[Bytes]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Probabilities float32 [n, 3] and distances float32 [n] of frames uint8 [96, 96]."""
    with torch.no_grad():
        said, distance = network(as_batch(frames))
    return said.numpy(), distance.numpy()


def _features(looker: Looker, frames: Sequence[Bytes]) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        found: npt.NDArray[np.float32] = looker.features(as_batch(frames)).numpy()
    return found


def export(network: Released, path: Path) -> str:
    """Write the network as ONNX and return the file's SHA-256."""
    import io

    stream = io.BytesIO()
    torch.onnx.export(
        network,
        (torch.zeros(2, 1, SIDE, SIDE, dtype=torch.uint8),),
        stream,
        input_names=["frames"],
        output_names=["view", "distance"],
        dynamic_axes={"frames": {0: "n"}, "view": {0: "n"}, "distance": {0: "n"}},
        opset_version=17,
        dynamo=False,
    )
    path.write_bytes(stream.getvalue())
    return hashlib.sha256(stream.getvalue()).hexdigest()


def name_in(folder: Path, sha256: str, limit: float, step: str) -> None:
    """Name the view network in a model's manifest, and how it was made in its lineage.

    Raises
    ------
    ManifestError
        When the folder holds no model, or its files aren't what the manifest says.
    """
    view = ViewNetwork(
        file=FILE,
        sha256=sha256,
        views=VIEWS,
        limit_apical=LIMIT_APICAL,
        limit_distance=round(limit, 2),
    )
    path = folder / "manifest.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    lineage = [line for line in values.pop("lineage") if not line.startswith(_STEP)]
    values["view"] = view.model_dump()
    path.write_text(
        json.dumps({**values, "lineage": [*lineage, step]}, indent=2) + "\n", encoding="utf-8"
    )
    load_manifest(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m models.view", description=__doc__)
    parser.add_argument("--camus", type=Path, required=True, help="frames.csv, images/, masks/")
    parser.add_argument("--out", type=Path, required=True, help="a model's folder")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    recipe = Recipe(epochs=options.epochs, seed=options.seed, threads=options.threads)
    try:
        load_manifest(options.out)
        dataset = camus.checked(options.camus)
        learnt = read(dataset, "train", hidden=True)
        kept = read(dataset, "validation", hidden=True)
        network, limit = finish(train(learnt, recipe), learnt, kept, recipe)
        step = (
            f"{_STEP} CAMUS training patients (data sha256 {camus.checksum(dataset)}), both views"
            f" through {SQUARE}x{SQUARE}, made pictures for the rest; {recipe.epochs} epochs,"
            f" seed {recipe.seed}; code {revision() or 'of no known revision'}"
        )
        name_in(options.out, export(network, options.out / FILE), limit, step)
    except (ApplianceError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{options.out / FILE}: {(options.out / FILE).stat().st_size} bytes, limit {limit:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
