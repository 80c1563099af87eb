"""Captures of the Stray Scanner app, read by `image_as_imu_ros.datasets.stray_scanner`, as sequences to render from."""

from __future__ import annotations

from pathlib import Path

from image_as_imu_ros.datasets import stray_scanner
from image_as_imu_training.datasets.rgbd import RgbdSequence, sequence_of

MARKER = "odometry.csv"


def read(folder: Path) -> RgbdSequence:
    """Read one recording: the frames with a depth image. Depth of the lowest confidence is unknown."""
    return sequence_of(folder, *stray_scanner.open_frames(folder))
