"""ONNX Runtime: the engine that runs everywhere, and the second choice on a GPU."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnxruntime

from image_as_imu_ros.engine.config import EngineName
from image_as_imu_ros.engine.model_files.precision import Precision, choose_weights
from image_as_imu_ros.engine.model_files.unsigned import load_unsigned
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.engine.tensors import INPUT, Tensors
from image_as_imu_ros.errors import InputError, first_line
from image_as_imu_ros.resources import cache_folder

_CPU = "CPUExecutionProvider"
_AWAKE_US = "20"  # the longest of 5 to 100 µs that takes no time from other work on the cores
PROVIDERS = {
    EngineName.ONNXRUNTIME: _CPU,
    EngineName.ONNXRUNTIME_CUDA: "CUDAExecutionProvider",
    EngineName.ONNXRUNTIME_TENSORRT: "TensorrtExecutionProvider",
}


class OnnxRuntimeEngine:
    """Runs an ONNX model in ONNX Runtime, on the CPU or a GPU. See `Engine`.

    Input and outputs are bound once, on the device that runs the network: no allocation per frame.
    """

    def __init__(
        self,
        model: Path,
        engine: EngineName = EngineName.ONNXRUNTIME,
        threads: int = 0,
        precision: str = Precision.AUTO,
        dla_core: int = -1,
        int8_where_fast: bool = False,
    ) -> None:
        """Load a model file. The arguments are those of `load_engine`; `engine` is one of PROVIDERS.

        Raises:
            InputError: ONNX Runtime lacks the provider, or the file is not a model of this project.
        """
        fast_int8 = int8_where_fast and engine == EngineName.ONNXRUNTIME and has_vnni(_cpu_flags())
        tensorrt = engine == EngineName.ONNXRUNTIME_TENSORRT
        model, chosen = choose_weights(model, precision, tensorrt=tensorrt, fast_int8=fast_int8)
        providers = execution_providers(engine, onnxruntime.get_available_providers(), chosen, dla_core)
        device = "cpu" if engine == EngineName.ONNXRUNTIME else "cuda"
        if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds CUDA and cuDNN where pip has put them
        unsigned = engine == EngineName.ONNXRUNTIME and chosen == Precision.INT8
        self._session = _session(model, providers, threads, unsigned=unsigned)
        running = self._session.get_providers()[0]
        if running != PROVIDERS[engine]:
            raise InputError(
                f"engine {engine}: ONNX Runtime could not start {PROVIDERS[engine]} and fell back to {running}; "
                "are the CUDA, cuDNN and TensorRT libraries that it was built for installed?"
            )
        self.info = ModelInfo.of_model(model, self._session.get_modelmeta().custom_metadata_map)
        self.name = f"onnxruntime ({running.removesuffix('ExecutionProvider')}, {chosen})"
        self._tensors = Tensors(self.info)
        found = [*self._session.get_inputs(), *self._session.get_outputs()]
        self._tensors.check(
            {t.name: (list(t.shape), "float32" if t.type == "tensor(float)" else t.type.lower()) for t in found},
            f"model file {str(model)!r}",
        )
        self._bind(device)

    def _bind(self, device: str) -> None:
        self._image = np.zeros(self._tensors.shapes[INPUT], np.float32)
        bound = {
            name: onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32, device, 0)
            for name, shape in self._tensors.shapes.items()
        }
        self._input = bound.pop(INPUT)
        self._bound_outputs = bound
        self._binding = self._session.io_binding()
        self._binding.bind_ortvalue_input(INPUT, self._input)
        for name, value in bound.items():
            self._binding.bind_ortvalue_output(name, value)

    def infer(self, image: np.ndarray) -> NetworkOutput:
        """Run the network, see `Engine.infer`."""
        self._tensors.write_image(image, self._image)
        self._input.update_inplace(self._image)
        self._session.run_with_iobinding(self._binding)
        # On the CPU, numpy() is a view of the bound output, which the next frame overwrites.
        return self._tensors.network_output({name: np.array(v.numpy()) for name, v in self._bound_outputs.items()})

    def close(self) -> None:
        """Release the session, see `Engine.close`."""
        del self._binding, self._input, self._bound_outputs, self._session


def _session(
    model: Path, providers: list[tuple[str, dict]], threads: int, *, unsigned: bool
) -> onnxruntime.InferenceSession:
    """Load a model file; `unsigned` rewrites it as a CPU runs INT8 fastest.

    Raises:
        InputError: it is not an ONNX file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    for name, value in (thread_waiting(onnxruntime.__version__) | int8_sums(_cpu_flags())).items():
        options.add_session_config_entry(name, value)
    options.log_severity_level = 3
    try:
        content = load_unsigned(model) if unsigned else str(model)  # before 1.14 it knows no Path
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:  # ONNX Runtime's exception classes share no public base
        raise InputError(f"model file {str(model)!r} cannot be loaded as ONNX: {first_line(error)}") from None


