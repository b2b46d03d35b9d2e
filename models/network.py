"""The *frame* network: a U-Net small enough for the CPU box's frame time.

Its space-to-depth stem lets it work on 192x192 pixels of four channels; labels come back at
384x384. It is trained with BatchNorm; the exported ONNX has each BatchNorm folded into the
convolution before it, and from that file alone `from_onnx` makes a network that goes on
learning, convolutions with bias.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


class Residual(nn.Module):
    """A block whose result is added to what went in; with a last scale of zero it changes nothing."""

    def __init__(self, channels: int, batch_norm: bool) -> None:
        super().__init__()
        self.body = Block(channels, channels, 1, batch_norm)
        self.body[5] = nn.Identity()  # its ReLU comes after the sum

    def forward(self, value: Tensor) -> Tensor:
        """Return float32 of the same shape, none below zero."""
        return functional.relu(value + self.body(value))

    def close(self) -> None:
        """Let it begin as the identity."""
        last = self.body[4]
        assert isinstance(last, nn.BatchNorm2d)
        nn.init.zeros_(last.weight)


@dataclass(frozen=True)
class Architecture:
    """What tells one network of this family from another; written into the ONNX's metadata.

    Attributes
    ----------
    filters
        Of each level, the finest (192x192) first.
    deep
        Residual blocks behind each level's own block: coarse levels see far for little time.
    subpixel
        How labels come back at 384x384: True by a convolution to 2x2 sub-pixels of each class
        (Shi 2016, arXiv 1609.05158), False by bilinear interpolation.
    """

    filters: tuple[int, ...] = FILTERS
    deep: tuple[int, ...] = (0, 0, 0, 0, 0)
    subpixel: bool = False

    KEY = "echocart.network"

    def to_json(self) -> str:
        """Return the text kept in an ONNX's metadata."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, model: "onnx.ModelProto") -> "Architecture":
        """Return what an ONNX says of itself; the first network's says nothing."""
        said = {item.key: item.value for item in model.metadata_props}
        return cls.from_json(said.get(cls.KEY, "{}"))

    @classmethod
    def from_json(cls, text: str) -> "Architecture":
        """Return what `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**{**values, **lists})


class Network(nn.Module):
    """From float32 [n, 1, 384, 384] in 0..1 to logits [n, 4, 384, 384].

    Parameters
    ----------
    batch_norm
        True to train from scratch; False for a network whose BatchNorm has been folded.
    architecture
        Its shape.
    """

    def __init__(
        self, batch_norm: bool = False, architecture: Architecture = Architecture()
    ) -> None:
        super().__init__()
        self.architecture = architecture
        filters = architecture.filters
        inside = (_STEM * _STEM, *filters)
        self.enc = nn.ModuleList(
            Block(inside[level], outside, 1 if level == 0 else 2, batch_norm)
            for level, outside in enumerate(filters)
        )
        self.deep = nn.ModuleList(
            nn.Sequential(*(Residual(channels, batch_norm) for _ in range(count)))
            for channels, count in zip(filters, architecture.deep, strict=True)
        )
        coarse = list(reversed(filters))
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(below, here, 1), nn.Upsample(scale_factor=2, mode="nearest"))
            for below, here in pairwise(coarse)
        )
        self.dec = nn.ModuleList(Block(2 * here, here, 1, batch_norm) for here in coarse[1:])
        self.head = (
            nn.Conv2d(filters[0], CLASSES * _STEM * _STEM, 3, 1, 1)
            if architecture.subpixel
            else nn.Conv2d(filters[0], CLASSES, 1)
        )

    def forward(self, frame: Tensor) -> Tensor:
        """Return the logits."""
        return self.classify(self.decoded(frame)[-1])

    def decoded(self, frame: Tensor) -> list[Tensor]:
        """Return what each decoder level makes, the coarsest (24x24) first."""
        value = functional.pixel_unshuffle(frame, _STEM)
        skips = []
        for level, deep in zip(self.enc, self.deep, strict=True):
            value = deep(level(value))
            skips.append(value)
        skips.pop()
        made = []
        for up, level in zip(self.up, self.dec, strict=True):
            value = level(torch.cat([up(value), skips.pop()], 1))
            made.append(value)
        return made

    def classify(self, value: Tensor) -> Tensor:
        """Return logits [n, 4, 384, 384] of the finest decoder level, [n, channels, 192, 192]."""
        logits: Tensor = self.head(value)
        if self.architecture.subpixel:
            return functional.pixel_shuffle(logits, _STEM)
        return functional.interpolate(
            logits, scale_factor=float(_STEM), mode="bilinear", align_corners=False
        )

    def convolutions(self) -> list[nn.Conv2d]:
        """Every convolution in the order in which `forward` runs them."""
        encoder = [part for pair in zip(self.enc, self.deep, strict=True) for part in pair]
        decoder = [part for pair in zip(self.up, self.dec, strict=True) for part in pair]
        return [
            module
            for part in (*encoder, *decoder, self.head)
            for module in part.modules()
            if isinstance(module, nn.Conv2d)
        ]


def from_checkpoint(path: Path) -> Network:
    """Load a network with BatchNorm from the weights its training wrote.

    The file holds "state" and, unless it is the first network's, "architecture" as JSON.
    """
    found = torch.load(path, weights_only=True)
    shape = Architecture.from_json(found.get("architecture", "{}"))
    network = Network(batch_norm=True, architecture=shape)
    network.load_state_dict(found["state"])
    return network.eval()


def folded(network: Network) -> Network:
    """Return a copy whose BatchNorm is folded into the convolutions: same answer, fewer parts."""
    made = Network(batch_norm=False, architecture=network.architecture).eval()
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

    network = Network(batch_norm=False, architecture=Architecture.of(model))
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


def grown(start: Network, architecture: Architecture, pictures: Tensor) -> Network:
    """Return a larger network with BatchNorm that answers as the start does, ready to learn more.

    Parameters
    ----------
    start
        Folded, with the same filters.
    architecture
        With as many residual blocks or more, which begin as the identity (Goyal 2017, arXiv
        1706.02677, 5.1), and its head or a sub-pixel one, which begins as the bilinear one.
    pictures
        float32 [n, 1, 384, 384] in 0..1: BatchNorm takes its statistics from them.

    Notes
    -----
    A folded convolution gives what its BatchNorm gave: with that BatchNorm's mean as `bias`
    and its deviation as `weight`, normalising changes nothing until learning does.
    """
    network = Network(batch_norm=True, architecture=architecture)
    for level, theirs in zip(network.deep, start.deep, strict=True):
        for block in list(level)[len(theirs) :]:
            block.close()
    with torch.no_grad():
        plain, normed = _grown_from(start, start), _grown_from(network, start)
        for mine, theirs in zip(normed, plain, strict=True):
            for place in (0, 3):
                mine[place].weight.copy_(theirs[place].weight)
        network.up.load_state_dict(start.up.state_dict())
        _open_head(network, start)
        _match_statistics(normed, plain, start, pictures)
    return network


def _grown_from(network: Network, start: Network) -> list[nn.Sequential]:
    """The blocks of a network that the one it grew from has too."""
    blocks = [block for part in (network.enc, network.dec) for block in part]
    for mine, theirs in zip(network.deep, start.deep, strict=True):
        blocks += [block.body for block in list(mine)[: len(theirs)]]
    return blocks


def _open_head(network: Network, start: Network) -> None:
    weight, bias = start.head.weight, start.head.bias
    assert bias is not None
    assert network.head.bias is not None
    if network.architecture.subpixel == start.architecture.subpixel:
        network.head.load_state_dict(start.head.state_dict())
        return
    # Halfway between two pixels, bilinear interpolation takes 3/4 of the near, 1/4 of the far.
    reach = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
    spread = torch.einsum("yi,xj->yxij", reach, reach).reshape(_STEM * _STEM, 1, 3, 3)
    network.head.weight.copy_((weight[:, None] * spread[None]).reshape(network.head.weight.shape))
    network.head.bias.copy_(bias.repeat_interleave(_STEM * _STEM))


def _match_statistics(
    normed: Sequence[nn.Sequential],
    plain: Sequence[nn.Sequential],
    start: Network,
    pictures: Tensor,
) -> None:
    moments: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def look(module: nn.Module, _: object, out: Tensor) -> None:
        variance, mean = torch.var_mean(out.float(), (0, 2, 3))
        moments[module] = (mean, variance)

    hooks = [block[place].register_forward_hook(look) for block in plain for place in (0, 3)]
    start.eval()(pictures)
    for hook in hooks:
        hook.remove()
    for mine, theirs in zip(normed, plain, strict=True):
        for place in (0, 3):
            mean, variance = moments[theirs[place]]
            norm, bias = mine[place + 1], theirs[place].bias
            assert isinstance(norm, nn.BatchNorm2d)
            assert bias is not None
            norm.running_mean.copy_(mean - bias)
            norm.running_var.copy_(variance)
            norm.weight.copy_((variance + norm.eps).sqrt())
            norm.bias.copy_(mean)


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
            "Start from a released model of this family, or one retrained on it.",
        )
    return [
        (convolution, (node.input[1], node.input[2]))
        for convolution, node in zip(mine, nodes, strict=True)
    ]


def _blocks(network: Network) -> list[Block]:
    return [module for module in network.modules() if isinstance(module, Block)]
