"""TUM RGB-D data sets (Sturm et al. 2012): rgb.txt, depth.txt and groundtruth.txt list stamps in s beside the files.

Depth is registered to the colour image, 5000 units per metre; others who use this layout write other units. Poses are
those of the colour camera's optical frame.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, Frames, Poses
from image_as_imu_ros.datasets.files import (
    ascending,
    check_stamp,
    read_camera,
    read_depth,
    read_image,
    read_text,
    with_depth,
)
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera, Intrinsics

UNITS_PER_METRE = 5000.0
_LONGEST_DELAY = 20_000_000  # ns between a colour image and its depth image

_INTRINSICS = "camera-intrinsics.txt"

# The data set's own calibration of its three Kinects' colour cameras.
_CAMERAS = {
    "freiburg1": Camera(640, 480, 517.3, 516.5, 318.6, 255.3, "plumb_bob", (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "freiburg2": Camera(640, 480, 520.9, 521.0, 325.1, 249.7, "plumb_bob", (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    "freiburg3": Camera(640, 480, 535.4, 539.2, 320.1, 247.6),
}


def open_capture(
    folder: Path, intrinsics: Intrinsics | None = None, units_per_metre: float = UNITS_PER_METRE
) -> Capture:
    """Open a sequence's folder.

    Args:
        intrinsics: of the colour images; None: those of a `camera-intrinsics.txt` in the folder (a 3×3 matrix, then
            OpenCV's distortion coefficients, if any), else the folder's name says which of the set's cameras it was.
        units_per_metre: of the depth images.

    Raises:
        InputError: files are missing or damaged, or the camera is not known.
    """
    frames = open_frames(folder, intrinsics, units_per_metre)
    poses = read_poses(folder) if (folder / "groundtruth.txt").exists() else None
    return Capture(frames, len(frames), lossless=True, poses=poses)


def open_frames(folder: Path, intrinsics: Intrinsics | None = None, units_per_metre: float = UNITS_PER_METRE) -> Frames:
    """List the colour images with the depth images taken within 20 ms of them; as `open_capture`."""
    colour = _read_list(folder / "rgb.txt")
    depth = _read_list(folder / "depth.txt") if (folder / "depth.txt").exists() else []
    stamps = np.array([stamp for stamp, _ in colour], np.int64)
    depth_stamps = np.array([stamp for stamp, _ in depth], np.int64)
    nearest, has_depth = np.zeros(len(stamps), int), np.zeros(len(stamps), bool)
    if depth:
        nearest = np.abs(depth_stamps - stamps[:, None]).argmin(1)
        has_depth = np.abs(depth_stamps[nearest] - stamps) <= _LONGEST_DELAY
    known = None if intrinsics is not None or (folder / _INTRINSICS).exists() else _camera_by_name(folder)

    def read(i: int) -> CapturedFrame:
        stamp, name = colour[i]
        image = read_image(folder / name)
        size = image.shape[1::-1]
        if intrinsics is not None:
            camera = intrinsics.camera(*size)
        else:
            camera = read_camera(folder / _INTRINSICS, *size) if known is None else known.resize(*size)
        frame = CapturedFrame(stamp, image, camera)
        if not has_depth[i]:
            return frame
        return with_depth(frame, lambda: read_depth(folder / depth[nearest[i]][1], units_per_metre))

    return Frames(stamps, has_depth, read)


def read_poses(folder: Path) -> Poses:
    """Read the motion capture's poses. Raises InputError: the file is missing or damaged."""
    path = folder / "groundtruth.txt"
    rows = _rows(path, 8)
    try:
        values = np.array([row[1:8] for row in rows], np.float64)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    stamps, values = ascending(np.array([_nanoseconds(row[0]) for row in rows], np.int64), values)
    return Poses.of(stamps, values[:, [6, 3, 4, 5]], values[:, :3])


def _camera_by_name(folder: Path) -> Camera:
    for name, camera in _CAMERAS.items():
        if name in folder.resolve().name:
            return camera
    raise InputError(
        f"{folder}: its name holds none of {', '.join(_CAMERAS)}, so the camera is not known: "
        f"put its 3×3 matrix into {_INTRINSICS} there (or give --fx …)"
    )


def _read_list(path: Path) -> list[tuple[int, str]]:
    """Return (ns, file name) in the order of time."""
    return sorted((_nanoseconds(row[0]), row[1]) for row in _rows(path, 2))


def _rows(path: Path, columns: int) -> list[list[str]]:
    """Split each line that is not a comment into words."""
    try:
        rows = [line.replace(",", " ").split() for line in read_text(path).splitlines()]
    except OSError:
        raise InputError(f"{path} is missing; a TUM RGB-D folder has rgb.txt, depth.txt and groundtruth.txt") from None
    rows = [row for row in rows if row and not row[0].startswith("#")]
    if not rows or min(map(len, rows)) < columns:
        raise InputError(f"{path} is empty or has lines of fewer than {columns} columns")
    return rows


def _nanoseconds(seconds: str) -> int:
    """Convert a decimal number to ns, exactly: a float of s since 1970 only holds 0.2 µs."""
    try:
        whole, _, fraction = seconds.partition(".")
        stamp = int(whole) * 1_000_000_000 + int(f"{fraction:0<9.9}")
    except ValueError:
        raise InputError(f"{seconds!r} is not a stamp in seconds") from None
    return check_stamp(stamp)