def execution_providers(
    engine: EngineName, available: Collection[str], precision: Precision, dla_core: int = -1
) -> list[tuple[str, dict]]:
    """List what ONNX Runtime is asked to run the network on: the engine's provider, then what takes the other layers.

    Args:
        engine: one of PROVIDERS.
        available: providers that this ONNX Runtime was built with.
        precision: for TensorRT, any but AUTO.
        dla_core: for TensorRT, deep learning accelerator to use, −1 for none.

    Raises:
        InputError: this ONNX Runtime lacks the engine's provider.
    """
    wanted = PROVIDERS[engine]
    if wanted not in available:
        raise InputError(
            f"engine {engine} needs an ONNX Runtime with {wanted}, this one has {', '.join(available)}: "
            "install onnxruntime-gpu in place of onnxruntime"
        )
    options = {}
    if wanted == "TensorrtExecutionProvider":
        folder = str(cache_folder("onnxruntime_tensorrt"))
        options = {
            "trt_fp16_enable": precision != Precision.FP32,
            "trt_int8_enable": precision == Precision.INT8,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": folder,
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": folder,
        }
        if dla_core >= 0:
            options |= {"trt_dla_enable": True, "trt_dla_core": dla_core}
    gpu = [("CUDAExecutionProvider", {})] if engine == EngineName.ONNXRUNTIME_TENSORRT else []
    cpu = [(_CPU, {})] if engine != EngineName.ONNXRUNTIME else []
    return [(wanted, options), *gpu, *cpu]


def thread_waiting(version: str) -> dict[str, str]:
    """Choose how threads wait for work, in session settings that an ONNX Runtime of this version knows.

    Waking a thread takes longer than many a layer, so it stays awake from one layer to the next, but no longer: on a
    robot the other cores have work to do. Before 1.26 it would stay awake without limit.
    """
    if tuple(map(int, version.split(".")[:2])) < (1, 26):
        return {"session.intra_op.allow_spinning": "0"}
    return {"session.intra_op.spin_duration_us": _AWAKE_US}


def int8_sums(cpu_flags: Collection[str]) -> dict[str, str]:
    """Choose session settings under which sums of INT8 products do not overflow, by the flags of /proc/cpuinfo.

    Without VNNI, an x86-64 CPU adds them in pairs in 16 bits, unless this setting forbids it. With VNNI it does not,
    but the setting would take effect all the same and twice the time. CPUs of other kinds are not affected.
    """
    return {} if has_vnni(cpu_flags) else {"session.x64quantprecision": "1"}


def has_vnni(cpu_flags: Collection[str]) -> bool:
    """Say whether a CPU with these flags of /proc/cpuinfo adds INT8 products at once, which makes them fast."""
    return any("vnni" in flag for flag in cpu_flags)


def _cpu_flags() -> list[str]:
    """Read from /proc/cpuinfo what the CPU can do; nothing where there is no such file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return next((line.split() for line in lines if line.startswith("flags")), [])
