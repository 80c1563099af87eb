"""Videos of GoPro cameras (HERO5 and later): gyroscope, exposure and stamps are in the file itself (GPMF).

The package telemetry-parser reads them. It gives the gyroscope in °/s and in one orientation for all models, which is
not said to be the camera's optical frame: name its axes, or let `evaluate` say which fit.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from image_as_imu_ros.datasets import video
from image_as_imu_ros.datasets.capture import Capture
from image_as_imu_ros.datasets.files import nanoseconds
from image_as_imu_ros.datasets.frame_table import FrameTable
from image_as_imu_ros.datasets.gyroscope_file import GyroscopeSamples
from image_as_imu_ros.datasets.video_file import video_frames
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Intrinsics

_PARSER = "telemetry_parser"
_MS = 1e-3


def open_capture(path: Path, intrinsics: Intrinsics | None, rotation: np.ndarray | None) -> Capture:
    """Open a video file. Its stabilisation must have been off, and `intrinsics` be of its lens mode.

    Args:
        rotation: (3, 3) gyroscope → optical frame; None if it is the same.

    Raises:
        InputError: telemetry-parser is not installed, or the file holds no gyroscope.
    """
    telemetry = _telemetry(path)
    samples = [sample for sample in telemetry.normalized_imu() if sample.get("gyro") is not None]
    if len(samples) < 2:
        raise InputError(f"{path} holds no gyroscope (GPMF)")
    times = np.array([sample["timestamp_ms"] for sample in samples], np.float64) * _MS
    angular = np.radians(np.array([sample["gyro"] for sample in samples], np.float64))
    exposure = _exposures(telemetry.telemetry())
    starts = np.array([time for time, _ in video_frames(path)])
    count = len(starts)
    unknown = np.full(count, np.nan)
    frames = FrameTable(
        stamps=nanoseconds(starts - starts[0]),
        files=(),
        # As many as frames, but that the last of them may be missing.
        exposure=np.r_[exposure[:count], unknown[len(exposure) :]] if len(exposure) else unknown,
        fx=unknown,
        fy=unknown,
        readout=unknown,
    )
    gyroscope = GyroscopeSamples(times, angular), path
    return video.open_capture(path, intrinsics, gyroscope, rotation=rotation, frames=frames)


def _telemetry(path: Path) -> Any:
    try:
        parser = import_module(_PARSER).Parser
    except ImportError:
        raise InputError("GoPro videos are read by a package that is missing: pip install telemetry-parser") from None
    try:
        return parser(str(path))
    except Exception as error:  # of its Rust library, without a common base
        raise InputError(f"{path} holds no telemetry that telemetry-parser knows: {error}") from None


def _exposures(blocks: list[dict]) -> np.ndarray:
    """List all exposure times, s: each block holds those of about a second's frames."""
    found = [block.get("Exposure", {}).get("Data", []) for block in blocks]
    return np.array([value for values in found for value in values], np.float64)
