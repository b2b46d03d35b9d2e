"""Refining a network on drawn frames: the loop, its loss, and where it stands after a kill."""

import copy
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
from models.workers import Alone

Read = Callable[[], Drawn]
Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]

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
    mix
        Original frames shown for each corrected one, so that the old isn't forgotten.
    batch, learning_rate, seed, threads
        As usual; threads 0 leaves PyTorch's choice.
    recall
        Weight of the loss by which the network keeps on the original frames what it said of them
        at the start, beside what the expert drew (Li and Hoiem 2016, arXiv 1606.09282).
    share
        Of the way from the starting weights to the learnt ones that the result goes
        (Wortsman 2022, arXiv 2109.01903); 1.0 is all of it.
    precision
        "f32", or "bf16" for half the time on processors that have it.
    """

    epochs: int = 20
    mix: float = 2.0
    batch: int = 4
    learning_rate: float = 1e-4
    recall: float = 1.0
    share: float = 0.75
    precision: str = "f32"
    seed: int = 0
    threads: int = 0


@dataclass(frozen=True)
class Frames:
    """What is learnt from: corrections in memory, originals read as they are drawn by lot."""

    corrections: Sequence[Pair]
    originals: Sequence[Read]

    def drawn(self, recipe: Recipe) -> int:
        """Return how many originals an epoch shows."""
        return min(len(self.originals), round(recipe.mix * len(self.corrections)))

    def of_epoch(
        self, recipe: Recipe, random: np.random.Generator
    ) -> list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], bool]]:
        """Return every correction and a draw of originals (True), in random order."""
        count = self.drawn(recipe)
        lot: Sequence[int] = (
            random.choice(len(self.originals), count, replace=False).tolist() if count else []
        )
        chosen = [
            *((*pair, False) for pair in self.corrections),
            *((*letterboxed(self.originals[i]()), True) for i in lot),
        ]
        return [chosen[i] for i in random.permutation(len(chosen))]


def refine(
    network: Network,
    frames: Frames,
    recipe: Recipe,
    *,
    state: Path | None = None,
    fingerprint: str = "",
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    on_epoch: Callable[[int, Network], None] = lambda epoch, network: None,
    workers: Alone = Alone(),  # noqa: B008
) -> Network:
    """Refine a network, going on from `state` when it is of the same work.

    Parameters
    ----------
    network
        Not changed.
    frames, recipe
        What and how.
    state
        Written after every epoch, whole or not at all; the caller deletes it at the end.
    fingerprint
        Of everything the result depends on: another one starts anew.
    on_step
        Told of the steps done of epochs times `steps_of_epoch`, and the last loss.
    on_epoch
        Told of the epochs done, and given what the result would be if it ended there.
    workers
        This process and those that learn the same beside it.

    Returns
    -------
    Network
        The refined one, in evaluation mode.
    """
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    start = network.to(_device(), memory_format=torch.channels_last).eval()
    learner = copy.deepcopy(start)
    optimizer = torch.optim.AdamW(learner.parameters(), weight_decay=_WEIGHT_DECAY)
    done = _resume(state, fingerprint, learner, optimizer)
    steps, stepped = workers.setup(learner, optimizer)
    per_epoch = steps_of_epoch(frames, recipe)
    every = recipe.epochs * per_epoch
    on_step(done * per_epoch, math.nan)
    for epoch in range(done, recipe.epochs):
        # Of the epoch alone: a run that goes on after a kill shows what it would have shown.
        random = np.random.default_rng([recipe.seed, epoch])
        shown = frames.of_epoch(recipe, random)
        steps.train()
        for step in range(per_epoch):
            overall = epoch * per_epoch + step
            part = shown[step * recipe.batch : (step + 1) * recipe.batch]
            made = [(*augmented(a, b, random), original) for a, b, original in part]
            loss = _loss(steps, start, _Batch.of(workers.part(made)), recipe)
            _descend(loss, learner, stepped, _rate(recipe, overall, every), workers)
            on_step(overall + 1, float(loss.item()))
        if state is not None and workers.is_first:
            _save(state, fingerprint, learner, optimizer, epoch + 1)
        on_epoch(epoch + 1, between(start, learner, recipe.share))
    return between(start, learner, recipe.share)


def between(start: Network, learnt: Network, share: float) -> Network:
    """Return the network that lies at `share` of the way between two of the same shape."""
    made = copy.deepcopy(start)
    with torch.no_grad():
        for mine, theirs in zip(made.parameters(), learnt.parameters(), strict=True):
            mine.lerp_(theirs, share)
    return made.eval()


def steps_of_epoch(frames: Frames, recipe: Recipe) -> int:
    """Return the number of optimizer steps in an epoch."""
    return math.ceil((len(frames.corrections) + frames.drawn(recipe)) / recipe.batch)


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


def predict(
    network: Network, image: npt.NDArray[np.uint8], precision: str = "f32"
) -> npt.NDArray[np.uint8]:
    """Label one letterboxed frame, uint8 [384, 384], with a network in evaluation mode."""
    device = next(network.parameters()).device
    picture = torch.from_numpy(image).to(device).float()[None, None] / 255
    with torch.inference_mode(), _mixed(precision):
        logits = network(picture.to(memory_format=torch.channels_last))
    labels: npt.NDArray[np.uint8] = logits.argmax(1)[0].to(torch.uint8).cpu().numpy()
    return labels


@dataclass(frozen=True)
class _Batch:
    pictures: Tensor  # float32 [n, 1, side, side]
    labels: Tensor  # int64 [n, side, side]
    originals: Tensor  # bool [n]

    @classmethod
    def of(
        cls, shown: Sequence[tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8], bool]]
    ) -> "_Batch":
        pictures = torch.from_numpy(np.stack([picture for picture, _, _ in shown]))[:, None]
        labels = torch.from_numpy(np.stack([mask for _, mask, _ in shown])).long()
        originals = torch.tensor([original for _, _, original in shown])
        return cls(
            pictures.to(_device(), memory_format=torch.channels_last),
            labels.to(_device()),
            originals.to(_device()),
        )


def _descend(
    loss: Tensor, learner: Network, optimizer: torch.optim.Optimizer, rate: float, workers: Alone
) -> None:
    """Take one step down."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    workers.backward(loss)
    nn.utils.clip_grad_norm_(learner.parameters(), _CLIP)
    optimizer.step()


def _loss(learner: nn.Module, start: Network, batch: _Batch, recipe: Recipe) -> Tensor:
    with _mixed(recipe.precision):
        logits = learner(batch.pictures)
    logits = logits.float()
    loss = loss_of(logits, batch.labels)
    if recipe.recall and bool(batch.originals.any()):
        with torch.no_grad(), _mixed(recipe.precision):
            said = start(batch.pictures[batch.originals]).float().softmax(1)
        says = logits[batch.originals].log_softmax(1)
        loss = loss + recipe.recall * functional.kl_div(says, said, reduction="none").sum(1).mean()
    return loss


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _mixed(precision: str) -> torch.autocast:
    return torch.autocast(_device().type, torch.bfloat16, enabled=precision == "bf16")


def _rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate: a short rise, then half a cosine down to a hundredth."""
    rise = min(1.0, (step + 1) / _WARM_UP)
    return recipe.learning_rate * rise * (0.505 + 0.495 * math.cos(math.pi * step / steps))


def _resume(
    state: Path | None, fingerprint: str, network: Network, optimizer: torch.optim.Optimizer
) -> int:
    """Load where an earlier run was; return how many epochs it had done."""
    if state is None or not state.exists():
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
