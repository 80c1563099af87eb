"""Captures of the Stray Scanner app (iPhones, iPads): video, poses, gyroscope, and depth from the lidar.

Axes. Video, poses and gyroscope each have their own:

- Poses: ARKit's camera has x right, y up, z backward in the picture. The app turns it by 180° about x before it writes
  the quaternion (its OdometryEncoder), so the file's rotations are those of the optical frame. The world is ARKit's,
  y up.
- Gyroscope: Core Motion's axes are those of the phone held upright before you: x right, y up, z out of the screen. The
  picture is upright when the phone lies on its left side: the picture's x is the phone's −y, its y (down) the phone's
  −x, its z (into the scene) the phone's −z.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.datasets.capture import (
    Capture,
    CapturedFrame,
    Gyroscope,
    Poses,
    ascending,
    columns,
    nanoseconds,
    read_depth,
    read_table,
)
from image_as_imu_ros.datasets.video_file import frame_count, video_frames
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.axes import rotation_of_axes
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.so3 import rotation_matrices

PHONE_TO_OPTICAL = rotation_of_axes("-y,-x,-z")

_LEAST_CONFIDENCE = 1  # of 0, 1, 2
_INTRINSICS = ("fx", "fy", "cx", "cy")


def open_capture(folder: Path) -> Capture:
    """A capture's folder.

    `odometry.csv` may hold two things beyond the published format: `exposure`, s, and intrinsics `fx, fy, cx, cy` per
    frame (newer versions of the app, for the focus moves). Depth of the lowest confidence counts as unknown.

    Raises:
        InputError: files are missing, damaged or do not belong together.
    """
    rows = read_table(folder / "odometry.csv", ("timestamp", "frame", "x", "y", "z", "qx", "qy", "qz", "qw"))
    video = folder / "rgb.mp4"
    # The app stamps its first picture one frame before the video's start, so players drop it.
    shown = frame_count(video)
    dropped = len(rows) - shown
    if dropped not in (0, 1):
        raise InputError(f"{video} has {shown} frames, but odometry.csv has {len(rows)} rows: which belong together?")
    stamps, poses = ascending(nanoseconds(rows["timestamp"]), columns(rows, "qw", "qx", "qy", "qz", "x", "y", "z"))
    if len(stamps) != len(rows):
        raise InputError(f"{folder / 'odometry.csv'}: stamps do not ascend, or rows are incomplete")
    return Capture(
        frames=_Frames(folder, rows[dropped:]),
        count=shown,
        lossless=False,
        gyroscope=_gyroscope(folder / "imu.csv") if (folder / "imu.csv").exists() else None,
        poses=Poses(stamps, rotation_matrices(poses[:, :4]), poses[:, 4:]),
    )


def _gyroscope(path: Path) -> Gyroscope:
    rows = read_table(path, ("timestamp", "alpha_x", "alpha_y", "alpha_z"))
    stamps, angular = ascending(nanoseconds(rows["timestamp"]), columns(rows, "alpha_x", "alpha_y", "alpha_z"))
    return Gyroscope(stamps, angular @ PHONE_TO_OPTICAL.T)


class _Frames:
    """Pictures of the video with the row of odometry.csv that belongs to each."""

    def __init__(self, folder: Path, rows: np.ndarray) -> None:
        self._folder, self._rows = folder, rows
        self._moving_focus = set(_INTRINSICS) <= set(rows.dtype.names)
        self._has_exposure = "exposure" in rows.dtype.names
        self._matrix = None if self._moving_focus else _read_matrix(folder / "camera_matrix.csv")

    def __iter__(self) -> Iterator[CapturedFrame]:
        for row, (_, image) in zip(self._rows, video_frames(self._folder / "rgb.mp4"), strict=False):
            height, width = image.shape[:2]
            intrinsics = [float(row[name]) for name in _INTRINSICS] if self._moving_focus else self._matrix
            yield CapturedFrame(
                stamp=int(nanoseconds(row["timestamp"])),
                image=image,
                camera=Camera(width, height, *intrinsics),
                exposure=float(row["exposure"]) if self._has_exposure else None,
                depth=self._depth(int(row["frame"])),
            )

    def _depth(self, number: int) -> np.ndarray | None:
        name = f"{number:06d}.png"
        if not (self._folder / "depth" / name).exists():
            return None
        depth = read_depth(self._folder / "depth" / name, 1000)
        confidence = cv2.imread(str(self._folder / "confidence" / name), cv2.IMREAD_GRAYSCALE)
        if confidence is None:
            return depth
        if confidence.shape != depth.shape:
            raise InputError(f"{self._folder / 'confidence' / name} is not of its depth image's size")
        return np.where(confidence < _LEAST_CONFIDENCE, 0, depth).astype(np.uint16)


def _read_matrix(path: Path) -> list[float]:
    """fx, fy, cx, cy of a 3×3 matrix."""
    try:
        matrix = np.loadtxt(path, delimiter=",").reshape(3, 3)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} does not hold a 3×3 camera matrix: {error}") from None
    return [float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2])]
