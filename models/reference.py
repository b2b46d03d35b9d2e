"""The *reference* network: the paper's shape, by MONAI, for GPU boxes."""

from typing import Any

from torch import Tensor, nn

from models.network import CLASSES
from models.recipe import Shape


class Reference(nn.Module):
    """MONAI's DynUNet with BatchNorm, so that it fuses: [n, 1, side, side] to [n, 4, side, side].

    Parameters
    ----------
    shape
        Its filters: (32, 64, 128, 256, 320, 320) in the paper.
    """

    def __init__(self, shape: Shape) -> None:
        from monai.networks.nets import DynUNet

        super().__init__()
        levels = len(shape.filters)
        self.net: Any = DynUNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=CLASSES,
            kernel_size=[3] * levels,
            strides=[1] + [2] * (levels - 1),
            upsample_kernel_size=[2] * (levels - 1),
            filters=list(shape.filters),
            norm_name="batch",
        )

    def forward(self, frame: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.net(frame)
        return logits
