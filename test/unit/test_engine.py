"""A model file explains itself, runs, and is refused with a reason if it is not one of ours."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx", reason="the package onnx makes and changes model files")

from image_as_imu_ros.engine import load_engine
from image_as_imu_ros.engine.model_files.half import halved
from image_as_imu_ros.engine.model_info import METADATA_KEY, ModelInfo
from image_as_imu_ros.engine.onnx_runtime import execution_providers, int8_sums, thread_waiting
from image_as_imu_ros.errors import InputError


def changed_copy(tiny_model, tmp_path, change):
    model = onnx.load(tiny_model)
    change(model)
    onnx.save(model, tmp_path / "changed.onnx")
    return tmp_path / "changed.onnx"


def test_a_model_runs_and_its_calibration_is_applied(tiny_model, tmp_path):
    def widen(model):
        info = json.loads(model.metadata_props[0].value)
        scales = {"sigma_scale": [3.0, 2.0], "depth_sigma_scale": 4.0}
        model.metadata_props[0].value = json.dumps(info | scales)

    for path, scales in ((tiny_model, (1, 1, 1)), (changed_copy(tiny_model, tmp_path, widen), (3, 2, 4))):
        engine = load_engine(path)
        field = engine.infer(np.zeros((224, 320), np.uint8))
        assert field.axial_flow.shape == (2, 56, 80)
        assert (field.axial_flow[0] > 5).all()
        along, across, of_depth = 0.5 * np.array(scales)
        assert (field.sigma[0] == along).all()
        assert (field.sigma[1] == across).all()
        assert (field.depth == 2).all()
        assert (field.depth_sigma == of_depth).all()
        assert field.depth_log_std == pytest.approx(of_depth)
        assert engine.name.startswith("onnxruntime (")
        engine.close()


def test_an_output_is_not_overwritten_by_the_next_frame(conv_model):
    engine = load_engine(conv_model, "onnxruntime")
    black, white = np.zeros((48, 64), np.uint8), np.full((48, 64), 255, np.uint8)
    field = engine.infer(black)
    flow, depth = field.axial_flow.copy(), field.depth.copy()
    other = engine.infer(white)
    assert (field.axial_flow == flow).all()
    assert (field.depth == depth).all()
    assert (other.depth != depth).any()
    engine.close()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_models_run_without_the_package_onnx(precision):
    program = f"""
import sys
sys.modules["onnx"] = None  # importing it raises ImportError
import numpy as np
from image_as_imu_ros.engine import load_engine
from image_as_imu_ros.resources import DEFAULT_MODEL, resource
engine = load_engine(resource(DEFAULT_MODEL), "onnxruntime", precision="{precision}")
image = np.zeros((engine.info.height, engine.info.width), np.uint8)
print(np.isfinite(engine.infer(image).axial_flow).all())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stdout == "True\n", result.stderr


def test_pixels_are_normalised_as_the_model_says(conv_model):
    engine = load_engine(conv_model, "onnxruntime")
    [weights] = [onnx.numpy_helper.to_array(w) for w in onnx.load(conv_model).graph.initializer if w.name == "weights"]
    image = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    blocks = ((image / 255 - 0.5) / 0.25).reshape(6, 8, 8, 8)
    expected = np.einsum("chw,ihjw->cij", weights[:, 0], blocks)
    np.testing.assert_allclose(engine.infer(image).axial_flow, expected[:2], atol=1e-4)
    np.testing.assert_allclose(engine.infer(image).sigma, [2 * expected[2], 3 * expected[3]], atol=1e-4)


CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


def test_each_engine_of_onnx_runtime_asks_for_its_provider_first(own_cache):
    everything = [TENSORRT, CUDA, CPU]

    def asked(engine):
        return [name for name, _ in execution_providers(engine, everything, "fp16")]

    assert asked("onnxruntime") == [CPU]
    assert asked("onnxruntime_cuda") == [CUDA, CPU]
    assert asked("onnxruntime_tensorrt") == [TENSORRT, CUDA, CPU]


