"""FP16 and INT8 files: what is quantised and what is not, that they say and do the same, and when they are refused."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx", reason="the package onnx makes and changes model files")
torch = pytest.importorskip("torch", reason="the training module needs torch")

from onnx import TensorProto, numpy_helper

from image_as_imu_ros.engine import load_engine
from image_as_imu_ros.engine.model_files.half import halved
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.errors import InputError
from image_as_imu_training.__main__ import main
from image_as_imu_training.export import write_onnx
from image_as_imu_training.metrics import Figures, predict
from image_as_imu_training.networks.blur_network import BlurNetwork
from image_as_imu_training.quantization import hidden_layers, write_int8, write_precision
from image_as_imu_training.samples import Samples

INFO = ModelInfo("tiny", "1", 96, 64, stride=8, sigma_scale=(1.5, 0.7), training={"data": "none"})


@pytest.fixture(scope="module")
def network() -> BlurNetwork:
    torch.manual_seed(0)
    network = BlurNetwork((16, 16, 16), (4, 4)).eval()
    for name, weights in network.named_parameters():
        if name == "head.weight" or name.endswith("bias"):
            torch.nn.init.normal_(weights, std=0.05)
    return network


@pytest.fixture(scope="module")
def frames(network) -> Samples:
    """Smooth images with labels that the network misses by 30 % in length and by 5° in orientation."""
    noise = torch.rand(8, 1, 16, 24, generator=torch.Generator().manual_seed(1))
    image = torch.nn.functional.interpolate(noise, scale_factor=4.0, mode="bicubic").clamp(0, 1)
    image = (255 * image[:, 0]).byte().numpy()
    flow, depth = np.zeros((8, 2, 8, 12), np.float16), np.ones((8, 8, 12), np.float16)
    static = np.zeros(depth.shape, bool)
    unlabelled = Samples(image, flow, depth, static, np.ones((8, 3)), np.ones((8, 6)), np.ones(8, bool))
    u, v = predict(network, unlabelled).flow.swapaxes(0, 1)
    cos, sin = 1.3 * np.cos(np.radians(10)), 1.3 * np.sin(np.radians(10))
    return replace(unlabelled, flow=np.stack([cos * u - sin * v, sin * u + cos * v], 1))


@pytest.fixture(scope="module")
def full(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.onnx"
    write_onnx(network, INFO, path)
    return path


@pytest.fixture(scope="module")
def half(full):
    path = full.with_name("half.onnx")
    onnx.save(halved(onnx.load(full)), path)
    return path


@pytest.fixture(scope="module")
def quantised(full, frames):
    path = full.with_name("quantised.onnx")
    write_int8(full, path, frames.image[:2])
    return path


def makers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {output: node for node in model.graph.node for output in node.output}


def weights(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {weight.name: weight for weight in model.graph.initializer}


@pytest.mark.parametrize("file", ["half", "quantised"])
def test_metadata_and_interface_survive(file, request, full, frames):
    engine = load_engine(request.getfixturevalue(file))
    assert engine.info == INFO
    expected, field = load_engine(full).infer(frames.image[0]), engine.infer(frames.image[0])
    assert field.axial_flow.dtype == np.float32
    typical = np.hypot(*expected.axial_flow).mean()
    assert np.abs(field.axial_flow - expected.axial_flow).mean() < 0.05 * typical
    np.testing.assert_allclose(field.sigma, expected.sigma, rtol=0.1)
    np.testing.assert_allclose(field.depth, expected.depth, rtol=0.1)
    np.testing.assert_allclose(field.depth_sigma, expected.depth_sigma, rtol=0.1)


def test_hidden_layers_are_what_feeds_a_relu(full):
    layers = hidden_layers(onnx.load(full))
    assert len(layers) == 2 * 19  # the network's convolutions, and their ReLUs
    assert not any(part in name for name in layers for part in ("spectrum", "contrast", "head"))


def test_exactly_the_hidden_layers_are_quantised_as_tensorrt_wants_it(full, quantised):
    layers = hidden_layers(onnx.load(full))
    model = onnx.load(quantised)
    made_by, constants = makers(model), weights(model)
    for node in model.graph.node:
        sources = [made_by[name] for name in node.input if name in made_by]
        reads_quantised = [source.op_type == "DequantizeLinear" for source in sources]
        if node.name in layers and node.op_type == "Conv":
            assert reads_quantised == [True, True], "the image side and the weights; the bias stays float"
            scale = constants[sources[1].input[1]]
            assert scale.dims == [len(numpy_helper.to_array(constants[node.input[2]]))], "one scale per channel"
            assert constants[made_by[sources[1].input[0]].input[0]].data_type == TensorProto.FLOAT
        elif node.name not in layers and node.op_type != "DequantizeLinear":
            assert not any(reads_quantised), node.name
        if node.op_type == "QuantizeLinear":
            zero_point = constants[node.input[2]]
            assert zero_point.data_type == TensorProto.INT8
            assert not numpy_helper.to_array(zero_point).any()


def test_onnx_runtime_computes_the_hidden_layers_in_int8(full, quantised, tmp_path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(quantised, options, providers=["CPUExecutionProvider"])
    found = {node.name for node in onnx.load(tmp_path / "optimised.onnx").graph.node if node.op_type == "QLinearConv"}
    assert found == set(hidden_layers(onnx.load(full))[::2])


def test_powers_and_exponentials_stay_float32_and_all_other_convolutions_do_not(half):
    model = onnx.load(half)
    values = onnx.shape_inference.infer_shapes(model).graph.value_info
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {name: weight.data_type for name, weight in weights(model).items()}
    for node in model.graph.node:
        found = {types.get(name) for name in (*node.input, *node.output)}
        spectra = "refinement" in node.name or (node.op_type == "Conv" and "spectrum" in node.name)
        if spectra or node.op_type in ("Log", "Exp", "Softplus"):
            assert TensorProto.FLOAT16 not in found, node.name
        elif node.op_type == "Conv":
            assert found == {TensorProto.FLOAT16}, node.name
    for tensor in (*model.graph.input, *model.graph.output):
        assert tensor.type.tensor_type.elem_type == TensorProto.FLOAT


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_cost_is_measured_and_reported(full, frames, precision, capsys):
    output = write_precision(full, precision, frames)
    assert output == full.with_name(f"tiny_{precision}.onnx")
    assert output.is_file()
    report = capsys.readouterr().out
    assert "on 7 frames" in report
    assert all(name in report for name in ("flow_error", "orientation_error_deg", "length_error"))


def test_a_file_that_costs_too_much_is_refused_and_removed(network, full, frames):
    """Held against the FP32 network's own answers, its errors are next to nothing and any others too large."""
    easy = replace(frames, flow=predict(network, frames).flow)
    with pytest.raises(InputError, match=r"tiny_int8\.onnx would cost too much accuracy: flow_error grows from 0\.000"):
        write_precision(full, "int8", easy)
    assert not full.with_name("tiny_int8.onnx").exists()


