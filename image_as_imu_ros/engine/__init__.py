"""Engines run the network. One interface; `load_engine` picks the implementation."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

import numpy as np

from image_as_imu_ros.engine.config import EngineName
from image_as_imu_ros.engine.cuda import why_no_gpu
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.errors import InputError

ENGINES = tuple(EngineName)

_log = logging.getLogger(__name__)


class Engine(Protocol):
    """A loaded model. Not thread-safe: one caller at a time."""

    info: ModelInfo
    name: str
    """For diagnostics, for example "onnxruntime (CPU, int8)"."""

    def infer(self, image: np.ndarray) -> NetworkOutput:
        """Run the network on a prepared image, (height, width) luminance or (height, width, 3) RGB uint8."""
        ...

    def close(self) -> None:
        """Release the model. The engine cannot be used afterwards."""
        ...


def load_engine(
    model: str | Path,
    engine: str = "auto",
    threads: int = 0,
    precision: str = "auto",
    dla_core: int = -1,
    int8_where_fast: bool = False,
) -> Engine:
    """Load a model file.

    Args:
        model: ONNX file with `ModelInfo` metadata.
        engine: one of ENGINES: ONNX Runtime on the CPU, on a GPU with CUDA, on a GPU with its TensorRT part; or
            TensorRT by itself, which builds a plan first where none is stored. "auto" takes the fastest that works
            here and logs why it is not TensorRT.
        threads: CPU threads; 0 for one per physical core.
        precision: one of PRECISIONS, see `choose_weights`.
        dla_core: TensorRT only: deep learning accelerator to use, −1 for none.
        int8_where_fast: "auto" is INT8 on a CPU with VNNI, where the model has a file for it. Figures then depend on
            the CPU, a little: docs/performance.md.

    Raises:
        InputError: no such engine or precision; the engine lacks something here, which the message names; or the
            file is missing, corrupt or not a model of this project.
    """
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is not available; choose one of: {', '.join(ENGINES)}")
    model = Path(model)
    if not model.is_file():
        raise InputError(f"model file {str(model)!r} does not exist")
    if engine == EngineName.AUTO:
        return _load_fastest(model, threads, precision, dla_core, int8_where_fast)
    if engine == EngineName.TENSORRT:
        from image_as_imu_ros.engine.tensorrt import TensorRtEngine

        return TensorRtEngine(model, precision, dla_core)
    from image_as_imu_ros.engine.onnx_runtime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(model, EngineName(engine), threads, precision, dla_core, int8_where_fast)


def _load_fastest(model: Path, threads: int, precision: str, dla_core: int, int8_where_fast: bool) -> Engine:
    level = logging.INFO if why_no_gpu() else logging.WARNING  # with a GPU, that it is not used is worth a warning
    for engine in (EngineName.TENSORRT, EngineName.ONNXRUNTIME_CUDA):
        try:
            return load_engine(model, engine, threads, precision, dla_core)
        except InputError as error:
            _log.log(level, "engine auto: %s", error)
    _log.log(level, "engine auto: ONNX Runtime on the CPU it is")
    return load_engine(model, EngineName.ONNXRUNTIME, threads, precision, int8_where_fast=int8_where_fast)
