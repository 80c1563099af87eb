"""TUM RGB-D (Sturm et al. 2012): rgb.txt, depth.txt and groundtruth.txt list stamps; the images lie beside them.

Depth is registered to the colour image, 5000 units per metre. Poses are the colour camera's optical frame in the
motion capture's frame.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_training.datasets.rgbd import (
    RgbdSequence,
    find_jumps,
    interpolate_pose,
    poses_from_quaternions,
    read_camera,
    read_colour,
    read_depth,
)

MARKER = "rgb.txt"
_UNITS_PER_METRE = 5000
_LONGEST_DELAY = 0.02  # s between a colour image and its depth image
_LONGEST_GAP = 0.1  # s between poses around a colour image

# The data set's calibration of its three Kinects' colour cameras.
_CAMERAS = {
    "freiburg1": Camera(640, 480, 517.3, 516.5, 318.6, 255.3, "plumb_bob", (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "freiburg2": Camera(640, 480, 520.9, 521.0, 325.1, 249.7, "plumb_bob", (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    "freiburg3": Camera(640, 480, 535.4, 539.2, 320.1, 247.6),
}


def read(folder: Path) -> RgbdSequence:
    """One recording. Its name says which camera took it, unless a `camera-intrinsics.txt` lies in the folder.

    Colour images without a depth image within 20 ms, or not between two poses, are left out.
    """
    colour_stamps, colour_files = _read_list(folder / "rgb.txt")
    depth_stamps, depth_files = _read_list(folder / "depth.txt")
    pose_stamps, known_poses = _read_poses(folder / "groundtruth.txt")
    nearest = np.abs(depth_stamps - colour_stamps[:, None]).argmin(1)
    after = np.clip(np.searchsorted(pose_stamps, colour_stamps), 1, len(pose_stamps) - 1)
    begin, end = pose_stamps[after - 1], pose_stamps[after]
    share = (colour_stamps - begin) / (end - begin)
    usable = np.abs(depth_stamps[nearest] - colour_stamps) <= _LONGEST_DELAY
    usable &= (share >= 0) & (share <= 1) & (end - begin <= _LONGEST_GAP)
    if not usable.any():
        raise InputError(f"{folder}: no colour image has a depth image within 20 ms and poses before and after it")
    kept = np.flatnonzero(usable)
    poses = np.array([interpolate_pose(known_poses[after[i] - 1], known_poses[after[i]], share[i]) for i in kept])

    def read_frame(i: int) -> tuple[np.ndarray, np.ndarray, Camera]:
        colour = read_colour(folder / colour_files[kept[i]])
        depth = read_depth(folder / depth_files[nearest[kept[i]]], _UNITS_PER_METRE)
        return colour, depth, _camera(folder, *colour.shape[1::-1])

    stamps = colour_stamps[kept]
    return RgbdSequence(stamps, poses, find_jumps(stamps, poses), read_frame)


def _camera(folder: Path, width: int, height: int) -> Camera:
    intrinsics = folder / "camera-intrinsics.txt"
    if intrinsics.exists():
        return read_camera(intrinsics, width, height)
    for name, camera in _CAMERAS.items():
        if name in folder.resolve().name:
            return camera.resize(width, height)
    raise InputError(
        f"{folder}: its name holds none of {', '.join(_CAMERAS)}, so the camera is unknown; put its 3×3 matrix into "
        f"{intrinsics.name} there"
    )


def _read_list(path: Path) -> tuple[np.ndarray, list[str]]:
    """Stamps (N,) s, ascending, and file names."""
    rows = sorted(_rows(path, 2), key=lambda row: float(row[0]))
    return np.array([float(row[0]) for row in rows]), [row[1] for row in rows]


def _read_poses(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Stamps (N,) s, ascending, and (N, 4, 4) camera-to-world."""
    values = np.array([row[:8] for row in _rows(path, 8)], np.float64)
    stamps, first = np.unique(values[:, 0], return_index=True)
    if len(stamps) < 2:
        raise InputError(f"{path} holds fewer than two poses")
    return stamps, poses_from_quaternions(values[first, 1:4], values[first, 4:8])


def _rows(path: Path, columns: int) -> list[list[str]]:
    """Words of each line that is not a comment."""
    try:
        rows = [line.replace(",", " ").split() for line in path.read_text().splitlines()]
    except OSError as error:
        raise InputError(f"{path} is missing; a TUM RGB-D folder has rgb.txt, depth.txt and groundtruth.txt") from error
    rows = [row for row in rows if row and not row[0].startswith("#")]
    if not rows or min(map(len, rows)) < columns:
        raise InputError(f"{path} is empty or has lines of fewer than {columns} columns")
    return rows
