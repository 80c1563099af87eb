"""TensorRT engine and builder, on a stand-in for a GPU machine that is as strict as the real one is unforgiving."""

import gc
import json
import logging
import re
import subprocess
import sys
import threading
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

onnx = pytest.importorskip("onnx", reason="the package onnx makes and changes model files")

from gpu_machine import TENSORRT_VERSIONS, GpuMachine

from image_as_imu_ros import commands as command_line
from image_as_imu_ros.engine import cuda, load_engine, nvidia
from image_as_imu_ros.engine.model_files.build import progress_monitor
from image_as_imu_ros.engine.model_files.half import halved
from image_as_imu_ros.engine.model_files.onnx_file import OnnxFile
from image_as_imu_ros.engine.model_files.target import what_is_missing
from image_as_imu_ros.errors import InputError


@pytest.fixture
def machine(monkeypatch, own_cache):
    """Return a function that makes this a GPU machine, and later changes what it is."""
    made = []

    def make(*arguments, **options) -> GpuMachine:
        made.append(GpuMachine(*arguments, **options))
        made[-1].install(monkeypatch)
        return made[-1]

    yield make
    if any(one.alive for one in made):
        gc.collect()
    for one in made:
        assert not one.memory, "memory was not freed"
        assert not one.alive, "TensorRT objects were not given back"
        assert not one.graphs_alive, "graphs were not freed"
        assert one.context_depth == 0, "the context was not popped"


def images(count: int) -> list[np.ndarray]:
    return [*np.random.default_rng(7).integers(0, 256, (count, 48, 64), np.uint8)]


def assert_same(field, expected, tolerance: float = 1e-6) -> None:
    for name in ("axial_flow", "sigma", "depth", "depth_sigma"):
        np.testing.assert_allclose(getattr(field, name), getattr(expected, name), atol=tolerance)
    assert field.stride == expected.stride


def test_the_stand_in_differs_by_version_like_tensorrt_does(machine):
    offers = {}
    for version in TENSORRT_VERSIONS:
        machine(version)
        trt = sys.modules["tensorrt"]
        flags = trt.NetworkDefinitionCreationFlag, trt.BuilderFlag
        offers[version] = (
            hasattr(flags[0], "EXPLICIT_BATCH"),
            hasattr(flags[0], "STRONGLY_TYPED"),
            hasattr(flags[1], "FP16"),
            hasattr(trt, "IProgressMonitor"),
        )
    assert offers == {
        "8.6.1": (True, False, True, False),
        "10.3.0": (True, True, True, True),
        "10.13.3.9.post1": (True, True, True, True),
        "11.4.0.106": (False, True, False, True),
    }


# Running


@pytest.mark.parametrize("version", TENSORRT_VERSIONS)
@pytest.mark.parametrize("integrated", [False, True], ids=["discrete", "integrated"])
@pytest.mark.parametrize("graphs", [True, False], ids=["graph", "no graph"])
def test_fields_are_those_of_onnx_runtime(machine, conv_model, version, integrated, graphs):
    gpu = machine(version, integrated=integrated, graphs=graphs)
    engine, reference = load_engine(conv_model, "tensorrt", precision="fp32"), load_engine(conv_model, "onnxruntime")
    fields = [engine.infer(image) for image in images(4)]
    for field, image in zip(fields, images(4), strict=True):  # each is unchanged after the later ones
        assert_same(field, reference.infer(image))
    assert gpu.launches == (4 if graphs else 0)
    how = "CUDA graph" if graphs else "no CUDA graph"
    assert engine.name == f"tensorrt {version} (Orin, fp32, {how})"
    assert engine.info == reference.info
    engine.close()
    engine.close()


def test_an_integrated_gpu_copies_nothing(machine, conv_model):
    gpu = machine(integrated=True)
    engine = load_engine(conv_model, "tensorrt")
    assert len(gpu.memory) == 5
    assert not {name for _, name in gpu.used} & {"mem_alloc", "memcpy_htod_async", "memcpy_dtoh_async"}
    engine.close()


def test_nothing_is_allocated_per_frame(machine, conv_model):
    gpu = machine()
    engine = load_engine(conv_model, "tensorrt")
    engine.infer(images(1)[0])
    before = {*gpu.memory}
    for image in images(20):
        engine.infer(image)
    assert {*gpu.memory} == before
    engine.close()


