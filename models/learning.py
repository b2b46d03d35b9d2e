"""What Lightning trains: a network, its loss, its schedule; and the frames it is shown."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import lightning
import numpy as np
import numpy.typing as npt
import torch
from monai.losses import DiceCELoss
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from models.augmentation import varied
from models.camus import Frame
from models.data import letterboxed
from models.network import CLASSES, Network
from models.recipe import Recipe, Training

STRUCTURES = ("LV", "myocardium", "LA")
Bytes = npt.NDArray[np.uint8]
_CLIP = 5.0  # norm of a step's gradient


class Frames(Dataset[tuple[Tensor, Tensor]]):
    """Letterboxed frames in memory, 295 kB each; varied anew each epoch when asked to.

    An item is addressed as (epoch, number): what is shown depends on the seed and on these alone,
    however many workers there are and after whatever kill.
    """

    def __init__(self, frames: Sequence[Frame], training: Training, vary: bool) -> None:
        with ThreadPoolExecutor(4) as pool:
            self._pairs = list(pool.map(lambda frame: letterboxed(frame.load()), frames))
        self._training, self._vary = training, vary

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._pairs)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return float32 [1, side, side] in 0..1 and int64 [1, side, side]."""
        epoch, number = place
        image, mask = self._pairs[number]
        picture = (image / np.float32(255)).astype(np.float32)
        if self._vary:
            cv2.setNumThreads(0)
            random = np.random.default_rng([self._training.seed, epoch, number])
            picture, mask = varied(image, mask, random, self._training.strength(epoch))
        picture, mask = _sized(picture, mask, self._training.side(epoch))
        return torch.from_numpy(picture)[None], torch.from_numpy(mask.astype(np.int64))[None]


class Order(Sampler[tuple[int, int]]):
    """(epoch, number) of every frame, in an order of each epoch's own."""

    def __init__(self, count: int, seed: int, shuffle: bool) -> None:
        self._count, self._seed, self._shuffle = count, seed, shuffle
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning tells it before each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Return the order of this epoch."""
        numbers = np.arange(self._count)
        if self._shuffle:
            np.random.default_rng([self._seed, self._epoch]).shuffle(numbers)
        return ((self._epoch, int(number)) for number in numbers)


def loader(frames: Frames, training: Training, vary: bool, workers: int) -> DataLoader[Any]:
    """Return batches; a last one that isn't full would only disturb BatchNorm."""
    return DataLoader(
        frames,
        batch_size=training.batch,
        sampler=Order(len(frames), training.seed, vary),
        num_workers=workers,
        drop_last=vary and len(frames) >= training.batch,
    )


class Learner(lightning.LightningModule):
    """One network in training.

    Parameters
    ----------
    network
        Trained in place.
    recipe
        How.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self._training = recipe.training
        self._loss = DiceCELoss(
            include_background=False, softmax=True, to_onehot_y=True, batch=True
        )
        self._loss.smooth_nr = self._loss.smooth_dr = 1.0
        # Decoder levels at 48x48 and 96x96 learn to tell the structures too (Lee 2015,
        # arXiv 1409.5185); these heads are left behind with the training.
        widths = recipe.network.filters[1:3][::-1]
        self.supervisors = nn.ModuleList(
            nn.Conv2d(width, CLASSES, 1)
            for width, _ in zip(widths, self._training.supervision, strict=False)
        )
        self._overlaps: list[npt.NDArray[np.float64]] = []

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of a batch."""
        pictures, labels = batch
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        extra: list[Tensor] = []
        if isinstance(self.network, Network):
            levels = self.network.decoded(pictures)
            logits = self.network.classify(levels[-1])
            extra = [head(value) for head, value in zip(self.supervisors, levels[1:], strict=False)]
        else:
            logits = self.network(pictures)
        loss = self._loss(logits.float(), labels)
        for weight, coarse in zip(self._training.supervision, extra, strict=True):
            step = labels.shape[-1] // coarse.shape[-1]
            middle = labels[..., step // 2 :: step, step // 2 :: step]
            loss = loss + weight * self._loss(coarse.float(), middle)
        self.log("loss", loss, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        """Collect the Dice of each frame and structure."""
        pictures, labels = batch
        found = self.network(pictures.contiguous(memory_format=torch.channels_last)).argmax(1)
        truth = labels[:, 0]
        for mine, theirs in zip(found, truth, strict=True):
            self._overlaps.append(
                np.array([_dice(mine == label, theirs == label) for label in range(1, CLASSES)])
            )

    def on_validation_epoch_end(self) -> None:
        """Log the mean Dice of each structure and of all."""
        means = np.mean(self._overlaps, axis=0)
        self._overlaps = []
        for name, value in zip(STRUCTURES, means, strict=True):
            self.log(f"dice_{name}", float(value))
        self.log("dice", float(means.mean()), prog_bar=True)

    def configure_optimizers(self) -> Any:
        """AdamW with the recipe's schedule."""
        training = self._training
        optimizer = torch.optim.AdamW(
            self.parameters(), training.learning_rate, weight_decay=training.weight_decay
        )
        trainer = self.trainer
        per_epoch = int(trainer.estimated_stepping_batches) // (trainer.max_epochs or 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: training.rate(step, per_epoch)
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """One odd frame must not undo much."""
        self.clip_gradients(optimizer, _CLIP, "norm")


def _dice(mine: Tensor, theirs: Tensor) -> float:
    total = int(mine.sum() + theirs.sum())
    return 2 * int((mine & theirs).sum()) / total if total else 1.0


def _sized(picture: npt.NDArray[np.float32], mask: Bytes, side: int) -> Any:
    if side == len(picture):
        return picture, mask
    size = (side, side)
    return (
        np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32),
        np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8),
    )
