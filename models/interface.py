"""A trained network as an ONNX of the box's interface: frame in, labels and how sure they are out."""

from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from appliance.errors import ManifestError
from models import graph, recipe
from models.network import CLASSES, Architecture, Network, from_checkpoint

if TYPE_CHECKING:
    import onnx

OPSET = 17  # TensorRT 10.3 parses up to 20; 17 has all that is needed

_READ = "read a checkpoint"


class Interface(nn.Module):
    """A network with the normalisation before it and the choice of labels behind it.

    Parameters
    ----------
    net
        From float32 [1, 1, rows, columns] in 0..1 to logits [1, 4, rows, columns].
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Return `labels` and `confidence` of `frame`, uint8 [1, 1, rows, columns]."""
        probability, labels = self.net(frame.float() / 255.0).softmax(1).max(1)
        chosen = functional.one_hot(labels, CLASSES).permute(0, 3, 1, 2).float()
        mean = (chosen * probability[:, None]).sum((2, 3)) / chosen.sum((2, 3)).clamp(min=1)
        return labels.to(torch.uint8), mean


def read_checkpoint(path: Path) -> nn.Module:
    """Load what a training wrote; a `recipe.toml` beside it names the *reference* network.

    Raises
    ------
    ManifestError
        When it can't be read, is no checkpoint, or one of another network.
    """
    beside = path.with_name("recipe.toml")
    shape = recipe.load(str(beside)).network if beside.is_file() else None
    try:
        if shape is None or shape.family == "frame":
            return from_checkpoint(path)
        from models.reference import Reference

        network = Reference(shape)
        network.load_state_dict(torch.load(path, weights_only=True)["state"])
        return network.eval()
    except OSError as error:
        what = f"{path} can't be read: {error.strerror}"
        raise ManifestError(_READ, what, "Name a .pt checkpoint or an .onnx.") from error
    # PyTorch answers a wrong file with the errors of whatever it took it for.
    except (UnpicklingError, EOFError, KeyError, TypeError, AttributeError, ValueError) as error:
        hint = "Name the network.pt that models.train wrote, or an .onnx."
        raise ManifestError(_READ, f"{path} is no checkpoint of a network", hint) from error
    except RuntimeError as error:
        other = "state_dict" in str(error)
        what = "holds another network's weights" if other else "is damaged, or no checkpoint"
        hint = "Name the network.pt that models.train wrote; its recipe.toml belongs beside it."
        raise ManifestError(_READ, f"{path} {what}", hint) from error


def to_onnx(network: nn.Module, side: int = recipe.SIDE) -> "onnx.ModelProto":
    """Export a network in evaluation mode: batch 1, static shape, BatchNorm folded.

    Returns
    -------
    onnx.ModelProto
        float32, with the outputs `labels`, `confidence` and `certainty`; for the *frame* family
        with its architecture in the metadata.
    """
    import io
    import warnings

    import onnx

    stream = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter by tracing is the older one; the other writes where our files lie into it.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Interface(network).eval(),
            (torch.zeros(1, 1, side, side, dtype=torch.uint8),),
            stream,
            opset_version=OPSET,
            input_names=[graph.INPUT],
            output_names=["labels", "confidence"],
            dynamo=False,
        )
    model = graph.tidied(graph.constants_as_initialisers(onnx.load_from_string(stream.getvalue())))
    if isinstance(network, Network):
        onnx.helper.set_model_props(model, {Architecture.KEY: network.architecture.to_json()})
    return graph.add_certainty(model)
