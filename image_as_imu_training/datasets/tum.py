"""TUM RGB-D, read by `image_as_imu_ros.datasets.tum`, as sequences to render from."""

from __future__ import annotations

from pathlib import Path

from image_as_imu_ros.datasets import tum
from image_as_imu_training.datasets.rgbd import RgbdSequence, sequence_of

MARKER = "rgb.txt"


def read(folder: Path) -> RgbdSequence:
    """Read one recording: the colour images with a depth image within 20 ms and poses before and after them."""
    return sequence_of(folder, tum.open_frames(folder), tum.read_poses(folder))
