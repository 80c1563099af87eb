"""A video file and, beside it, the CSV of a gyroscope."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, Gyroscope
from image_as_imu_ros.datasets.files import ascending, nanoseconds
from image_as_imu_ros.datasets.video_file import frame_count, video_frames
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera

_START = 1_000_000_000  # ns; stamp of the first frame, for a stamp of 0 means that there is none
SIZE = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def open_capture(
    path: Path,
    camera: Camera,
    gyroscope: Path | None = None,
    *,
    rotation: np.ndarray | None = None,
    time_unit: str = "s",
    offset: float = 0.0,
) -> Capture:
    """Open a video file.

    Args:
        camera: of the video's frames.
        gyroscope: CSV with time, x, y, z in its first four columns, rad/s; a line of names may stand above.
        rotation: (3, 3) gyroscope → optical frame; None if it is the same.
        time_unit: of the CSV's times.
        offset: the gyroscope's time at the video's first frame, s.

    Raises:
        InputError: a file cannot be used.
    """
    samples = None
    if gyroscope is not None:
        times, angular = _read_gyroscope(gyroscope)
        stamps = _START + nanoseconds(times * TIME_UNITS[time_unit] - offset)
        recorded = stamps > 0  # not long before the video began
        if recorded.sum() < 2:
            raise InputError(f"{gyroscope} ends before the video begins: check --offset and --time-unit")
        angular = angular if rotation is None else angular @ rotation.T
        samples = Gyroscope(*ascending(stamps[recorded], angular[recorded]))
    return Capture(_Frames(path, camera), frame_count(path), lossless=False, gyroscope=samples)


class _Frames:
    def __init__(self, path: Path, camera: Camera) -> None:
        self._path, self._camera = path, camera

    def __iter__(self) -> Iterator[CapturedFrame]:
        first = None
        for time, image in video_frames(self._path):
            first = time if first is None else first
            yield CapturedFrame(_START + int(nanoseconds(time - first)), image, self._camera)


def _read_gyroscope(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read times (N,) and rates (N, 3)."""
    try:
        table = np.genfromtxt(path, delimiter=",", usecols=(0, 1, 2, 3), dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a CSV of time, x, y, z: {error}") from None
    table = table[np.isfinite(table).all(1)]
    if len(table) < 2:
        raise InputError(f"{path} has {len(table)} rows of four numbers; at least 2 are needed")
    return table[:, 0], table[:, 1:]