def test_one_thread_loads_another_runs_and_the_context_is_nobodys_afterwards(machine, conv_model):
    gpu = machine()
    engine = load_engine(conv_model, "tensorrt", precision="fp32")
    seen = {}

    def work() -> None:
        seen["field"] = engine.infer(images(1)[0])
        seen["depth"] = gpu.context_depth

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert seen["depth"] == gpu.context_depth == 0
    assert_same(seen["field"], load_engine(conv_model, "onnxruntime").infer(images(1)[0]))
    engine.close()


def test_a_hundred_cycles_leave_nothing_behind(machine, conv_model):
    gpu = machine()
    for _ in range(100):
        engine = load_engine(conv_model, "tensorrt")
        engine.infer(images(1)[0])
        engine.close()
        assert not gpu.memory
        assert not gpu.alive
        assert not gpu.graphs_alive
    assert len(gpu.builds) == 1


@pytest.mark.parametrize("allocations", range(8))
def test_memory_that_runs_out_is_one_line_and_frees_the_rest(machine, conv_model, allocations):
    gpu = machine()
    gpu.allocations_left = allocations
    with pytest.raises(InputError, match=r"^engine tensorrt: Orin cannot run conv\.onnx: .* out of memory$"):
        load_engine(conv_model, "tensorrt")
    assert not gpu.memory


# The plan


def test_a_plan_is_built_once_and_its_side_file_tells_of_it(machine, conv_model, own_cache):
    gpu = machine("10.3.0")
    for _ in range(2):
        load_engine(conv_model, "tensorrt").close()
    assert len(gpu.builds) == 1
    [side] = own_cache.glob("*.json")
    known = json.loads(side.read_text())
    assert known["key"]["tensorrt"] == "10.3.0"
    assert known["key"]["gpu"] == "Orin"
    assert known["key"]["compute_capability"] == "8.7"
    assert known["model"]["name"] == "conv"
    assert known["build"]["recipe"] == {"strongly_typed": False, "flags": ["FP16"], "halve": False}


def test_another_tensorrt_another_gpu_and_a_changed_model_are_built_anew(machine, conv_model, tmp_path, caplog):
    load_engine(machine("10.3.0") and conv_model, "tensorrt").close()
    updated = machine("11.4.0.106")
    load_engine(conv_model, "tensorrt").close()
    assert len(updated.builds) == 1
    assert "another tensorrt (10.3.0, here 11.4.0.106)" in caplog.text
    updated.gpu_name, updated.multiprocessors = "Thor", 20
    load_engine(conv_model, "tensorrt").close()
    assert len(updated.builds) == 2
    assert "another gpu (Orin, here Thor), multiprocessors (16, here 20)" in caplog.text
    model = onnx.load(conv_model)
    model.doc_string = "trained longer"
    onnx.save(model, tmp_path / "conv.onnx")
    load_engine(tmp_path / "conv.onnx", "tensorrt").close()
    assert len(updated.builds) == 3
    assert caplog.messages[-1].endswith("the newest stored one is for another model")


def test_a_truncated_plan_never_reaches_tensorrt(machine, conv_model, own_cache, caplog):
    gpu = machine()
    load_engine(conv_model, "tensorrt").close()
    [plan] = own_cache.glob("*.plan")
    plan.write_bytes(plan.read_bytes()[:100])
    load_engine(conv_model, "tensorrt").close()
    assert len(gpu.builds) == 2
    assert "the stored one has 100 bytes" in caplog.text


def test_a_plan_that_tensorrt_refuses_is_built_again_once(machine, conv_model, caplog):
    gpu = machine()
    load_engine(conv_model, "tensorrt").close()
    gpu.refuses_plans = 1
    load_engine(conv_model, "tensorrt").close()
    assert len(gpu.builds) == 2
    assert "TensorRT refuses the stored plan" in caplog.text
    gpu.refuses_plans = 2
    with pytest.raises(
        InputError, match=r"TensorRT refuses the plan that it built: .* not compatible with this driver$"
    ):
        load_engine(conv_model, "tensorrt")


# Building


