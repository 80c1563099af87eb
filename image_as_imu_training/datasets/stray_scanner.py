"""Recordings of the Stray Scanner app (iPhones with lidar): rgb.mp4, odometry.csv, camera_matrix.csv, depth/, …

The app turns ARKit's camera axes (x right, y up, z backward) by 180° about x before it writes a quaternion
(`q_WA * q_AC` in its OdometryEncoder), so the file's poses have OpenCV's axes already. The world stays ARKit's, y up.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_training.datasets.rgbd import (
    RgbdSequence,
    find_jumps,
    poses_from_quaternions,
    read_camera,
    read_depth,
)
from image_as_imu_training.datasets.video import Video

MARKER = "odometry.csv"
_POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")
_INTRINSICS = ("fx", "fy", "cx", "cy")
_LEAST_CONFIDENCE = 1  # of 0, 1, 2


def read(folder: Path) -> RgbdSequence:
    """One recording. Frames without a depth image are left out; depth of the lowest confidence is unknown."""
    rows = _read_table(folder / "odometry.csv", ("timestamp", "frame", *_POSE))
    video = Video(folder / "rgb.mp4")
    # Versions of 2022–25 stamp the first picture before the video's start; players and OpenCV drop it.
    dropped = len(rows) - len(video)
    if dropped not in (0, 1):
        raise InputError(
            f"{folder}: rgb.mp4 has {len(video)} frames, but odometry.csv has {len(rows)} rows; which belong together?"
        )
    numbers = rows["frame"].astype(int)
    depth_files = {int(path.stem): path for path in (folder / "depth").glob("*.png")}
    kept = [i for i in range(dropped, len(rows)) if numbers[i] in depth_files]
    if not kept:
        raise InputError(f"{folder}: no frame has a depth image (depth/XXXXXX.png)")
    rows = rows[kept]
    quaternions = np.column_stack([rows[name] for name in _POSE[3:]])
    poses = poses_from_quaternions(np.column_stack([rows[name] for name in _POSE[:3]]), quaternions)

    def read_frame(i: int) -> tuple[np.ndarray, np.ndarray, Camera]:
        colour = video[kept[i] - dropped]
        depth_file = depth_files[numbers[kept[i]]]
        depth = read_depth(depth_file, 1000)
        confidence = cv2.imread(str(folder / "confidence" / depth_file.name), cv2.IMREAD_GRAYSCALE)
        if confidence is not None:
            depth[confidence < _LEAST_CONFIDENCE] = np.nan
        height, width = colour.shape[:2]
        if set(_INTRINSICS) <= set(rows.dtype.names):  # newer versions: the focus moves
            return colour, depth, Camera(width, height, *(float(rows[i][name]) for name in _INTRINSICS))
        return colour, depth, read_camera(folder / "camera_matrix.csv", width, height)

    return RgbdSequence(rows["timestamp"], poses, find_jumps(rows["timestamp"], poses), read_frame)


def _read_table(path: Path, required: tuple[str, ...]) -> np.ndarray:
    """A CSV file with a header as a structured array; what is not a number is NaN."""
    try:
        table = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True, autostrip=True, dtype=np.float64))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    missing = set(required) - set(table.dtype.names or ())
    if missing:
        raise InputError(f"{path} has no column {', '.join(sorted(missing))}")
    return table