def test_what_cannot_be_quantised_or_measured_is_refused(tiny_model, full, frames, tmp_path, capsys):
    with pytest.raises(InputError, match="no hidden layers"):
        write_int8(tiny_model, tmp_path / "none.onnx", frames.image)
    with pytest.raises(InputError, match="at least two rendered frames, got 1"):
        write_precision(full, "int8", frames[:1])
    arguments = ["--checkpoint", "a.pth", "--output", "a.onnx", "--version", "1", "--precision", "int8"]
    assert main(["export", "--network", "segnext", *arguments]) == 2
    assert "precision int8 needs rendered frames" in capsys.readouterr().err


@pytest.mark.parametrize(("growth", "accepted"), [(1.04, True), (1.06, False), (float("nan"), False)])
def test_a_file_may_cost_five_per_cent_of_each_error(full, frames, monkeypatch, growth, accepted):
    before = Figures(1.0, 9.0, 2.0, 0.1, 0.5)
    after = replace(before, length_error=before.length_error * growth)
    found = iter((before, after))
    monkeypatch.setattr("image_as_imu_training.quantization._predict", lambda *_: None)
    monkeypatch.setattr("image_as_imu_training.quantization.figures", lambda *_: next(found))
    if accepted:
        assert write_precision(full, "fp16", frames).is_file()
    else:
        with pytest.raises(InputError, match=r"length_error grows from 0\.100 to .*, allowed are 5%"):
            write_precision(full, "fp16", frames)