@pytest.mark.parametrize(
    ("version", "strongly_typed", "flags"),
    [
        ("8.6.1", False, {"FP16"}),
        ("10.3.0", False, {"FP16"}),
        ("10.13.3.9.post1", True, set()),
        ("11.4.0.106", True, set()),
    ],
)
def test_fp16_on_each_tensorrt(machine, conv_model, version, strongly_typed, flags):
    gpu = machine(version)
    engine = load_engine(conv_model, "tensorrt")
    [built] = gpu.builds
    assert (built.strongly_typed, built.flags) == (strongly_typed, flags)
    assert OnnxFile.read(built.model.SerializeToString()).half == strongly_typed
    assert_same(engine.infer(images(1)[0]), load_engine(conv_model, "onnxruntime").infer(images(1)[0]), 0.05)
    engine.close()


def test_building_needs_the_package_onnx_only_where_nobody_has_made_the_fp16_file(
    machine, conv_model, tmp_path, monkeypatch
):
    (tmp_path / "conv.onnx").write_bytes(conv_model.read_bytes())
    half = halved(onnx.load(conv_model))
    machine("10.13.3.9.post1")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnx", None)
        with pytest.raises(InputError, match=r"put conv_fp16\.onnx beside conv\.onnx, or install onnx"):
            load_engine(tmp_path / "conv.onnx", "tensorrt")
    onnx.save(half, tmp_path / "conv_fp16.onnx")
    machine("10.13.3.9.post1")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnx", None)
        load_engine(tmp_path / "conv.onnx", "tensorrt").close()


def quantised_copy(model_file, folder):
    """Copy the model with its weights in INT8 between QuantizeLinear and DequantizeLinear, as conv_int8.onnx."""
    model = onnx.load(model_file)
    scale = onnx.numpy_helper.from_array(np.array(0.005, np.float32), "scale")
    model.graph.initializer.append(scale)
    model.graph.node[0].input[1] = "real"
    quantise = onnx.helper.make_node("QuantizeLinear", ["weights", "scale"], ["small"])
    model.graph.node.insert(0, quantise)
    model.graph.node.insert(1, onnx.helper.make_node("DequantizeLinear", ["small", "scale"], ["real"]))
    onnx.save(model, folder / "conv_int8.onnx")
    return folder / "conv_int8.onnx"


@pytest.mark.parametrize(
    ("version", "flags"), [("8.6.1", {"INT8", "FP16"}), ("10.3.0", {"INT8", "FP16"}), ("11.4.0.106", set())]
)
def test_int8_comes_from_the_quantised_file_beside_the_model(machine, conv_model, tmp_path, version, flags):
    (tmp_path / "conv.onnx").write_bytes(conv_model.read_bytes())
    quantised = quantised_copy(conv_model, tmp_path)
    gpu = machine(version)
    engine = load_engine(tmp_path / "conv.onnx", "tensorrt", precision="int8")
    [built] = gpu.builds
    assert built.flags == flags
    assert built.model == onnx.load(quantised)
    assert_same(engine.infer(images(1)[0]), load_engine(quantised, "onnxruntime").infer(images(1)[0]))
    engine.close()


def test_the_timing_cache_is_kept_unless_tensorrt_refuses_it(machine, conv_model, own_cache):
    gpu = machine()
    for precision in ("fp16", "fp32"):
        load_engine(conv_model, "tensorrt", precision=precision).close()
    assert [built.timing_cache._content for built in gpu.builds] == [b"", b"TIMES"]
    [file] = own_cache.glob("timing-*")
    file.write_bytes(b"from elsewhere")
    assert command_line.run("build_engine", [str(conv_model)]) == 0
    assert gpu.builds[-1].timing_cache._content == b""
    assert file.read_bytes() == b"TIMES"


def test_the_command_builds_with_its_options_and_the_engine_finds_the_plan(machine, conv_model, capsys):
    gpu = machine(dla_cores=2)
    options = [str(conv_model), "--precision", "fp16", "--workspace", "512", "--dla-core", "1"]
    assert command_line.run("build_engine", options) == 0
    [built] = gpu.builds
    assert built.workspace == 512 * 2**20
    assert (built.device.name, built.dla_core) == ("DLA", 1)
    assert "GPU_FALLBACK" in built.flags
    assert "conv-fp16-" in capsys.readouterr().out
    load_engine(conv_model, "tensorrt", dla_core=1).close()
    assert len(gpu.builds) == 1
    load_engine(conv_model, "tensorrt").close()
    assert len(gpu.builds) == 2, "a plan for the GPU alone is another one"


