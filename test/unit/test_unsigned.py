"""INT8 files on a CPU: quantisation clips in place of the ReLUs, and whatever does not fit is left alone."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx", reason="the package onnx makes and changes model files")

from onnx import helper, numpy_helper

from image_as_imu_ros.engine import load_engine
from image_as_imu_ros.engine.model_files.unsigned import unsigned
from image_as_imu_ros.engine.model_info import METADATA_KEY, ModelInfo
from image_as_imu_ros.engine.tensors import INPUT, Tensors
from image_as_imu_ros.errors import InputError

SHIPPED = Path(__file__).parents[2] / "models" / "blur_imu_small_int8.onnx"
SCALE = 0.5
EVERY_INTEGER = np.arange(-128, 128, dtype=np.float32)[None, None, None]


def layers(scale_behind: float = SCALE) -> onnx.ModelProto:
    """Two convolutions with weight 1 and a ReLU behind the first, whose result others read, too, as our files have it.

    The input is quantised in steps of 1, the first convolution in steps of SCALE, the ReLU in steps of `scale_behind`.
    """
    constants = {
        "weight": np.ones((1, 1, 1, 1), np.float32),
        "one": np.float32(1),
        "scale": np.float32(SCALE),
        "scale_behind": np.float32(scale_behind),
        "zero": np.int8(0),
    }

    def quantisation(source: str, scale: str) -> list[onnx.NodeProto]:
        return [
            helper.make_node("QuantizeLinear", [source, scale, "zero"], [f"{source}_q"]),
            helper.make_node("DequantizeLinear", [f"{source}_q", scale, "zero"], [f"{source}_dq"]),
        ]

    nodes = [
        *quantisation("x", "one"),
        helper.make_node("Conv", ["x_dq", "weight"], ["first"]),
        *quantisation("first", "scale"),
        helper.make_node("Relu", ["first_dq"], ["positive"]),
        *quantisation("positive", "scale_behind"),
        helper.make_node("Conv", ["positive_dq", "weight"], ["second"]),
        helper.make_node("Identity", ["positive"], ["skipped"]),
    ]
    x, *outputs = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, EVERY_INTEGER.shape)
        for name in ("x", "second", "skipped")
    )
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "layers", [x], outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def op_types(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_what_was_clipped_by_the_relu_is_clipped_by_quantisation_at_the_same_bounds_in_half_the_steps():
    expected = EVERY_INTEGER.clip(0, 127 * SCALE)
    for of_file, of_copy in zip(run(layers(), x=EVERY_INTEGER), run(unsigned(layers()), x=EVERY_INTEGER), strict=True):
        np.testing.assert_allclose(of_file, expected, atol=SCALE / 2 + 1e-4)
        np.testing.assert_allclose(of_copy, expected, atol=SCALE * 127 / 255 / 2 + 1e-4)
        assert of_copy.max() == pytest.approx(127 * SCALE)
        assert of_copy.min() == 0


def test_a_layer_is_quantised_once_and_everything_is_unsigned():
    model = unsigned(layers())
    expected = "QuantizeLinear DequantizeLinear Conv QuantizeLinear DequantizeLinear DequantizeLinear Conv Identity"
    assert op_types(model) == expected.split()
    constants = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    zero_points = [constants[node.input[2]] for node in model.graph.node if node.op_type.endswith("Linear")]
    assert [(zero.dtype, int(zero)) for zero in zero_points] == [("uint8", 128)] * 2 + [("uint8", 0)] * 3


def test_the_model_that_was_passed_is_not_changed():
    model = layers()
    unsigned(model)
    assert model == layers()


@pytest.mark.parametrize("scale_behind", [SCALE / 4, 2 * SCALE])
def test_a_quantisation_behind_the_relu_with_another_range_stays(scale_behind):
    model = unsigned(layers(scale_behind))
    assert "Relu" not in op_types(model)
    second, skipped = run(model, x=EVERY_INTEGER)
    expected = EVERY_INTEGER.clip(0, 127 * SCALE)
    np.testing.assert_allclose(skipped, expected, atol=SCALE / 2)
    np.testing.assert_allclose(second, expected.clip(max=127 * scale_behind), atol=SCALE / 2 + scale_behind / 2)


def no_relu(model):
    model.graph.node[5].op_type = "Identity"


def asymmetric(model):
    [zero] = [weight for weight in model.graph.initializer if weight.name == "zero"]
    zero.CopyFrom(numpy_helper.from_array(np.array(3, np.int8), "zero"))


def negative_values_are_read_elsewhere(model):
    model.graph.node[-1].input[0] = "first_dq"


def negative_integers_are_an_output(model):
    model.graph.output.append(helper.make_tensor_value_info("first_q", onnx.TensorProto.INT8, EVERY_INTEGER.shape))


def a_nested_graph_reads_the_negative_values(model):
    def branch(name, source):
        result = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, EVERY_INTEGER.shape)
        return helper.make_graph([helper.make_node("Identity", [source], [name])], name, [], [result])

    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    branches = {"then_branch": branch("then", "first_dq"), "else_branch": branch("else", "x")}
    model.graph.node[-1].CopyFrom(helper.make_node("If", ["condition"], ["skipped"], **branches))


@pytest.mark.parametrize(
    "change",
    [
        no_relu,
        asymmetric,
        negative_values_are_read_elsewhere,
        negative_integers_are_an_output,
        a_nested_graph_reads_the_negative_values,
    ],
)
def test_a_model_without_such_layers_is_left_alone(change):
    model = layers()
    change(model)
    run(model, x=EVERY_INTEGER)
    assert unsigned(model) == model


def test_weights_in_other_files_are_not_opened():
    model = layers()
    for weight in model.graph.initializer:
        onnx.external_data_helper.set_external_data(weight, "nowhere.bin")
    assert unsigned(model) == model


def test_a_float_model_is_left_alone(conv_model):
    model = onnx.load(conv_model)
    assert unsigned(model) == model


def streaks() -> np.ndarray:
    """Noise that is blurred along the rows by 12 px, (224, 320) uint8."""
    noise = np.random.default_rng(0).random((224, 331))
    return (255 * np.lib.stride_tricks.sliding_window_view(noise, 12, 1).mean(-1)).astype(np.uint8)


def run_on_streaks(model: onnx.ModelProto) -> list[np.ndarray]:
    [info] = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    tensors = Tensors(ModelInfo.from_json(info))
    image = np.empty(tensors.shapes[INPUT], np.float32)
    tensors.write_image(streaks(), image)
    return run(model, image=image)


def test_the_shipped_model_comes_closer_to_the_one_without_quantisation():
    """The copy differs from the file by rounding only, and it rounds less: it may not be further from FP32."""
    quantised = onnx.load(SHIPPED)
    models = onnx.load(SHIPPED.with_name("blur_imu_small.onnx")), quantised, unsigned(quantised)
    for unquantised, of_file, of_copy in zip(*map(run_on_streaks, models), strict=True):
        cost = np.abs(of_file - unquantised).mean()
        assert 0 < np.abs(of_copy - unquantised).mean() < cost
        assert 0 < np.abs(of_copy - of_file).mean() < 2 * cost


@pytest.mark.parametrize("signed_is_native", ["0", "1"], ids=["x86", "ARM"])
def test_all_convolutions_of_the_shipped_model_are_computed_in_int8_without_a_relu(signed_is_native, tmp_path):
    """Before it fuses layers, ONNX Runtime makes signed activations unsigned by itself, but on x86 only."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdqisint8allowed", signed_is_native)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    content = unsigned(onnx.load(SHIPPED)).SerializeToString()
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    after_convolutions = [name for name in relus(onnx.load(SHIPPED)) if "refinement" not in name]
    found = onnx.load(tmp_path / "optimised.onnx")
    assert op_types(found).count("QLinearConv") == len(after_convolutions)
    assert all("refinement" in name for name in relus(found))


