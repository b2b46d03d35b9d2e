"""One process that learns, or several that learn the same together, by Lightning's own flags.

Each sees its part of every batch; gradients are averaged, so that all hold the same weights at
every step. What one process does for all (writing, saying) the first one does.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from torch import Tensor, cuda, nn, optim

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Item = TypeVar("Item")
_GPU = ("gpu", "cuda")


class Alone:
    """One process, without Lightning."""

    is_first = True
    count = 1

    def setup(self, network: nn.Module, optimizer: optim.Optimizer) -> tuple[Any, Any]:
        """Return network and optimizer as training steps use them."""
        return network, optimizer

    def part(self, batch: Sequence[Item]) -> Sequence[Item]:
        """Return what this process sees of a batch; never nothing."""
        return batch

    def backward(self, loss: Tensor) -> None:
        """Go back from a loss."""
        loss.backward()  # type: ignore[no-untyped-call,unused-ignore]

    def wait(self) -> None:
        """Wait until all are here."""


class Together(Alone):
    """Processes that Lightning Fabric starts.

    Parameters
    ----------
    fabric
        Launched.
    """

    def __init__(self, fabric: "Fabric") -> None:
        self._fabric = fabric
        self.is_first = fabric.is_global_zero
        self.count = fabric.world_size

    def setup(self, network: nn.Module, optimizer: optim.Optimizer) -> tuple[Any, Any]:
        """Wrap both, so that gradients are averaged over the processes."""
        wrapped, stepped = self._fabric.setup(network, optimizer)
        return wrapped, stepped

    def part(self, batch: Sequence[Item]) -> Sequence[Item]:
        """Return every `count`-th item; where there are too few, the first one once more."""
        return batch[self._fabric.global_rank :: self.count] or batch[:1]

    def backward(self, loss: Tensor) -> None:
        """Go back from a loss; the processes meet here."""
        self._fabric.backward(loss)

    def wait(self) -> None:
        """Wait until all are here."""
        self._fabric.barrier()


def started(accelerator: str, devices: str, strategy: str) -> Alone:
    """Start the processes that the flags ask for; each of them runs the same command.

    Parameters
    ----------
    accelerator, devices, strategy
        As Lightning has them: "cpu", "2", "ddp".

    Raises
    ------
    ValueError
        When Lightning doesn't know them, or this machine has fewer devices.
    """
    if accelerator in _GPU and not cuda.is_available():
        raise ValueError(f"--accelerator {accelerator}: PyTorch finds no NVIDIA GPU here")
    if devices == "1":
        if accelerator == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return Alone()
    from lightning.fabric import Fabric
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    number = int(devices) if devices.lstrip("-").isdigit() else devices
    try:
        fabric = Fabric(accelerator=accelerator, devices=number, strategy=strategy)
        fabric.launch()
    except (MisconfigurationException, TypeError) as error:
        raise ValueError(str(error)) from error
    return Together(fabric)