def test_an_accelerator_that_is_not_there_is_refused(machine, conv_model):
    machine(dla_cores=0)
    with pytest.raises(InputError, match="dla_core is 0, this GPU has 0 of them"):
        load_engine(conv_model, "tensorrt", dla_core=0)


def test_what_tensorrt_cannot_read_is_refused_with_its_reason(machine, conv_model, tmp_path):
    model = onnx.load(conv_model)
    model.graph.node[0].op_type = "BitShift"
    onnx.save(model, tmp_path / "shift.onnx")
    machine()
    with pytest.raises(InputError, match=r"TensorRT 10\.3\.0 cannot read .*shift\.onnx': no importer for BitShift"):
        load_engine(tmp_path / "shift.onnx", "tensorrt")


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_file_that_is_no_model_is_refused(machine, tmp_path, content):
    (tmp_path / "noise.onnx").write_bytes(content)
    machine()
    with pytest.raises(InputError, match=r"noise\.onnx'"):
        load_engine(tmp_path / "noise.onnx", "tensorrt")


def test_a_plan_that_contradicts_its_metadata_is_refused(machine, conv_model, tmp_path):
    model = onnx.load(conv_model)
    model.metadata_props[0].value = model.metadata_props[0].value.replace('"stride": 8', '"stride": 4')
    onnx.save(model, tmp_path / "lies.onnx")
    machine()
    with pytest.raises(InputError, match=r"tensor 'flow' should have shape \[1, 2, 12, 16\]"):
        load_engine(tmp_path / "lies.onnx", "tensorrt")


def test_two_engines_that_start_at_once_build_one_plan(machine, conv_model):
    gpu = machine()
    one_builds, engines = threading.Event(), []

    def hold() -> None:
        one_builds.set()
        second.start()

    def load() -> None:
        engines.append(load_engine(conv_model, "tensorrt"))

    gpu.build_hook = hold
    second = threading.Thread(target=load)
    load()
    second.join()
    assert one_builds.is_set()
    assert len(engines) == 2
    assert len(gpu.builds) == 1
    for engine in engines:
        engine.close()


# Where it cannot run


def test_what_is_missing_is_named_in_one_line(conv_model):
    if not what_is_missing():
        pytest.skip("TensorRT, PyCUDA and a GPU are here")
    with pytest.raises(InputError, match=r"^engine tensorrt cannot be used here: no .+$") as refusal:
        load_engine(conv_model, "tensorrt")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("module", "phrase"), [("tensorrt", "no TensorRT's Python package"), ("pycuda.driver", "no PyCUDA")]
)
def test_each_missing_package_is_named(machine, conv_model, monkeypatch, module, phrase):
    machine()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"cannot be used here: {phrase} \(.*\)$"):
        load_engine(conv_model, "tensorrt")


def test_auto_takes_tensorrt_where_it_runs(machine, conv_model):
    machine()
    engine = load_engine(conv_model)
    assert engine.name.startswith("tensorrt 10.3.0")
    engine.close()


def test_auto_falls_back_to_onnx_runtime_and_says_so(machine, conv_model, monkeypatch, caplog):
    machine()
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert load_engine(conv_model).name == "onnxruntime (CPU, fp32)"
    assert {record.levelno for record in caplog.records} == {logging.WARNING}, "there is a GPU, and it lies idle"
    assert "engine auto: engine tensorrt cannot be used here: no TensorRT" in caplog.messages[0]
    assert caplog.messages[-1] == "engine auto: ONNX Runtime on the CPU it is"


def test_auto_says_it_softly_where_there_is_no_gpu(conv_model, caplog):
    if cuda.why_no_gpu() is None:
        pytest.skip("there is a GPU")
    with caplog.at_level(logging.INFO):
        assert load_engine(conv_model).name == "onnxruntime (CPU, fp32)"
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    assert caplog.messages[-1] == "engine auto: ONNX Runtime on the CPU it is"