def relus(model: onnx.ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.op_type == "Relu"]


def test_the_engine_runs_int8_files_in_this_form():
    engine = load_engine(SHIPPED, "onnxruntime")
    depth = engine.infer(streaks()).depth
    engine.close()
    quantised = onnx.load(SHIPPED)
    of_file, of_copy = (run_on_streaks(model)[2][0, 0] for model in (quantised, unsigned(quantised)))
    np.testing.assert_allclose(depth, of_copy, rtol=1e-5)
    assert np.abs(depth - of_file).max() > 1e-3


def test_int8_reads_streaks_as_fp32_does_on_any_cpu():
    """Where sums of products overflow, as they do by default on x86-64 without VNNI, it reads them wrong by 1 px."""
    full, less = (
        load_engine(SHIPPED.with_name("blur_imu_small.onnx"), "onnxruntime", precision=p) for p in ("fp32", "int8")
    )
    distance = np.hypot(*(full.infer(streaks()).axial_flow - less.infer(streaks()).axial_flow))
    assert 0 < distance.mean() < 0.3


def test_the_engine_runs_int8_files_that_are_otherwise_made(conv_model, tmp_path):
    (tmp_path / "conv_int8.onnx").write_bytes(conv_model.read_bytes())
    image = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    expected, field = (
        load_engine(path, "onnxruntime").infer(image) for path in (conv_model, tmp_path / "conv_int8.onnx")
    )
    np.testing.assert_array_equal(field.axial_flow, expected.axial_flow)
    (tmp_path / "noise_int8.onnx").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"noise_int8\.onnx' cannot be loaded as ONNX"):
        load_engine(tmp_path / "noise_int8.onnx", "onnxruntime")
