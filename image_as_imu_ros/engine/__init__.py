"""Engines run the network. One interface; `load_engine` picks the implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.motion_field import MotionField

ENGINES = ("auto", "onnxruntime")


class Engine(Protocol):
    """A loaded model. Not thread-safe: one caller at a time."""

    info: ModelInfo
    name: str
    """For diagnostics, for example "onnxruntime (CPU)"."""

    def infer(self, image: np.ndarray) -> MotionField:
        """One prepared image, (height, width) luminance or (height, width, 3) RGB uint8 → its motion field."""

    def close(self) -> None:
        """Release the model. The engine cannot be used afterwards."""


def load_engine(model: str | Path, engine: str = "auto", threads: int = 0) -> Engine:
    """Load a model file.

    Args:
        model: ONNX file with `ModelInfo` metadata.
        engine: one of ENGINES. "auto" takes the fastest that is installed.
        threads: CPU threads; 0 leaves the choice to the engine.

    Raises:
        InputError: no such engine, or the file is missing, corrupt or not a model of this project.
    """
    if engine not in ENGINES:
        raise InputError(f"engine {engine!r} is not available; choose one of: {', '.join(ENGINES)}")
    from image_as_imu_ros.engine.onnx_runtime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(Path(model), threads)
