"""TUM RGB-D data sets (Sturm et al. 2012): rgb.txt, depth.txt and groundtruth.txt list stamps in s beside the files.

Depth is registered to the colour image, 5000 units per metre. Poses are those of the colour camera's optical frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, Poses, ascending, read_depth, read_image
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.so3 import rotation_matrices

_UNITS_PER_METRE = 5000
_LONGEST_DELAY = 20_000_000  # ns between a colour image and its depth image

# The data set's own calibration of its three Kinects' colour cameras.
_CAMERAS = {
    "freiburg1": Camera(640, 480, 517.3, 516.5, 318.6, 255.3, "plumb_bob", (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    "freiburg2": Camera(640, 480, 520.9, 521.0, 325.1, 249.7, "plumb_bob", (0.2312, -0.7849, -0.0033, -0.0001, 0.9172)),
    "freiburg3": Camera(640, 480, 535.4, 539.2, 320.1, 247.6),
}


def open_capture(folder: Path, camera: Camera | None = None) -> Capture:
    """A sequence's folder.

    Args:
        camera: of the colour images; None: the folder's name says which of the data set's cameras it was.

    Raises:
        InputError: files are missing or damaged, or the camera is not known.
    """
    colour = _read_list(folder / "rgb.txt")
    depth = _read_list(folder / "depth.txt") if (folder / "depth.txt").exists() else []
    poses = None
    if (folder / "groundtruth.txt").exists():
        rows = _rows(folder / "groundtruth.txt", 8)
        try:
            values = np.array([row[1:8] for row in rows], np.float64)
        except ValueError as error:
            raise InputError(f"{folder / 'groundtruth.txt'}: {error}") from None
        stamps, values = ascending(np.array([_nanoseconds(row[0]) for row in rows], np.int64), values)
        poses = Poses(stamps, rotation_matrices(values[:, [6, 3, 4, 5]]), values[:, :3])
    frames = _Frames(folder, colour, depth, camera or _camera_of(folder))
    return Capture(frames, len(colour), lossless=True, poses=poses)


class _Frames:
    def __init__(self, folder: Path, colour: list[tuple[int, str]], depth: list[tuple[int, str]], camera: Camera):
        self._folder, self._colour, self._depth, self._camera = folder, colour, depth, camera
        self._depth_stamps = np.array([stamp for stamp, _ in depth], np.int64)

    def __iter__(self) -> Iterator[CapturedFrame]:
        for stamp, name in self._colour:
            image = read_image(self._folder / name)
            yield CapturedFrame(stamp, image, self._camera, depth=self._depth_at(stamp))

    def _depth_at(self, stamp: int) -> np.ndarray | None:
        if not self._depth:
            return None
        nearest = int(np.abs(self._depth_stamps - stamp).argmin())
        if abs(self._depth_stamps[nearest] - stamp) > _LONGEST_DELAY:
            return None
        return read_depth(self._folder / self._depth[nearest][1], _UNITS_PER_METRE)


def _camera_of(folder: Path) -> Camera:
    for name, camera in _CAMERAS.items():
        if name in folder.resolve().name:
            return camera
    raise InputError(f"{folder}: its name holds none of {', '.join(_CAMERAS)}, so give the camera: --fx …")


def _read_list(path: Path) -> list[tuple[int, str]]:
    """(ns, file name) in the order of time."""
    return sorted((_nanoseconds(row[0]), row[1]) for row in _rows(path, 2))


def _rows(path: Path, columns: int) -> list[list[str]]:
    """Words of each line that is not a comment."""
    try:
        rows = [line.replace(",", " ").split() for line in path.read_text().splitlines()]
    except OSError:
        raise InputError(f"{path} is missing; a TUM RGB-D folder has rgb.txt, depth.txt and groundtruth.txt") from None
    rows = [row for row in rows if row and not row[0].startswith("#")]
    if not rows or min(map(len, rows)) < columns:
        raise InputError(f"{path} is empty or has lines of fewer than {columns} columns")
    return rows


def _nanoseconds(seconds: str) -> int:
    """A decimal number → ns, exactly: a float of s since 1970 only holds 0.2 µs."""
    try:
        whole, _, fraction = seconds.partition(".")
        return int(whole) * 1_000_000_000 + int(f"{fraction:0<9.9}")
    except ValueError:
        raise InputError(f"{seconds!r} is not a stamp in seconds") from None
