"""ONNX model → TensorRT plan. On TensorRT 8.6 to 11; `tensorrt` is imported when something is built."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from image_as_imu_ros.engine.model_files import plans, precision
from image_as_imu_ros.engine.model_files.half import halved
from image_as_imu_ros.engine.model_files.onnx_file import OnnxFile
from image_as_imu_ros.engine.model_files.plans import Plan
from image_as_imu_ros.engine.model_files.target import Target
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.engine.nvidia import tensorrt, tensorrt_logger
from image_as_imu_ros.errors import InputError, first_line


def build(target: Target, workspace: int | None = None) -> Plan:
    """Build a plan; takes minutes. Needs the GPU's context.

    Args:
        target: the model and the machine.
        workspace: most GPU memory that a layer may take while it runs, bytes; None leaves it to TensorRT.

    Raises:
        InputError: the model cannot be built in this precision, or not at all; with TensorRT's reason.
    """
    started = time.monotonic()
    trt, logger = tensorrt(), tensorrt_logger()
    model, info = _read_model(target)
    recipe = precision.recipe(target.tensorrt, target.precision, quantised=model.quantised, half=model.half)
    content = _halved(target) if recipe.halve else target.content
    logger.lines.clear()
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt, recipe.strongly_typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(content):
        reason = parser.get_error(0).desc() if parser.num_errors else logger.last
        raise InputError(f"TensorRT {target.tensorrt} cannot read {str(target.model)!r}: {first_line(reason)}")
    config = _configured(trt, builder, target, recipe, workspace)
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


def _read_model(target: Target) -> tuple[OnnxFile, ModelInfo]:
    """Read what the ONNX file says about itself."""
    try:
        model = OnnxFile.read(target.content)
    except InputError as error:
        raise InputError(f"model file {str(target.model)!r} cannot be loaded as ONNX: {error}") from None
    return model, ModelInfo.of_model(target.model, model.metadata)


def _halved(target: Target) -> bytes:
    """Make a model's weights FP16."""
    try:
        import onnx
    except ImportError:
        raise InputError(
            f"TensorRT {target.tensorrt} takes FP16 from the model file only: put {target.model.stem}_fp16.onnx beside "
            f"{target.model.name}, or install onnx, which makes it (in an environment of its own: it brings NumPy 2)"
        ) from None
    return halved(onnx.load_from_string(target.content)).SerializeToString()


def _network_flags(trt: Any, strongly_typed: bool) -> int:
    """Combine the flags for create_network.

    TensorRT 8 must hear that the batch is a dimension like others; 11 knows no such flag.
    """
    flags = trt.NetworkDefinitionCreationFlag
    if trt.__version__.startswith("8."):
        return 1 << int(flags.EXPLICIT_BATCH)
    return 1 << int(flags.STRONGLY_TYPED) if strongly_typed else 0


def _configured(trt: Any, builder: Any, target: Target, recipe: precision.Recipe, workspace: int | None) -> Any:
    """Make the IBuilderConfig of a recipe.

    Raises:
        InputError: the GPU lacks the deep learning accelerator.
    """
    config = builder.create_builder_config()
    for flag in recipe.flags:
        config.set_flag(getattr(trt.BuilderFlag, flag))
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
    if target.dla_core >= 0:
        if target.dla_core >= builder.num_DLA_cores:
            raise InputError(
                f"dla_core is {target.dla_core}, this GPU has {builder.num_DLA_cores} of them: -1 uses none"
            )
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = target.dla_core
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    return config


def _timing_cache(config: Any, file: Path) -> Any:
    """Set the stored timing cache in `config` if TensorRT accepts it, else an empty one, and return it."""
    for content in (file.read_bytes() if file.is_file() else b"", b""):
        timing_cache = config.create_timing_cache(content)
        if timing_cache is not None and config.set_timing_cache(timing_cache, False):
            return timing_cache
    raise InputError("TensorRT refuses even an empty timing cache")


def progress_monitor(trt: Any, bar: tqdm) -> Any:
    """Make an IProgressMonitor that counts the steps of all phases on `bar`; phases come up as the build goes on."""

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
            """Do nothing, for a phase's steps are counted; TensorRT demands the method."""

    return Monitor()