def test_the_precision_reaches_onnx_runtimes_tensorrt(own_cache):
    for precision, half, small in (("fp32", False, False), ("fp16", True, False), ("int8", True, True)):
        options = dict(execution_providers("onnxruntime_tensorrt", [TENSORRT, CUDA, CPU], precision))[TENSORRT]
        assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == (half, small)
        assert "trt_dla_core" not in options
    [(_, options), *_] = execution_providers("onnxruntime_tensorrt", [TENSORRT, CUDA, CPU], "int8", dla_core=1)
    assert (options["trt_dla_enable"], options["trt_dla_core"]) == (True, 1)


@pytest.mark.parametrize("engine", ["onnxruntime_cuda", "onnxruntime_tensorrt"])
def test_a_provider_that_this_onnx_runtime_lacks_is_named(engine):
    with pytest.raises(
        InputError, match=rf"engine {engine} needs an ONNX Runtime with \w+, this one has CPU.*onnxruntime-gpu"
    ):
        execution_providers(engine, [CPU], "fp32")


@pytest.mark.parametrize(
    ("version", "waiting"),
    [
        ("1.16.3", {"session.intra_op.allow_spinning": "0"}),
        ("1.25.1", {"session.intra_op.allow_spinning": "0"}),
        ("1.26.0", {"session.intra_op.spin_duration_us": "20"}),
        ("2.0.0.dev20270101", {"session.intra_op.spin_duration_us": "20"}),
    ],
)
def test_no_version_of_onnx_runtime_keeps_a_core_busy_between_frames(version, waiting):
    assert thread_waiting(version) == waiting


@pytest.mark.parametrize(
    ("cpu_flags", "settings"),
    [
        ("flags : fpu sse4_1 avx2 avx512f avx512bw", {"session.x64quantprecision": "1"}),
        ("flags : fpu avx2 avx512f avx512_vnni amx_int8", {}),
        ("flags : fpu avx2 avx_vnni", {}),
        ("", {"session.x64quantprecision": "1"}),
    ],
)
def test_int8_sums_are_widened_only_on_cpus_where_they_would_overflow(cpu_flags, settings):
    assert int8_sums(cpu_flags.split()) == settings


def test_onnx_runtime_runs_the_file_of_the_precision(conv_model, tmp_path):
    (tmp_path / "conv.onnx").write_bytes(conv_model.read_bytes())
    half = halved(onnx.load(conv_model))
    onnx.save(half, tmp_path / "conv_fp16.onnx")
    image = np.random.default_rng(0).integers(0, 256, (48, 64), np.uint8)
    full, less = (
        load_engine(tmp_path / "conv.onnx", "onnxruntime", precision=p).infer(image) for p in ("auto", "fp16")
    )
    np.testing.assert_allclose(less.axial_flow, full.axial_flow, atol=0.05)
    assert (less.axial_flow != full.axial_flow).any()
    with pytest.raises(InputError, match=r"needs the file .*conv_int8\.onnx"):
        load_engine(tmp_path / "conv.onnx", "onnxruntime", precision="int8")


def test_signed_flow_becomes_axial(tiny_model, tmp_path):
    def signed(model):
        info = json.loads(model.metadata_props[0].value)
        model.metadata_props[0].value = json.dumps(info | {"flow": "signed"})
        flow = np.broadcast_to(np.array([0.0, -6.0], np.float32)[:, None, None], (2, 56, 80))[None]
        model.graph.node[0].attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(flow)))

    field = load_engine(changed_copy(tiny_model, tmp_path, signed)).infer(np.zeros((224, 320), np.uint8))
    np.testing.assert_allclose(field.axial_flow[0], -6)
    np.testing.assert_allclose(field.axial_flow[1], 0, atol=1e-5)


def test_streak_lengths_are_corrected_by_the_models_curve_and_orientations_kept():
    info = ModelInfo("x", "1", 320, 224, length_curve=((2.0, 3.0), (10.0, 8.0)))
    lengths = np.array([0.0, 1.0, 2.0, 6.0, 10.0, 50.0])
    for angle in (0.3, 2.0, -1.0):
        unit = np.array([np.cos(angle), np.sin(angle)])[:, None]
        corrected = info.corrected((unit * lengths).astype(np.float32))
        np.testing.assert_allclose(corrected, unit * [0, 1.5, 3, 5.5, 8, 40], rtol=1e-5, atol=1e-6)
    assert ModelInfo.from_json(info.to_json()) == info


