"""A video file and, beside it, the CSV of a gyroscope."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, Gyroscope
from image_as_imu_ros.datasets.files import ascending, nanoseconds
from image_as_imu_ros.datasets.gyroscope_file import read_gyroscope
from image_as_imu_ros.datasets.video_file import duration, frame_count, video_frames
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera

_START = 1_000_000_000  # ns; stamp of the first frame, for a stamp of 0 means that there is none
SIZE = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)


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
        gyroscope: text file, see `read_gyroscope`.
        rotation: (3, 3) gyroscope → optical frame; None if it is the same.
        time_unit: of the CSV's times.
        offset: the gyroscope's time at the video's first frame, s.

    Raises:
        InputError: a file cannot be used.
    """
    samples = None
    if gyroscope is not None:
        read = read_gyroscope(gyroscope, time_unit)
        stamps = _START + nanoseconds(read.times - offset)
        _check_overlap(gyroscope, read.times - offset, duration(path))
        recorded = stamps > 0  # not long before the video began
        angular = read.angular if rotation is None else read.angular @ rotation.T
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


def _check_overlap(path: Path, times: np.ndarray, length: float) -> None:
    """Refuse samples, s since the video began, of which fewer than two lie in its `length` s."""
    if np.count_nonzero((times >= 0) & (times <= length)) < 2:
        raise InputError(
            f"{path} tells nothing of the video: by --offset and --time-unit it goes from {times.min():.6g} to "
            f"{times.max():.6g} s after the first of its {length:.3g} s"
        )
