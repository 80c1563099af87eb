"""What every layout is read into: frames of one camera, and what other sensors say about its motion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from image_as_imu_ros.datasets.ground_truth import GroundTruth, velocities_of_poses
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.frame import StampReference
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres
from image_as_imu_ros.geometry.so3 import rotation_matrices

_BLUR_GRID = 16  # cells a side, over which the length of a frame's blur is averaged
_INSTANT = 1e-3  # s; velocities are averaged over windows
_LARGEST = np.iinfo(np.uint16).max
_LEAST_QUATERNION = 0.5  # length; those of orientations have 1


@dataclass(frozen=True)
class DepthImage:
    """Depth along the optical axis, as a capture stores it.

    Attributes:
        values: (H, W) uint16; 0 and the largest value, at which sensors saturate, where unknown.
        units_per_metre: what they count.
    """

    values: np.ndarray
    units_per_metre: float = 1000

    def millimetres(self) -> np.ndarray:
        """Return (H, W) uint16 mm, as ROS has it, 0 where unknown, or farther than that can say."""
        values = self.values
        if self.units_per_metre != 1000:
            values = np.round(values * (1000 / self.units_per_metre))
        unknown = (self.values == _LARGEST) | (values >= _LARGEST)
        return np.where(unknown, 0, values).astype(np.uint16)

    def metres(self) -> np.ndarray:
        """Return (H, W) float32 m, NaN where unknown."""
        unknown = (self.values == 0) | (self.values == _LARGEST)
        return np.where(unknown, np.float32(np.nan), self.values / np.float32(self.units_per_metre))

    def resampled(self, part: tuple[float, float, float, float], shape: tuple[int, int]) -> DepthImage:
        """Resample a part (left, top, width, height as fractions) without mixing near and far."""
        left, top, width, height = part
        rows = (top + height * (np.arange(shape[0]) + 0.5) / shape[0]) * self.values.shape[0]
        columns = (left + width * (np.arange(shape[1]) + 0.5) / shape[1]) * self.values.shape[1]
        return replace(self, values=self.values[np.ix_(rows.astype(int), columns.astype(int))])


@dataclass(frozen=True)
class CapturedFrame:
    """One image.

    Attributes:
        stamp: ns, in the time of the capture.
        image: (H, W) luminance, uint8 or uint16, or (H, W, 3) BGR, uint8.
        camera: its intrinsics.
        exposure: time that one row integrates light, s; None if the capture does not say.
        depth_image: registered to the image, perhaps coarser; None without.
        depth_complaint: why there is none, where there should be.
    """

    stamp: int
    image: np.ndarray
    camera: Camera
    exposure: float | None = None
    depth_image: DepthImage | None = None
    depth_complaint: str = ""

    @property
    def depth(self) -> np.ndarray | None:
        """(H', W') uint16 mm, 0 where unknown; None without."""
        return None if self.depth_image is None else self.depth_image.millimetres()

    def resized(self, width: int, height: int) -> CapturedFrame:
        """Resample the whole frame to another size."""
        interpolation = cv2.INTER_AREA if width < self.camera.width else cv2.INTER_LINEAR
        return replace(
            self,
            image=cv2.resize(self.image, (width, height), interpolation=interpolation),
            camera=self.camera.resize(width, height),
            depth_image=self.depth_image and self.depth_image.resampled((0, 0, 1, 1), (height, width)),
        )

    def cropped(self, width: int, height: int) -> CapturedFrame:
        """Keep the middle of the frame.

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
            depth_image=self.depth_image and self.depth_image.resampled(part, (height, width)),
        )


@dataclass(frozen=True)
class Frames:
    """Frames in the order of time, each read when it is asked for.

    Attributes:
        stamps: (N,) int64 ns, ascending.
        has_depth: (N,) bool, whether there should be depth.
        read: number of a frame, 0 … N − 1 → the frame. Raises `UnreadableImageError`: its image is missing or
            damaged. An iteration goes on after that.
    """

    stamps: np.ndarray
    has_depth: np.ndarray
    read: Callable[[int], CapturedFrame]

    def __len__(self) -> int:
        return len(self.stamps)

    def __iter__(self) -> Iterator[CapturedFrame]:
        return map(self.read, range(len(self)))


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

    @classmethod
    def of(cls, stamps: np.ndarray, quaternions: np.ndarray, positions: np.ndarray) -> Poses:
        """Make poses of quaternions (N, 4) w, x, y, z; those of no length, as of lost tracking, are left out."""
        known = np.linalg.norm(quaternions, axis=1) > _LEAST_QUATERNION
        return cls(stamps[known], rotation_matrices(quaternions[known]), positions[known])

    def velocities(self) -> GroundTruth:
        """Differentiate the poses."""
        return velocities_of_poses(self.stamps, self.rotations, self.positions)


@dataclass(frozen=True)
class Capture:
    """A capture, opened.

    Attributes:
        frames: in the order of time, read one by one. count: how many there are.
        lossless: its images were not compressed with loss, and should not be.
        gyroscope, poses: None where the capture has none.
        stamp_reference: which time of the exposure the frames' stamps are; None if nothing says.
        readout_time: from the first row's start to the last row's, s; 0 for a global shutter, or if it is not said.
    """

    frames: Iterable[CapturedFrame]
    count: int
    lossless: bool
    gyroscope: Gyroscope | None = None
    poses: Poses | None = None
    stamp_reference: StampReference | None = None
    readout_time: float = 0.0

    def twist(self) -> GroundTruth | None:
        """Differentiate the poses; None without any.

        The angular part is the gyroscope's, which is surer, if there is one.
        """
        if self.poses is None:
            return None
        from_poses = self.poses.velocities()
        if self.gyroscope is None or len(from_poses.stamps) < 2:
            return from_poses
        inside = (self.gyroscope.stamps >= from_poses.stamps[0]) & (self.gyroscope.stamps <= from_poses.stamps[-1])
        stamps, angular = self.gyroscope.stamps[inside], self.gyroscope.angular[inside]
        linear, _ = from_poses.at(stamps, _INSTANT)
        known = np.isfinite(linear).all(1)  # not where poses are missing
        return GroundTruth(stamps[known], linear[known], angular[known], "")

    def angular_velocity(self) -> GroundTruth | None:
        """Return the angular velocity by the gyroscope, else by the poses; None without both."""
        if self.gyroscope is None:
            return self.twist()
        return GroundTruth(
            self.gyroscope.stamps, np.full((len(self.gyroscope.stamps), 3), np.nan), self.gyroscope.angular, ""
        )


def mean_blur(camera: Camera, angular: np.ndarray, exposure: float) -> float:
    """Average the length of the streaks that a rotation at (3,) rad/s leaves, px at 320 px image width."""
    small = camera.resize(_BLUR_GRID, _BLUR_GRID)
    flow = MotionFieldMatrix.at(small, cell_centres(_BLUR_GRID, _BLUR_GRID, 1)).angular @ angular
    flow *= (320 / _BLUR_GRID, 320 * camera.height / camera.width / _BLUR_GRID)
    return float(exposure * np.nanmean(np.linalg.norm(flow, axis=1)))
