"""The first network: a U-Net of 2.06 M parameters, trained with BatchNorm, refined without.

Its space-to-depth stem lets it work on 192x192 pixels of four channels; labels come back at
384x384. The exported ONNX has each BatchNorm folded into the convolution before it, and from
that file alone `from_onnx` makes a network that goes on learning, convolutions with bias.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from appliance.errors import ManifestError

if TYPE_CHECKING:
    import onnx

FILTERS = (24, 48, 96, 160, 160)
CLASSES = 4
_STEM = 2  # pixels a side that become channels


class Block(nn.Sequential):
    """Two 3x3 convolutions with ReLU; the first may halve rows and columns."""

    def __init__(self, inside: int, outside: int, stride: int, batch_norm: bool) -> None:
        parts: list[nn.Module] = []
        for channels, step in ((inside, stride), (outside, 1)):
            parts.append(nn.Conv2d(channels, outside, 3, step, 1, bias=not batch_norm))
            # An Identity keeps the names of the weights the same with and without BatchNorm.
            parts.append(nn.BatchNorm2d(outside) if batch_norm else nn.Identity())
            parts.append(nn.ReLU(inplace=True))
        super().__init__(*parts)


class Network(nn.Module):
    """From float32 [n, 1, 384, 384] in 0..1 to logits [n, 4, 384, 384].

    Parameters
    ----------
    batch_norm
        True to train from scratch; False for a network whose BatchNorm has been folded.
    filters
        Of each level, the finest first.
    """

    def __init__(self, batch_norm: bool = False, filters: Sequence[int] = FILTERS) -> None:
        super().__init__()
        self.filters = tuple(filters)
        inside = (_STEM * _STEM, *filters)
        self.enc = nn.ModuleList(
            Block(inside[level], outside, 1 if level == 0 else 2, batch_norm)
            for level, outside in enumerate(filters)
        )
        coarse = list(reversed(filters))
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(below, here, 1), nn.Upsample(scale_factor=2, mode="nearest"))
            for below, here in pairwise(coarse)
        )
        self.dec = nn.ModuleList(Block(2 * here, here, 1, batch_norm) for here in coarse[1:])
        self.head = nn.Conv2d(filters[0], CLASSES, 1)

    def forward(self, frame: Tensor) -> Tensor:
        """Return the logits."""
        value = functional.pixel_unshuffle(frame, _STEM)
        skips = []
        for level in self.enc:
            value = level(value)
            skips.append(value)
        skips.pop()
        for up, level in zip(self.up, self.dec, strict=True):
            value = level(torch.cat([up(value), skips.pop()], 1))
        logits: Tensor = functional.interpolate(
            self.head(value), scale_factor=float(_STEM), mode="bilinear", align_corners=False
        )
        return logits

    def convolutions(self) -> list[nn.Conv2d]:
        """Every convolution in the order in which `forward` runs them."""
        decoder = [part for pair in zip(self.up, self.dec, strict=True) for part in pair]
        return [
            module
            for part in (*self.enc, *decoder, self.head)
            for module in part.modules()
            if isinstance(module, nn.Conv2d)
        ]


def from_checkpoint(path: Path) -> Network:
    """Load a network with BatchNorm from the checkpoint its training wrote ("state")."""
    network = Network(batch_norm=True)
    network.load_state_dict(torch.load(path, weights_only=True)["state"])
    return network.eval()


def folded(network: Network) -> Network:
    """Return a copy whose BatchNorm is folded into the convolutions: same answer, fewer parts."""
    made = Network(batch_norm=False, filters=network.filters).eval()
    made.load_state_dict(network.state_dict(), strict=False)
    for mine, theirs in zip(_blocks(made), _blocks(network), strict=True):
        for place in (0, 3):
            convolution, norm = theirs[place], theirs[place + 1]
            assert isinstance(convolution, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            mine[place] = fuse_conv_bn_eval(convolution.eval(), norm.eval())
    return made


def from_onnx(model: "onnx.ModelProto") -> Network:
    """Make a network of the weights in a released ONNX, ready to be refined.

    Raises
    ------
    ManifestError
        When the graph's convolutions are not this network's.
    """
    from onnx import numpy_helper

    network = Network(batch_norm=False)
    values = {item.name: item for item in model.graph.initializer}
    with torch.no_grad():
        for convolution, names in _pairs(network, model):
            for parameter, name in zip((convolution.weight, convolution.bias), names, strict=True):
                assert parameter is not None
                parameter.copy_(torch.from_numpy(numpy_helper.to_array(values[name]).copy()))
    return network.eval()


def into_onnx(network: Network, model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a copy of the graph with this network's weights: the interface stays to the node.

    Raises
    ------
    ManifestError
        When the graph's convolutions are not this network's.
    """
    import onnx
    from onnx import numpy_helper

    made = onnx.ModelProto()
    made.CopyFrom(model)
    values = {item.name: item for item in made.graph.initializer}
    for convolution, names in _pairs(network, made):
        for parameter, name in zip((convolution.weight, convolution.bias), names, strict=True):
            assert parameter is not None
            array = parameter.detach().cpu().contiguous().numpy()
            values[name].CopyFrom(numpy_helper.from_array(array, name))
    onnx.checker.check_model(made, full_check=True)
    return made


def _pairs(network: Network, model: "onnx.ModelProto") -> list[tuple[nn.Conv2d, tuple[str, str]]]:
    """Each convolution with the names of its weight and bias in the graph.

    An ONNX graph is sorted by dependence, and this network is one chain of convolutions: their
    order is `forward`'s.
    """
    shapes = {item.name: tuple(item.dims) for item in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    mine = network.convolutions()
    same = len(nodes) == len(mine) and all(
        len(node.input) == 3
        and shapes.get(node.input[1]) == tuple(convolution.weight.shape)
        and shapes.get(node.input[2]) == tuple(convolution.weight.shape[:1])
        for node, convolution in zip(nodes, mine, strict=True)
    )
    if not same:
        raise ManifestError(
            "take weights from an ONNX",
            "its convolutions are not those of this network with BatchNorm folded",
            "Start from a model made by this release: first-network-1.0.0 or one retrained on it.",
        )
    return [
        (convolution, (node.input[1], node.input[2]))
        for convolution, node in zip(mine, nodes, strict=True)
    ]


def _blocks(network: Network) -> list[Block]:
    return [module for module in network.modules() if isinstance(module, Block)]
