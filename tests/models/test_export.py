import numpy as np
import pytest

from appliance.errors import ManifestError
from appliance.manifest import current_model
from models.export import BLOCK, add_certainty, main
from tests.phantom import cine_loop

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def released():
    import onnx

    return onnx.load(current_model().folder / "network.onnx")


@pytest.fixture(scope="module")
def trained(released):
    """The graph as it was trained: without what the export added."""
    import onnx

    bare = onnx.ModelProto()
    bare.CopyFrom(released)
    for part in (bare.graph.node, bare.graph.initializer):
        for item in [i for i in part if str(getattr(i, "name", "")).startswith("certainty")]:
            part.remove(item)
    for node in [n for n in bare.graph.node if n.output[0].startswith("certainty")]:
        bare.graph.node.remove(node)
    bare.graph.output.remove(next(o for o in bare.graph.output if o.name == "certainty"))
    return bare


def infer(model, frame, outputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(outputs, {"frame": frame[None, None]})


@pytest.fixture(scope="module")
def frame():
    grey = cine_loop(frames=1, rows=384, columns=512).grey[0]
    return np.ascontiguousarray(grey[:, 64:448])


def test_labels_and_confidence_stay_the_same_to_the_bit(trained, frame):
    made = add_certainty(trained)
    before = infer(trained, frame, ["labels", "confidence"])
    after = infer(made, frame, ["labels", "confidence"])
    for one, other in zip(before, after, strict=True):
        assert one.tobytes() == other.tobytes()


def test_certainty_is_the_winning_probability_over_blocks(trained, frame):
    import onnx

    probed = onnx.ModelProto()
    probed.CopyFrom(trained)
    winning = next(n.input[0] for n in trained.graph.node if n.op_type == "ReduceMax")
    probed.graph.output.append(onnx.helper.make_empty_tensor_value_info(winning))
    (softmax,) = infer(probed, frame, [winning])
    side = 384 // BLOCK
    blocks = softmax.max(axis=1).reshape(side, BLOCK, side, BLOCK).mean(axis=(1, 3))
    (certainty,) = infer(add_certainty(trained), frame, ["certainty"])
    assert certainty.shape == (1, side, side)
    assert np.abs(certainty[0] - 255 * blocks).max() <= 1.001


def test_the_released_file_is_what_the_command_makes(trained, released, tmp_path):
    source, target = tmp_path / "in.onnx", tmp_path / "out.onnx"
    source.write_bytes(trained.SerializeToString())
    assert main([str(source), str(target)]) == 0
    assert target.read_bytes() == released.SerializeToString(deterministic=True)


def test_a_graph_that_has_the_output_already_is_refused(released, tmp_path, capsys):
    with pytest.raises(ManifestError):
        add_certainty(released)
    path = current_model().folder / "network.onnx"
    assert main([str(path), str(tmp_path / "out.onnx")]) == 1
    assert "labels" in capsys.readouterr().err


def test_wrong_arguments_say_how_to_call_it(capsys):
    assert main([]) == 2
    assert "usage" in capsys.readouterr().err
