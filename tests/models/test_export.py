"""The exported files: what they say, what runs them, and that all say the same."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from appliance.config import Engine
from appliance.engine.backend import open_backend
from appliance.errors import ManifestError
from appliance.manifest import current_model, load_manifest
from models import corrections, graph
from models.export import export, main, read
from tests.models.drawings import drawn_frames
from tests.phantom import cine_loop

pytestmark = pytest.mark.models

FILES = {
    "network.onnx",
    "network.f16.onnx",
    "network.int8.openvino.zip",
    "network.int8.onnx",
}


@pytest.fixture(scope="module")
def network():
    """The released network, float32, complete."""
    return read(current_model("first-network-1.0.0").folder / "network.onnx")


@pytest.fixture(scope="module")
def bare(network):
    """The same without what the export added."""
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(network)
    for part in (made.graph.node, made.graph.initializer):
        for item in [i for i in part if i.name.startswith("certainty")]:
            part.remove(item)
    for node in [n for n in made.graph.node if n.output[0].startswith("certainty")]:
        made.graph.node.remove(node)
    made.graph.output.remove(next(o for o in made.graph.output if o.name == "certainty"))
    return made


@pytest.fixture(scope="module")
def frames():
    grey = cine_loop(frames=3, rate_hz=3, rows=384, columns=512).grey
    return [np.ascontiguousarray(picture[:, 64:448]) for picture in grey]


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """Phantoms laid out like CAMUS: two hearts to calibrate with, one to measure on."""
    folder = tmp_path_factory.mktemp("drawings")
    made = drawn_frames(loops=3, frames=3)
    splits = {"phantom0": "train", "phantom1": "train", "phantom2": "validation"}
    corrections.add(
        folder,
        [replace(item, row=replace(item.row, split=splits[item.row.patient])) for item in made],
    )
    return folder


@pytest.fixture(scope="module")
def like():
    """A gate as wide as a phantom needs: three frames nobody trained on."""
    model = current_model("first-network-1.0.0")
    wide = model.model_copy(
        update={"gates": model.gates.model_copy(update={"precision_loss": 5.0})}
    )
    wide._folder = model.folder
    return wide


@pytest.fixture(scope="module")
def released(drawings, like, tmp_path_factory):
    """A release made of the released network, with every file."""
    source = like.folder / "network.onnx"
    return export(source, tmp_path_factory.mktemp("made") / "again-1.2.3", drawings, like)


def infer(model, frame, outputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(outputs, {"frame": frame[None, None]})


def agreement(mine, theirs):
    """Least overlap of a structure, with every structure there."""
    assert set(np.unique(theirs)) == {0, 1, 2, 3}, "parity of one class means nothing"
    return min(
        ((mine == label) & (theirs == label)).sum() / ((mine == label) | (theirs == label)).sum()
        for label in (1, 2, 3)
    )


def test_labels_and_confidence_stay_the_same_to_the_bit(bare, frames):
    made = graph.add_certainty(bare)
    before = infer(bare, frames[0], ["labels", "confidence"])
    after = infer(made, frames[0], ["labels", "confidence"])
    for one, other in zip(before, after, strict=True):
        assert one.tobytes() == other.tobytes()


def test_certainty_is_the_winning_probability_over_blocks(bare, frames):
    import onnx

    probed = onnx.ModelProto()
    probed.CopyFrom(bare)
    winning = next(n.input[0] for n in bare.graph.node if n.op_type == "ReduceMax")
    probed.graph.output.append(onnx.helper.make_empty_tensor_value_info(winning))
    (softmax,) = infer(probed, frames[0], [winning])
    side = 384 // graph.BLOCK
    blocks = softmax.max(axis=1).reshape(side, graph.BLOCK, side, graph.BLOCK).mean(axis=(1, 3))
    (certainty,) = infer(graph.add_certainty(bare), frames[0], ["certainty"])
    assert certainty.shape == (1, side, side)
    assert np.abs(certainty[0] - 255 * blocks).max() <= 1.001


def test_a_graph_that_has_the_output_already_is_refused(network):
    with pytest.raises(ManifestError, match="softmax"):
        graph.add_certainty(network)


def test_weights_stored_in_float16_are_half_the_size_and_compute_in_float32(network, frames):
    packed = graph.packed(network)
    assert packed.ByteSize() < 0.52 * network.ByteSize()
    unpacked = graph.unpacked(packed)
    assert graph.unpacked(unpacked) is unpacked
    names = [node.output[0] for node in network.graph.node]
    assert [node.output[0] for node in unpacked.graph.node] == names
    for frame in frames:
        stored, again, full = (infer(m, frame, ["labels"])[0] for m in (packed, unpacked, network))
        assert stored.tobytes() == again.tobytes()
        assert agreement(stored, full) > 0.999


def test_a_network_goes_on_learning_from_the_released_file(released, network):
    from onnx import numpy_helper

    from models.network import from_onnx

    loaded = from_onnx(graph.load(released.folder / "network.onnx"))
    name = next(node.input[1] for node in network.graph.node if node.op_type == "Conv")
    item = next(item for item in network.graph.initializer if item.name == name)
    weight = numpy_helper.to_array(item)
    assert np.array_equal(loaded.convolutions()[0].weight.detach(), weight.astype(np.float16))


def test_a_release_has_every_file_and_says_what_it_is(released, like, drawings):
    assert set(released.files) == FILES | {"view.onnx"}  # that of the model it is like
    assert (released.name, released.version) == ("again", "1.2.3")
    assert released.structures == like.structures
    assert released.lineage[:-1] == like.lineage
    source = hashlib.sha256((like.folder / "network.onnx").read_bytes()).hexdigest()
    assert source in released.lineage[-1]
    lineage = json.loads((released.folder / "lineage.json").read_text())
    assert lineage["source_sha256"] == source
    assert lineage["data_sha256"] in released.lineage[-1]
    assert like.citation in (released.folder / "README.md").read_text()
    for variant in released.variants:
        assert variant.accuracy, f"{variant.precision} was released unmeasured"
        assert {a.frames for a in variant.accuracy} == {3}


@pytest.mark.parametrize(
    ("backend", "precision", "least"),
    [
        ("openvino", "f32", 0.995),
        ("openvino", "bf16", 0.98),
        ("openvino", "int8", 0.9),
        ("onnxruntime", "f16", 0.98),
        ("onnxruntime", "int8", 0.9),
    ],
)
def test_every_file_draws_what_float32_draws(released, frames, backend, precision, least):
    if precision not in {v.precision for v in released.variants}:
        pytest.skip("this CPU doesn't compute in bf16")
    reference = open_backend(released, Engine(backend="onnxruntime", precision="f32"))
    found = open_backend(released, Engine(backend=backend, precision=precision))
    assert (found.name, found.precision) == (backend, precision)
    for frame in frames:
        mine, theirs = found.infer(frame), reference.infer(frame)
        assert agreement(mine.labels, theirs.labels) > least
        assert np.abs(mine.confidence - theirs.confidence).max() < 0.05


@pytest.mark.parametrize("file", ["network.onnx", "network.f16.onnx", "network.int8.onnx"])
def test_tensorrt_parses_and_builds_the_onnx(released, file):
    plan, tensors = built(released.folder / file)
    assert plan > 1_000_000
    assert tensors == {
        "frame": ("UINT8", (1, 1, 384, 384)),
        "labels": ("UINT8", (1, 384, 384)),
        "confidence": ("FLOAT", (1, 4)),
        "certainty": ("UINT8", (1, 96, 96)),
    }


def test_half_the_precision_is_half_the_plan(released):
    full, _ = built(released.folder / "network.onnx")
    half, _ = built(released.folder / "network.f16.onnx")
    assert half < 0.75 * full, "the convolutions still compute in float32"


def built(path):
    """Size of the plan that TensorRT for RTX makes of a file, and its inputs and outputs."""
    trt = pytest.importorskip(
        "tensorrt_rtx_bindings",
        reason="TensorRT for RTX isn't installed: pip install 'echocart[test-models]'",
    )
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    made = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(made, trt.Logger(trt.Logger.ERROR))
    if not parser.parse_from_file(str(path)):
        pytest.fail("; ".join(parser.get_error(i).desc() for i in range(parser.num_errors)))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    plan = builder.build_serialized_network(made, config)
    assert plan is not None, "it parses, but no plan can be built"
    every = [made.get_input(i) for i in range(made.num_inputs)]
    every += [made.get_output(i) for i in range(made.num_outputs)]
    tensors = {t.name: (str(t.dtype).rpartition(".")[2], tuple(t.shape)) for t in every}
    return plan.nbytes, tensors


def test_the_same_words_give_the_same_bytes(released, drawings, like, tmp_path):
    again = export(like.folder / "network.onnx", tmp_path / "again-1.2.3", drawings, like)
    for file in sorted(path.name for path in released.folder.iterdir()):
        assert (again.folder / file).read_bytes() == (released.folder / file).read_bytes(), file


def test_a_precision_that_loses_too_much_is_not_released(drawings, like, network, tmp_path):
    from models.proof import Proof
    from models.release import Release

    said = []
    release = Release(like, tmp_path, Proof.of_dataset(drawings), said.append)
    release.add_full(network)
    blind = graph.unpacked(network)
    for item in network.graph.initializer:
        if len(item.dims) == 4 and item.dims[0] == 4:  # the last convolution knows no class
            target = next(i for i in blind.graph.initializer if i.name == item.name)
            target.raw_data = bytes(len(item.raw_data))
    data = blind.SerializeToString()
    spoiled = release._write("int8.onnx", "int8", ("onnxruntime",), data)
    assert not release._add(spoiled)
    assert "Dice points" in said[-1]
    assert "int8" not in {variant.precision for variant in release.variants}
    assert not (tmp_path / "network.int8.onnx").exists()


def test_a_trained_network_keeps_its_answer_and_its_architecture(frames, tmp_path):
    import torch

    from models.interface import to_onnx
    from models.network import Architecture, Network
    from models.training import predict

    torch.manual_seed(0)
    shape = Architecture(filters=(8, 8, 16, 16, 16), deep=(0, 0, 0, 1, 1), subpixel=True)
    trained = Network(batch_norm=True, architecture=shape)
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    path = tmp_path / "network.pt"
    torch.save({"state": trained.state_dict(), "architecture": shape.to_json()}, path)
    model = read(path)
    assert Architecture.of(model) == shape
    assert not {n.op_type for n in model.graph.node} & {"BatchNormalization", "Constant"}
    assert to_onnx(trained.eval()).SerializeToString() == model.SerializeToString()
    (labels,) = infer(model, frames[0], ["labels"])
    assert (labels[0] == predict(trained, frames[0])).mean() > 0.999
    built_of = tmp_path / "network.onnx"
    built_of.write_bytes(graph.half(model).SerializeToString())
    built(built_of)


def test_without_frames_there_are_no_8_bits_and_nothing_is_taken_unasked(like, tmp_path, capsys):
    source = like.folder / "network.onnx"
    assert main([str(source), "--out", str(tmp_path / "plain-1.0.0")]) == 0
    assert "int8: not made" in capsys.readouterr().out
    made = load_manifest(tmp_path / "plain-1.0.0")
    assert {variant.precision for variant in made.variants} == {"f32", "bf16", "f16"}
    assert open_backend(made).precision == "f32"


def test_no_file_tells_where_it_was_made(released):
    here = str(released.folder.parent.parent).encode()
    for file in released.folder.iterdir():
        data = file.read_bytes()
        if file.suffix == ".zip":
            shutil.unpack_archive(file, released.folder.parent / "ir")
            data = (released.folder.parent / "ir" / "network.xml").read_bytes()
        assert here not in data
        assert b"site-packages" not in data


def bad(tmp_path, kind):
    """A file that is no network, and what the line about it says."""
    import torch

    path = tmp_path / "bad.pt"
    if kind == "text":
        path.write_text("weights")
    elif kind == "cut":
        torch.save({"state": {"a": torch.zeros(1000)}}, path)
        path.write_bytes(path.read_bytes()[:600])
    elif kind == "other":
        torch.save({"state": {"a": torch.zeros(3)}}, path)
    elif kind == "no onnx":
        path = path.with_suffix(".onnx")
        path.write_text("weights")
    elif kind == "half":
        path = path.with_suffix(".onnx")
        source = current_model("first-network-1.0.0").folder / "network.onnx"
        path.write_bytes(graph.half(read(source)).SerializeToString())
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("absent", "No such file"),
        ("text", "no checkpoint"),
        ("cut", "no checkpoint"),
        ("other", "another network"),
        ("no onnx", "is no ONNX"),
        ("half", "less than float32"),
    ],
)
def test_what_is_no_network_gets_one_line(tmp_path, capsys, kind, says):
    path = bad(tmp_path, kind)
    assert main([str(path), "--out", str(tmp_path / "made-1.0.0")]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "made-1.0.0").exists()


def test_a_folder_without_a_version_or_taken_is_refused(tmp_path, capsys):
    source = current_model("first-network-1.0.0").folder / "network.onnx"
    assert main([str(source), "--out", str(tmp_path / "made")]) == 1
    assert "NAME-VERSION" in capsys.readouterr().err
    (tmp_path / "made-1.0.0").mkdir()
    assert main([str(source), "--out", str(tmp_path / "made-1.0.0")]) == 1
    assert "there already" in capsys.readouterr().err
