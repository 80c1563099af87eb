"""Files that several layouts have: tables, images, camera matrices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.datasets.capture import CapturedFrame, DepthImage
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.messages.image_files import UnreadableImageError, read_image_file

_DATE = re.compile(r"""(?<![^\s,;"])(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d+)?Z?(?![^\s,;"])""")  # all of a cell
_LARGEST_STAMP = 2**31 * 1_000_000_000  # ns: ROS counts s in 32 bits


def read_table(path: Path, required: tuple[str, ...]) -> np.ndarray:
    """Read a CSV file with a line of column names: a structured array of float64, NaN for what is not a number.

    Raises:
        InputError: it is missing, damaged, or lacks a required column.
    """
    try:
        # A program for tables, in which somebody adds a column, writes a byte-order mark.
        read = np.genfromtxt(path, np.float64, delimiter=",", names=True, autostrip=True, encoding="utf-8-sig")
        table = np.atleast_1d(read)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    missing = [name for name in required if name not in column_names(table)]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; its first line must name the columns")
    return table


def column_names(table: np.ndarray) -> tuple[str, ...]:
    """Return the names of a structured array's columns."""
    return table.dtype.names or ()


def read_text(path: Path) -> str:
    """Read a text file of whatever program: UTF-8, with a byte-order mark or without, other bytes as names hold them.

    Raises:
        OSError: it cannot be read.
    """
    return path.read_text(encoding="utf-8-sig", errors="surrogateescape")


def with_seconds(line: str) -> str:
    """Write dates with times of day, as in KITTI's timestamps.txt, as s since 1970, exactly. They are taken for UTC."""

    def seconds(date: re.Match) -> str:
        try:
            whole = datetime.fromisoformat(f"{date[1]}T{date[2]}+00:00")
        except ValueError:  # as of a 13th month
            return date[0]
        return f"{whole.timestamp():.0f}{date[3] or ''}"

    return _DATE.sub(seconds, line)


def columns(table: np.ndarray, *names: str) -> np.ndarray:
    """Stack columns of a structured array: (N, len(names))."""
    return np.column_stack([table[name] for name in names])


def nanoseconds(seconds: np.ndarray | float) -> np.ndarray:
    """Convert (N,) s to (N,) int64 ns. Raises InputError: a time is beyond what stamps hold."""
    stamps = np.round(np.asarray(seconds) * 1e9)
    if (beyond := np.abs(stamps) >= _LARGEST_STAMP).any():
        check_stamp(int(stamps[beyond][0]))
    return stamps.astype(np.int64)


def check_stamp(stamp: int) -> int:
    """Return a stamp, ns. Raises InputError: it is beyond what messages hold."""
    if abs(stamp) >= _LARGEST_STAMP:
        raise InputError(f"a time is {1e-9 * stamp:.6g} s, beyond what stamps hold: is it in another unit?")
    return stamp


def ascending(stamps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort samples (N,) and (N, …) by their stamps, without repetitions and rows that are not all numbers."""
    finite = np.isfinite(values).reshape(len(stamps), -1).all(1)
    stamps, first = np.unique(stamps[finite], return_index=True)
    return stamps, values[finite][first]


def read_image(path: Path) -> np.ndarray:
    """Read an image as stored: (H, W) uint8 or uint16, or (H, W, 3) BGR uint8.

    Raises:
        UnreadableImageError: it is missing or not such an image.
    """
    image = read_image_file(path, cv2.IMREAD_UNCHANGED)
    if image is not None and image.ndim == 3 and image.shape[2] == 4:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2BGR)
    if image is None or (image.dtype != np.uint8 and (image.dtype != np.uint16 or image.ndim != 2)):
        raise UnreadableImageError(f"{path} is missing or not a readable image of 8 bits, or of 16 without colour")
    return image


def first_size(paths: Iterable[Path]) -> tuple[int, int]:
    """Return width and height of the first image that can be read. Raises InputError: none can."""
    complaint = "there are no images"
    for path in paths:
        try:
            height, width = read_image(path).shape[:2]
        except UnreadableImageError as error:
            complaint = str(error)
        else:
            return width, height
    raise InputError(f"none of the images can be read: {complaint}")


def read_depth(path: Path, units_per_metre: float = 1000) -> DepthImage:
    """Read a 16-bit depth image. Raises UnreadableImageError: it is missing or another image."""
    depth = read_image_file(path, cv2.IMREAD_UNCHANGED)
    if depth is None or depth.dtype != np.uint16 or depth.ndim != 2:
        raise UnreadableImageError(f"{path} is missing or not a 16-bit depth image")
    return DepthImage(depth, units_per_metre)


def with_depth(frame: CapturedFrame, read: Callable[[], DepthImage]) -> CapturedFrame:
    """Add the depth image that `read` returns; where it cannot be read, the reason."""
    try:
        return replace(frame, depth_image=read())
    except UnreadableImageError as error:
        return replace(frame, depth_complaint=str(error))


def read_camera(path: Path, width: int, height: int) -> Camera:
    """Read a text file of the nine numbers of a 3×3 camera matrix, then OpenCV's k1, k2, p1, p2 and k3, if any.

    Raises:
        InputError: it is missing, holds something else, or the matrix is of other images.
    """
    try:
        numbers = [float(word) for word in read_text(path).replace(",", " ").split()]
        fx, _, cx, _, fy, cy, _, _, _ = numbers[:9]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} does not hold a 3×3 camera matrix: {error}") from None
    if not (0 <= cx < width and 0 <= cy < height):
        raise InputError(
            f"{path}: the principal point ({cx:g}, {cy:g}) px lies outside the images of {width}×{height} px; "
            "is the matrix of images of another size?"
        )
    try:
        return Camera(width, height, fx, fy, cx, cy, "plumb_bob", tuple(numbers[9:]))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
