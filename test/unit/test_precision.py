"""Which file serves a precision, and how each TensorRT is brought to it."""

from contextlib import suppress
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx", reason="the package onnx makes and changes model files")

from image_as_imu_ros.engine.model_files.half import halved
from image_as_imu_ros.engine.model_files.onnx_file import OnnxFile
from image_as_imu_ros.engine.model_files.precision import Recipe, choose_weights, recipe
from image_as_imu_ros.errors import InputError

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.mark.parametrize(
    ("files", "model", "precision", "tensorrt", "expected"),
    [
        ("a", "a", "auto", True, ("a", "fp16")),
        ("a", "a", "auto", False, ("a", "fp32")),
        ("a a_fp16 a_int8", "a", "auto", True, ("a_fp16", "fp16")),
        ("a a_fp16 a_int8", "a", "auto", False, ("a", "fp32")),
        ("a a_fp16 a_int8", "a", "int8", False, ("a_int8", "int8")),
        ("a a_fp16 a_int8", "a_int8", "auto", True, ("a_int8", "int8")),
        ("a a_fp16 a_int8", "a_int8", "fp32", True, ("a", "fp32")),
        ("a_int8", "a_int8", "auto", False, ("a_int8", "int8")),
        ("a a_fp16", "a", "fp16", False, ("a_fp16", "fp16")),
        ("a", "a", "fp16", True, ("a", "fp16")),
    ],
)
def test_the_file_is_chosen_by_its_name(tmp_path, files, model, precision, tensorrt, expected):
    for name in files.split():
        (tmp_path / f"{name}.onnx").touch()
    chosen, chosen_precision = choose_weights(tmp_path / f"{model}.onnx", precision, tensorrt=tensorrt)
    assert (chosen.stem, chosen_precision) == expected


@pytest.mark.parametrize(
    ("files", "model", "precision", "expected"),
    [
        ("a a_int8", "a", "auto", ("a_int8", "int8")),
        ("a", "a", "auto", ("a", "fp32")),
        ("a a_int8", "a", "fp32", ("a", "fp32")),
        ("a_fp16 a_int8", "a_fp16", "auto", ("a_fp16", "fp16")),
    ],
)
def test_where_int8_is_fast_it_is_what_auto_means_of_a_model_that_has_it(tmp_path, files, model, precision, expected):
    for name in files.split():
        (tmp_path / f"{name}.onnx").touch()
    chosen, chosen_precision = choose_weights(tmp_path / f"{model}.onnx", precision, tensorrt=False, fast_int8=True)
    assert (chosen.stem, chosen_precision) == expected


@pytest.mark.parametrize(
    ("model", "precision", "tensorrt"), [("a", "int8", True), ("a", "fp16", False), ("a_int8", "fp16", True)]
)
def test_a_precision_without_its_file_is_refused_by_the_name_of_the_file(tmp_path, model, precision, tensorrt):
    (tmp_path / f"{model}.onnx").touch()
    with pytest.raises(
        InputError, match=rf"precision {precision} of {model}\.onnx needs the file .*a_{precision}\.onnx"
    ):
        choose_weights(tmp_path / f"{model}.onnx", precision, tensorrt=tensorrt)


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(InputError, match="precision is 'fp8', expected one of: auto, fp32, fp16, int8"):
        choose_weights(tmp_path / "a.onnx", "fp8", tensorrt=True)


@pytest.mark.parametrize("version", ["8.6.2", "10.3.0", "10.11.0.33"])
def test_builder_flags_choose_the_precision_of_older_tensorrt(version):
    assert recipe(version, "fp32", quantised=False, half=False) == Recipe(strongly_typed=False)
    assert recipe(version, "fp16", quantised=False, half=False) == Recipe(strongly_typed=False, flags=("FP16",))
    assert recipe(version, "int8", quantised=True, half=False) == Recipe(False, flags=("INT8", "FP16"))


@pytest.mark.parametrize("version", ["10.12.0.36", "10.13.3.9.post1", "11.4.0.106"])
def test_the_types_in_the_file_choose_the_precision_of_newer_tensorrt(version):
    assert recipe(version, "fp32", quantised=False, half=False) == Recipe(strongly_typed=True)
    assert recipe(version, "fp16", quantised=False, half=False) == Recipe(strongly_typed=True, halve=True)
    assert recipe(version, "fp16", quantised=False, half=True) == Recipe(strongly_typed=True)
    assert recipe(version, "int8", quantised=True, half=False) == Recipe(strongly_typed=True)


def test_the_types_of_an_fp16_file_are_kept_wherever_tensorrt_can():
    assert recipe("10.3.0", "fp16", quantised=False, half=True) == Recipe(strongly_typed=True)
    assert recipe("8.6.2", "fp16", quantised=False, half=True) == Recipe(strongly_typed=False, flags=("FP16",))


@pytest.mark.parametrize(
    ("precision", "quantised", "half", "message"),
    [
        ("int8", False, False, "does not hold quantised weights"),
        ("fp16", True, False, "holds quantised weights"),
        ("fp32", False, True, "holds FP16 weights"),
    ],
)
def test_a_file_that_contradicts_the_precision_is_refused(precision, quantised, half, message):
    with pytest.raises(InputError, match=message):
        recipe("10.3.0", precision, quantised=quantised, half=half)


def test_a_halved_model_takes_and_gives_float32_and_agrees(conv_model):
    full = onnx.load(conv_model)
    half = halved(onnx.load(conv_model))
    assert OnnxFile.read(half.SerializeToString()).half
    assert not OnnxFile.read(full.SerializeToString()).half
    assert half.metadata_props == full.metadata_props
    image = np.random.default_rng(1).normal(size=(1, 1, 48, 64)).astype(np.float32)
    answers = []
    for model in (full, half):
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        answers.append(session.run(None, {"image": image}))
    for ours, theirs in zip(*answers, strict=True):
        assert theirs.dtype == np.float32
        np.testing.assert_allclose(theirs, ours, atol=1e-2)
        assert (theirs != ours).any()


def test_the_shipped_files_say_what_they_are_without_the_package_onnx():
    """Held against the package onnx, which reads the whole file."""
    for path in sorted(MODELS.glob("*.onnx")):
        found, model = OnnxFile.read(path.read_bytes()), onnx.load(path)
        assert found.metadata == {entry.key: entry.value for entry in model.metadata_props}
        assert found.half == any(weights.data_type == weights.FLOAT16 for weights in model.graph.initializer)
        assert found.quantised == any(node.op_type == "QuantizeLinear" for node in model.graph.node)
        assert (found.half, found.quantised) == (path.stem.endswith("_fp16"), path.stem.endswith("_int8"))


@given(content=st.binary(max_size=64))
def test_what_is_no_onnx_file_is_refused(content):
    with suppress(InputError):
        OnnxFile.read(content)
