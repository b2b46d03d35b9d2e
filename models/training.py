"""Refining a network on drawn frames: the loop, its loss, and where it stands after a kill."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.corrections import Drawn
from models.data import augmented, letterboxed
from models.network import CLASSES, Network

Read = Callable[[], Drawn]

_CLIP = 1.0  # norm of a step's gradient: without BatchNorm one odd frame could undo much
_WARM_UP = 10  # steps
_WEIGHT_DECAY = 1e-4


@dataclass(frozen=True)
class Recipe:
    """How to refine.

    Attributes
    ----------
    epochs
        Each shows every corrected frame once.
    originals_per_correction
        Original frames shown for each corrected one, so that the old isn't forgotten.
    batch, learning_rate, seed, threads
        As usual; threads 0 leaves PyTorch's choice.
    """

    epochs: int = 20
    originals_per_correction: int = 2
    batch: int = 4
    learning_rate: float = 3e-4
    seed: int = 0
    threads: int = 0


@dataclass(frozen=True)
class Frames:
    """What is learnt from: corrections in memory, originals read as they are drawn by lot."""

    corrections: Sequence[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]
    originals: Sequence[Read]

    def of_epoch(
        self, recipe: Recipe, random: np.random.Generator
    ) -> list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]:
        """Return every correction and a draw of originals, in random order."""
        count = min(len(self.originals), recipe.originals_per_correction * len(self.corrections))
        drawn: Sequence[int] = (
            random.choice(len(self.originals), count, replace=False).tolist() if count else []
        )
        chosen = [*self.corrections, *(letterboxed(self.originals[i]()) for i in drawn)]
        return [chosen[i] for i in random.permutation(len(chosen))]


def refine(
    network: Network,
    frames: Frames,
    recipe: Recipe,
    state: Path,
    fingerprint: str,
    on_step: Callable[[int, float], None],
) -> Network:
    """Refine a network, going on from `state` when it is of the same work.

    Parameters
    ----------
    network
        Changed in place.
    frames, recipe
        What and how.
    state
        Written after every epoch, whole or not at all; the caller deletes it at the end.
    fingerprint
        Of everything the result depends on: another one starts anew.
    on_step
        Told of the steps done of `steps_of(...)` and the last loss.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    optimizer = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, weight_decay=_WEIGHT_DECAY
    )
    network.to(memory_format=torch.channels_last)
    done = _resume(state, fingerprint, network, optimizer)
    per_epoch = steps_of_epoch(frames, recipe)
    on_step(done * per_epoch, math.nan)
    network.train()
    for epoch in range(done, recipe.epochs):
        # Of the epoch alone: a run that goes on after a kill shows what it would have shown.
        random = np.random.default_rng([recipe.seed, epoch])
        shown = frames.of_epoch(recipe, random)
        for step in range(per_epoch):
            overall = epoch * per_epoch + step
            for group in optimizer.param_groups:
                group["lr"] = _rate(recipe, overall, recipe.epochs * per_epoch)
            batch = shown[step * recipe.batch : (step + 1) * recipe.batch]
            loss = _step(network, optimizer, [augmented(*pair, random) for pair in batch])
            on_step(overall + 1, loss)
        _save(state, fingerprint, network, optimizer, epoch + 1)
    return network.eval()


def steps_of_epoch(frames: Frames, recipe: Recipe) -> int:
    """Return the number of optimizer steps in an epoch."""
    corrections = len(frames.corrections)
    originals = min(len(frames.originals), recipe.originals_per_correction * corrections)
    return math.ceil((corrections + originals) / recipe.batch)


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy and soft Dice of the structures, over the batch.

    Parameters
    ----------
    logits
        float32 [n, 4, rows, columns].
    labels
        int64 [n, rows, columns].
    """
    probabilities = logits.softmax(1)
    truth = functional.one_hot(labels, CLASSES).permute(0, 3, 1, 2).float()
    both = (probabilities * truth).sum((0, 2, 3))
    either = (probabilities + truth).sum((0, 2, 3))
    dice = ((2 * both + 1) / (either + 1))[1:].mean()
    return functional.cross_entropy(logits, labels) + 1 - dice


def predict(network: Network, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Label one letterboxed frame, uint8 [384, 384], with a network in evaluation mode."""
    with torch.no_grad():
        logits = network(torch.from_numpy(image).float()[None, None] / 255)
        labels: npt.NDArray[np.uint8] = logits.argmax(1)[0].to(torch.uint8).numpy()
    return labels


def _step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    batch: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]],
) -> float:
    pictures = torch.from_numpy(np.stack([picture for picture, _ in batch]))[:, None]
    labels = torch.from_numpy(np.stack([mask for _, mask in batch])).long()
    loss = loss_of(network(pictures.to(memory_format=torch.channels_last)), labels)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
    optimizer.step()
    return float(loss.item())


def _rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate: a short rise, then half a cosine down to a hundredth."""
    rise = min(1.0, (step + 1) / _WARM_UP)
    return recipe.learning_rate * rise * (0.505 + 0.495 * math.cos(math.pi * step / steps))


def _resume(
    state: Path, fingerprint: str, network: Network, optimizer: torch.optim.Optimizer
) -> int:
    """Load where an earlier run was; return how many epochs it had done."""
    if not state.exists():
        return 0
    found: dict[str, Any] = torch.load(state, weights_only=True)
    if found["fingerprint"] != fingerprint:
        return 0
    network.load_state_dict(found["network"])
    optimizer.load_state_dict(found["optimizer"])
    return int(found["epochs"])


def _save(
    state: Path,
    fingerprint: str,
    network: Network,
    optimizer: torch.optim.Optimizer,
    epochs: int,
) -> None:
    partial = state.with_name(state.name + ".partial")
    with partial.open("wb") as stream:
        torch.save(
            {
                "fingerprint": fingerprint,
                "epochs": epochs,
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
            },
            stream,
        )
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(state)


def as_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain values, for the record; threads change nothing that is learnt on purpose."""
    return {name: value for name, value in asdict(recipe).items() if name != "threads"}
