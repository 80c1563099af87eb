"""What every layout is read into: frames of one camera, and what other sensors say about its motion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.datasets.ground_truth import GroundTruth, velocities_of_poses
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres

_BLUR_GRID = 16  # cells a side, over which the length of a frame's blur is averaged
_INSTANT = 1e-3  # s; velocities are averaged over windows


@dataclass(frozen=True)
class CapturedFrame:
    """One image.

    Attributes:
        stamp: ns, on the clock of the capture.
        image: (H, W) luminance or (H, W, 3) BGR, uint8.
        camera: its intrinsics.
        exposure: time that one row integrates light, s; None if the capture does not say.
        depth: (H', W') uint16 mm registered to the image, 0 where unknown; None without.
    """

    stamp: int
    image: np.ndarray
    camera: Camera
    exposure: float | None = None
    depth: np.ndarray | None = None

    def resized(self, width: int, height: int) -> CapturedFrame:
        """The whole frame at another size."""
        interpolation = cv2.INTER_AREA if width < self.camera.width else cv2.INTER_LINEAR
        return replace(
            self,
            image=cv2.resize(self.image, (width, height), interpolation=interpolation),
            camera=self.camera.resize(width, height),
            depth=None if self.depth is None else _nearest(self.depth, (0, 0, 1, 1), (height, width)),
        )

    def cropped(self, width: int, height: int) -> CapturedFrame:
        """The middle of the frame.

        Raises:
            InputError: it is not that large.
        """
        full = self.camera
        if width > full.width or height > full.height:
            raise InputError(f"--crop is {width}×{height}, but the image is only {full.width}×{full.height}")
        left, top = (full.width - width) // 2, (full.height - height) // 2
        part = (left / full.width, top / full.height, width / full.width, height / full.height)
        return replace(
            self,
            image=np.ascontiguousarray(self.image[top : top + height, left : left + width]),
            camera=full.crop(left, top, width, height),
            depth=None if self.depth is None else _nearest(self.depth, part, (height, width)),
        )


def _nearest(depth: np.ndarray, part: tuple[float, float, float, float], shape: tuple[int, int]) -> np.ndarray:
    """A part (left, top, width, height as fractions) of a depth image, resampled without mixing near and far."""
    left, top, width, height = part
    rows = (top + height * (np.arange(shape[0]) + 0.5) / shape[0]) * depth.shape[0]
    columns = (left + width * (np.arange(shape[1]) + 0.5) / shape[1]) * depth.shape[1]
    return depth[np.ix_(rows.astype(int), columns.astype(int))]


@dataclass(frozen=True)
class Gyroscope:
    """Angular velocity of the camera: stamps (N,) int64 ns, ascending; angular (N, 3) rad/s in its optical frame."""

    stamps: np.ndarray
    angular: np.ndarray


@dataclass(frozen=True)
class Poses:
    """Poses of the camera's optical frame in a fixed one.

    Attributes:
        stamps: (N,) int64 ns, ascending. rotations: (N, 3, 3) camera → fixed. positions: (N, 3) m.
    """

    stamps: np.ndarray
    rotations: np.ndarray
    positions: np.ndarray

    def velocities(self) -> GroundTruth:
        return velocities_of_poses(self.stamps, self.rotations, self.positions)


@dataclass(frozen=True)
class Capture:
    """A capture, opened.

    Attributes:
        frames: in the order of time, read one by one. count: how many there are.
        lossless: its images were not compressed with loss, and should not be.
        gyroscope, poses: None where the capture has none.
    """

    frames: Iterable[CapturedFrame]
    count: int
    lossless: bool
    gyroscope: Gyroscope | None = None
    poses: Poses | None = None

    def twist(self) -> GroundTruth | None:
        """The velocity of the camera, from poses; its angular part from the gyroscope, which is surer, if there is one.

        None without poses.
        """
        if self.poses is None:
            return None
        from_poses = self.poses.velocities()
        if self.gyroscope is None or len(from_poses.stamps) < 2:
            return from_poses
        inside = (self.gyroscope.stamps >= from_poses.stamps[0]) & (self.gyroscope.stamps <= from_poses.stamps[-1])
        stamps, angular = self.gyroscope.stamps[inside], self.gyroscope.angular[inside]
        linear, _ = from_poses.at(stamps, _INSTANT)
        known = np.isfinite(linear).all(1)  # not where the poses have a gap
        return GroundTruth(stamps[known], linear[known], angular[known], "")

    def turning(self) -> GroundTruth | None:
        """The camera's angular velocity, from whatever measured it; None if nothing did."""
        if self.gyroscope is None:
            return self.twist()
        return GroundTruth(
            self.gyroscope.stamps, np.full((len(self.gyroscope.stamps), 3), np.nan), self.gyroscope.angular, ""
        )


def mean_blur(camera: Camera, angular: np.ndarray, exposure: float) -> float:
    """Mean length of the streaks that a turn at (3,) rad/s leaves, px at 320 px image width."""
    small = camera.resize(_BLUR_GRID, _BLUR_GRID)
    flow = MotionFieldMatrix.at(small, cell_centres(_BLUR_GRID, _BLUR_GRID, 1)).angular @ angular
    flow *= (320 / _BLUR_GRID, 320 * camera.height / camera.width / _BLUR_GRID)
    return float(exposure * np.nanmean(np.linalg.norm(flow, axis=1)))


def read_table(path: Path, required: tuple[str, ...]) -> np.ndarray:
    """A CSV file with a line of column names → structured array of float64; what is not a number is NaN.

    Raises:
        InputError: it is missing, damaged, or lacks a required column.
    """
    try:
        table = np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True, autostrip=True, dtype=np.float64))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    missing = [name for name in required if name not in (table.dtype.names or ())]
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; its first line must name the columns")
    return table


def columns(table: np.ndarray, *names: str) -> np.ndarray:
    """Columns of a structured array → (N, len(names))."""
    return np.column_stack([table[name] for name in names])


def nanoseconds(seconds: np.ndarray) -> np.ndarray:
    """(N,) s → (N,) int64 ns."""
    return np.round(np.asarray(seconds) * 1e9).astype(np.int64)


def ascending(stamps: np.ndarray, *values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Samples in the order of their stamps, without repetitions and without rows that are not all numbers."""
    finite = np.logical_and.reduce([np.isfinite(value).reshape(len(stamps), -1).all(1) for value in values])
    stamps, first = np.unique(stamps[finite], return_index=True)
    return stamps, *(value[finite][first] for value in values)


def read_image(path: Path) -> np.ndarray:
    """(H, W) or (H, W, 3) BGR uint8, as stored. Raises InputError: it is missing or not such an image."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8:
        raise InputError(f"{path} is missing or not a readable 8-bit image")
    return image


def read_depth(path: Path, units_per_metre: int) -> np.ndarray:
    """A 16-bit depth image → (H, W) uint16 mm, 0 where unknown. Raises InputError: it is missing or another image."""
    depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if depth is None or depth.dtype != np.uint16 or depth.ndim != 2:
        raise InputError(f"{path} is missing or not a 16-bit depth image")
    if units_per_metre == 1000:
        return depth
    return np.round(depth * (1000 / units_per_metre)).astype(np.uint16)
