"""ONNX model → TensorRT plan. On TensorRT 8.6 to 11; `tensorrt` is imported when something is built."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path

from tqdm import tqdm

from image_as_imu_ros.engine import cuda
from image_as_imu_ros.engine.model_files import plans, precision
from image_as_imu_ros.engine.model_files.half import halved
from image_as_imu_ros.engine.model_files.plans import Plan, PlanKey
from image_as_imu_ros.engine.model_info import METADATA_KEY, ModelInfo
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.resources import cache_folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Target:
    """A model file and the TensorRT and GPU that a plan of it is for.

    Attributes:
        model: ONNX file. content: its bytes.
        precision: "fp32", "fp16" or "int8".
        dla_core: deep learning accelerator that runs what it can, −1 for none. The GPU runs the rest.
        tensorrt: version.
    """

    model: Path
    content: bytes
    precision: str
    dla_core: int
    tensorrt: str
    gpu: cuda.Gpu

    @classmethod
    def here(cls, model: Path, wanted_precision: str, dla_core: int) -> Target:
        """This machine's.

        Raises:
            InputError: TensorRT, PyCUDA or a GPU is missing here, or the model file is.
        """
        missing = what_is_missing()
        if missing:
            raise InputError(f"engine tensorrt cannot be used here: {'; '.join(missing)}")
        import tensorrt

        model, chosen = precision.choose_weights(model, wanted_precision, tensorrt=True)
        if not model.is_file():
            raise InputError(f"model file {str(model)!r} does not exist")
        return cls(model, model.read_bytes(), chosen, dla_core, tensorrt.__version__, cuda.Gpu.first())

    @cached_property
    def key(self) -> PlanKey:
        return PlanKey(
            model=hashlib.sha256(self.content).hexdigest(),
            precision=self.precision,
            dla=self.dla_core >= 0,
            tensorrt=self.tensorrt,
            gpu=self.gpu.name,
            compute_capability=self.gpu.compute_capability,
            multiprocessors=self.gpu.multiprocessors,
        )

    @property
    def plan_file(self) -> Path:
        return plans.plan_file(self.model, self.key)

    @property
    def timing_cache_file(self) -> Path:
        """Measured once per GPU and TensorRT version: the next model builds faster."""
        gpu = f"{self.gpu.name}-{self.gpu.multiprocessors}".replace(" ", "_").replace("/", "_")
        return cache_folder("plans") / f"timing-{self.tensorrt}-{gpu}.cache"


def what_is_missing() -> list[str]:
    """What this machine lacks to run TensorRT, a phrase each; empty if nothing."""
    missing = []
    for module, name in (("tensorrt", "TensorRT's Python package"), ("pycuda.driver", "PyCUDA")):
        try:
            __import__(module)
        except Exception as error:  # a library that they load can be missing too, each says so in its own way
            missing.append(f"no {name} ({_first_line(error)})")
    gpu = cuda.why_no_gpu()
    return [*missing, gpu] if gpu else missing


def build(target: Target, workspace: int | None = None) -> Plan:
    """Build a plan; takes minutes. Needs the GPU's context.

    Args:
        workspace: most GPU memory that a layer may take while it runs, bytes; None leaves it to TensorRT.

    Raises:
        InputError: the model cannot be built in this precision, or not at all; with TensorRT's reason.
    """
    import tensorrt as trt

    started = time.monotonic()
    model, info = _read_model(target)
    recipe = precision.recipe(
        target.tensorrt,
        target.precision,
        quantised=precision.is_quantised(model),
        half=precision.is_half(model),
    )
    content = halved(model).SerializeToString() if recipe.halve else target.content
    logger = tensorrt_logger()
    logger.lines.clear()
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt, recipe.strongly_typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(content):
        reason = parser.get_error(0).desc() if parser.num_errors else logger.last
        raise InputError(f"TensorRT {target.tensorrt} cannot read {str(target.model)!r}: {_first_line(reason)}")
    config = builder.create_builder_config()
    for flag in recipe.flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    if target.dla_core >= 0:
        if target.dla_core >= builder.num_DLA_cores:
            raise InputError(f"dla_core is {target.dla_core}, this GPU has {builder.num_DLA_cores} of them")
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = target.dla_core
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    timing_cache = _timing_cache(config, target.timing_cache_file)
    with tqdm(desc=f"building {target.plan_file.name}", unit="step", leave=False) as bar:
        if hasattr(trt, "IProgressMonitor"):
            config.progress_monitor = progress_monitor(trt, bar)
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise InputError(f"TensorRT {target.tensorrt} cannot build {str(target.model)!r}: {logger.last}")
    plans.write_atomically(target.timing_cache_file, bytes(timing_cache.serialize()))
    seconds = time.monotonic() - started
    log = {"seconds": round(seconds, 1), "recipe": asdict(recipe), "workspace": workspace, "log": list(logger.lines)}
    return Plan(bytes(plan), info, log)


def _read_model(target: Target):
    """The onnx.ModelProto and its ModelInfo."""
    try:
        import onnx
    except ImportError:
        raise InputError("building a TensorRT plan needs the Python package onnx: pip install onnx") from None
    try:
        model = onnx.load_from_string(target.content)
    except Exception as error:  # protobuf's exception classes differ between its versions
        raise InputError(f"model file {str(target.model)!r} cannot be loaded as ONNX: {_first_line(error)}") from None
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            return model, ModelInfo.from_json(entry.value)
    raise InputError(f"model file {str(target.model)!r} is ONNX but has no {METADATA_KEY!r} metadata")


def _network_flags(trt, strongly_typed: bool) -> int:
    """For create_network. TensorRT 8 must be told that the batch is a dimension like others; 11 knows no such flag."""
    flags = trt.NetworkDefinitionCreationFlag
    if trt.__version__.startswith("8."):
        return 1 << int(flags.EXPLICIT_BATCH)
    return 1 << int(flags.STRONGLY_TYPED) if strongly_typed else 0


def _timing_cache(config, file: Path):
    """The stored timing cache if TensorRT accepts it, else an empty one; set in `config`."""
    for content in (file.read_bytes() if file.is_file() else b"", b""):
        timing_cache = config.create_timing_cache(content)
        if timing_cache is not None and config.set_timing_cache(timing_cache, False):
            return timing_cache
    raise InputError("TensorRT refuses even an empty timing cache")


@cache
def tensorrt_logger():
    """TensorRT's messages into Python's logging. One for the process: TensorRT wants the same one everywhere.

    `lines` are the latest warnings and errors, `last` is the first line of the very last.
    """
    import tensorrt as trt

    severity = trt.ILogger.Severity

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines = deque(maxlen=50)

        @property
        def last(self) -> str:
            return _first_line(self.lines[-1]) if self.lines else "it does not say why"

        def log(self, level, message: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR, severity.WARNING):
                self.lines.append(message)
                _log.log(logging.INFO if level == severity.WARNING else logging.ERROR, "TensorRT: %s", message)

    return Logger()


def progress_monitor(trt, bar: tqdm):
    """Counts the steps of all phases on `bar`; more phases, and with them steps, come up as the build goes on."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            bar.total = 0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            bar.total += num_steps
            bar.set_postfix_str(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            bar.update()
            return True

        def phase_finish(self, phase_name: str) -> None:
            pass

    return Monitor()


def _first_line(text: object) -> str:
    return (str(text).strip() or type(text).__name__).splitlines()[0]