def test_a_missing_or_corrupt_or_foreign_file_is_refused_with_its_name(tiny_model, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.onnx' does not exist"):
        load_engine(tmp_path / "nowhere.onnx")
    (tmp_path / "noise.onnx").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"noise\.onnx' cannot be loaded as ONNX"):
        load_engine(tmp_path / "noise.onnx")
    (tmp_path / "half.onnx").write_bytes(tiny_model.read_bytes()[:20000])
    with pytest.raises(InputError, match=r"half\.onnx' cannot be loaded as ONNX"):
        load_engine(tmp_path / "half.onnx")
    foreign = changed_copy(tiny_model, tmp_path, lambda model: model.ClearField("metadata_props"))
    with pytest.raises(InputError, match="not made for this project"):
        load_engine(foreign)


def test_a_file_that_contradicts_its_metadata_is_refused(tiny_model, tmp_path):
    def lie(model):
        info = json.loads(model.metadata_props[0].value)
        model.metadata_props[0].value = json.dumps(info | {"width": 640})

    with pytest.raises(InputError, match="tensor 'image' should have shape"):
        load_engine(changed_copy(tiny_model, tmp_path, lie))


def test_an_unknown_engine_is_refused_by_name(tiny_model):
    with pytest.raises(InputError, match="'tpu' is not available; choose one of"):
        load_engine(tiny_model, engine="tpu")


@given(
    sigma=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
    cells=st.floats(1, 1000),
    colour=st.sampled_from([("gray", 1), ("rgb", 3)]),
    name=st.text(),
)
def test_metadata_survives_the_round_trip(sigma, cells, colour, name):
    info = ModelInfo(
        name,
        "1",
        320,
        224,
        colour=colour[0],
        mean=(0.5,) * colour[1],
        std=(0.2,) * colour[1],
        sigma_scale=sigma,
        flow_smoothing=8 * cells,
        correlated_cells=cells,
        typical_relative_sigma=1 / cells,
        training={"data": name},
    )
    assert ModelInfo.from_json(info.to_json()) == info


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not readable"),
        ("[1, 2]", "not readable"),
        ('{"name": "x"}', "not readable"),
        ('{"format": 99, "name": "x"}', "format 99"),
        ('{"format": 1, "name": "x"}', "format 1, this program reads 3; update one of them"),
        (
            '{"format": 3, "name": "x", "version": "1", "width": 320, "height": 224, "sigma_scale": [2]}',
            "sigma_scale needs a value for errors along and one for errors across",
        ),
        ('{"format": 3, "name": "x", "version": "1", "width": 320, "height": 224, "sigma_scale": 2}', "incomplete"),
        ('{"format": 3, "name": "x"}', "incomplete"),
        (
            '{"format": 3, "name": "x", "version": "1", "width": 320, "height": 224, "magic": 1}',
            "unknown fields: magic",
        ),
        ('{"format": 3, "name": "x", "version": "1", "width": 320, "height": 224, "flow": "radial"}', "radial"),
        ('{"format": 3, "name": "x", "version": "1", "width": "320", "height": 224}', "incomplete"),
        (
            '{"format": 3, "name": "x", "version": "1", "width": 32, "height": 32, "length_curve": [[5, 5], [4, 6]]}',
            "ascend",
        ),
        ('{"format": 3, "name": "x", "version": "1", "width": 32, "height": 32, "length_curve": [[5]]}', "incomplete"),
        ('{"format": 3, "name": "x", "version": "1", "width": 32, "height": 32, "flow_smoothing": -1}', "positive"),
    ],
)
def test_unusable_metadata_is_refused_with_the_reason(text, message):
    with pytest.raises(InputError, match=message):
        ModelInfo.from_json(text)


def test_the_metadata_key_is_fixed():
    assert METADATA_KEY == "image_as_imu", "files in the field carry this key"