def test_nothing_imports_cuda_at_import_time():
    program = """
import pkgutil, sys, image_as_imu_ros.engine
for module in pkgutil.iter_modules(image_as_imu_ros.engine.__path__, "image_as_imu_ros.engine."):
    __import__(module.name)
import image_as_imu_ros.estimation.estimator, image_as_imu_ros.evaluation.benchmarks.engines
print(sorted(name for name in sys.modules if name.split(".")[0] in ("tensorrt", "pycuda", "onnx")))
print("libcuda" in open("/proc/self/maps").read())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\nFalse\n"


# The real interfaces


@pytest.fixture
def everything_used(machine, conv_model, tmp_path):
    """(class, name) of all that building and running touched, on the version of the lean runtime's interface."""
    gpu = machine("10.13.3.9.post1", dla_cores=1)
    assert command_line.run("build_engine", [str(conv_model), "--workspace", "64", "--dla-core", "0"]) == 0
    engine = load_engine(conv_model, "tensorrt", dla_core=0)
    engine.infer(images(1)[0])
    engine.close()
    return gpu.used


def test_the_real_runtime_has_all_that_is_used(everything_used):
    lean = pytest.importorskip("tensorrt_lean_bindings", reason="pip install -e '.[test]' brings it, on x86-64 Linux")
    runtime_classes = {"Runtime", "ICudaEngine", "IExecutionContext"}
    used = {(name, attribute) for name, attribute in everything_used if name in runtime_classes}
    assert len(used) >= 8
    for name, attribute in used:
        assert hasattr(getattr(lean, name), attribute), f"{name}.{attribute}"
    assert hasattr(lean, "nptype")
    assert {*lean.ILogger.Severity.__members__} >= {"INTERNAL_ERROR", "ERROR", "WARNING"}
    # What the builder shares with the lean runtime.
    for name in ("IProgressMonitor", "ITimingCache", "BuilderFlag", "MemoryPoolType", "DeviceType"):
        for attribute in {attribute for owner, attribute in everything_used if owner == name}:
            assert hasattr(getattr(lean, name), attribute), f"{name}.{attribute}"


def test_our_logger_and_progress_monitor_are_accepted_by_the_real_bindings(monkeypatch, caplog):
    lean = pytest.importorskip("tensorrt_lean_bindings", reason="pip install -e '.[test]' brings it, on x86-64 Linux")
    monkeypatch.setitem(sys.modules, "tensorrt", lean)
    nvidia.tensorrt_logger.cache_clear()
    logger = nvidia.tensorrt_logger()
    severity = lean.ILogger.Severity
    for level in (severity.VERBOSE, severity.INFO, severity.WARNING, severity.ERROR):
        logger.log(level, f"{level.name} of TensorRT\nand more")
    assert [line.split()[0] for line in logger.lines] == ["WARNING", "ERROR"]
    assert logger.last == "ERROR of TensorRT"
    nvidia.tensorrt_logger.cache_clear()
    with tqdm(file=StringIO()) as bar:
        monitor = progress_monitor(lean, bar)
        monitor.phase_start("Building", None, 3)
        assert monitor.step_complete("Building", 0)
        monitor.phase_finish("Building")
        assert (bar.n, bar.total) == (1, 3)
    assert lean.nptype(lean.DataType.FLOAT) == np.float32


def test_the_driver_has_the_functions_that_are_called():
    nvidia = pytest.importorskip("nvidia", reason="pip install -e '.[test]' brings it, on x86-64 Linux")
    headers = [header for path in nvidia.__path__ for header in Path(path).glob("*/include/cuda.h")]
    if not headers:
        pytest.skip("the package nvidia-cuda-runtime brings cuda.h")
    header = headers[0].read_text()
    called = {*re.findall(r"driver\.(cu\w+)", Path(cuda.__file__).read_text())}
    assert len(called) >= 7
    for name in called:
        assert re.search(rf"\b{name}\b", header), name
    assert re.search(r"CU_STREAM_CAPTURE_MODE_THREAD_LOCAL *= 1\b", header)
    assert re.search(r"CU_STREAM_NON_BLOCKING *= 0x1\b", header)
