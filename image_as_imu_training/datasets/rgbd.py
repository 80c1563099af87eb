"""RGB-D frames with camera poses: what every layout is read into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_training.rendering.sensor import linear_from_srgb

# What hands, robots and 30–60 Hz trackers do not do: a pose that does has jumped.
_LONGEST_STEP = 0.12  # s
_FASTEST = (3.0, 8.0)  # m/s, rad/s
_HARDEST = (40.0, 100.0)  # m/s², rad/s²


@dataclass(frozen=True)
class RgbdFrame:
    """One RGB-D frame.

    Attributes:
        colour: (h, w, 3) uint8 RGB.
        depth: (hd, wd) float32 m along the optical axis, NaN where unknown. It has the field of view of `colour`, and
            may be coarser.
        camera: of `colour`.
        pose: (4, 4) camera-to-world; the camera's axes are x right, y down, z forward.
        stamp: s.
    """

    colour: np.ndarray
    depth: np.ndarray
    camera: Camera
    pose: np.ndarray
    stamp: float

    def seen_by(self, camera: Camera) -> RgbdFrame:
        """The frame as another camera at the same place sees it, depth at the size of the colour image.

        What the frame does not show is the nearest colour, without depth.
        """
        source, colour = self.camera, self.colour
        if camera.fx < source.fx:  # or detail finer than the target's pixels would alias
            size = [round(side * camera.fx / source.fx) for side in (source.width, source.height)]
            source, colour = source.resize(*size), cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
        colour = cv2.remap(colour, *_lookup(source, camera), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        place = _lookup(self.camera.resize(*self.depth.shape[::-1]), camera)
        depth = cv2.remap(self.depth, *place, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan)
        return replace(self, colour=colour, depth=depth, camera=camera)


@lru_cache(maxsize=8)
def _lookup(source: Camera, target: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Where the target's pixels lie in the source's image: x and y, (h, w) float32 px each."""
    x, y = np.meshgrid(np.arange(target.width), np.arange(target.height))
    pixels = source.project(target.rays(np.column_stack([x.ravel(), y.ravel()])))
    return tuple(pixels.T.reshape(2, target.height, target.width).astype(np.float32))


@dataclass(frozen=True)
class RgbdSequence(Sequence):
    """Frames in the order of time. Images are read when a frame is asked for; a slice (without step) reads nothing.

    Attributes:
        stamps: (N,) s, ascending.
        poses: (N, 4, 4) float64 camera-to-world, as in RgbdFrame.
        jumps: (N − 1,) bool, the steps over which the poses cannot be trusted, or that are too long to fill.
        read: number of a frame → its colour, depth and camera, as in RgbdFrame.
    """

    stamps: np.ndarray
    poses: np.ndarray
    jumps: np.ndarray
    read: Callable[[int], tuple[np.ndarray, np.ndarray, Camera]]

    def __len__(self) -> int:
        return len(self.stamps)

    def __getitem__(self, index: int | slice) -> RgbdFrame | RgbdSequence:
        if isinstance(index, slice):
            kept = range(*index.indices(len(self)))
            steps = slice(kept.start, max(kept.start, kept.stop - 1))
            return RgbdSequence(self.stamps[index], self.poses[index], self.jumps[steps], lambda i: self.read(kept[i]))
        number = range(len(self))[index]
        return RgbdFrame(*self.read(number), self.poses[number], float(self.stamps[number]))

    def pose_at(self, stamp: float) -> np.ndarray:
        """(4, 4) camera-to-world at a time within the sequence, between its neighbours' poses."""
        after = int(np.clip(np.searchsorted(self.stamps, stamp), 1, len(self) - 1))
        first, second = self.stamps[after - 1 : after + 1]
        return interpolate_pose(*self.poses[after - 1 : after + 1], (stamp - first) / (second - first))


def interpolate_pose(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """(4, 4) pose at `share` 0…1 of the way from one to another, at constant velocity."""
    between = first.copy()
    between[:3, :3] = first[:3, :3] @ cv2.Rodrigues(share * _turn(first, second))[0]
    between[:3, 3] += share * (second[:3, 3] - first[:3, 3])
    return between


def mean_motion(first: np.ndarray, second: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far a camera moves from one pose to another: metres and rotation vector, (3,) each, in a third pose's axes.

    All poses are (4, 4) camera-to-world.
    """
    to_frame = frame[:3, :3].T
    return to_frame @ (second[:3, 3] - first[:3, 3]), to_frame @ first[:3, :3] @ _turn(first, second)


def _turn(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return cv2.Rodrigues(first[:3, :3].T @ second[:3, :3])[0][:, 0]


def poses_from_quaternions(positions: np.ndarray, quaternions: np.ndarray) -> np.ndarray:
    """Positions (N, 3) m and quaternions (N, 4) x, y, z, w → poses (N, 4, 4)."""
    x, y, z, w = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    zero = np.zeros_like(x)
    cross = np.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]]).transpose(2, 0, 1)
    poses = np.tile(np.eye(4), (len(x), 1, 1))
    poses[:, :3, :3] += 2 * (w[:, None, None] * cross + cross @ cross)
    poses[:, :3, 3] = positions
    return poses


def find_jumps(stamps: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Steps over which a tracked camera did not really move as its poses say: (N,) s, (N, 4, 4) → (N − 1,) bool.

    A step is one when it takes too long, is faster than cameras are, or differs from both neighbouring steps by more
    than an acceleration explains: a tracker that finds itself again moves once, and goes on as before.
    """
    steps = [mean_motion(first, second, first) for first, second in pairwise(poses)]
    motion = np.array(steps, np.float64).reshape(-1, 2, 3)
    seconds = np.diff(stamps)
    velocity = motion / seconds[:, None, None]
    jumps = (seconds > _LONGEST_STEP) | (np.linalg.norm(velocity, axis=2) > _FASTEST).any(1)
    if len(velocity) > 1:
        change = np.linalg.norm(np.diff(velocity, axis=0), axis=2)
        sudden = change > np.array(_HARDEST) * (seconds[1:] + seconds[:-1])[:, None] / 2
        unlike_last, unlike_next = np.concatenate([sudden[:1], sudden]), np.concatenate([sudden, sudden[-1:]])
        jumps |= (unlike_last & unlike_next).any(1)
    return jumps


def read_colour(path: Path) -> np.ndarray:
    """(h, w, 3) uint8 RGB."""
    return cv2.cvtColor(_read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_depth(path: Path, units_per_metre: int) -> np.ndarray:
    """A 16-bit depth image as (h, w) float32 m; 0 and 65535 are unknown and become NaN."""
    values = _read(path, cv2.IMREAD_UNCHANGED)
    if values.dtype != np.uint16 or values.ndim != 2:
        raise InputError(f"{path} is not a depth image: it holds {values.dtype} {values.shape}, not 16-bit gray")
    return metres(values, units_per_metre)


def metres(values: np.ndarray, units_per_metre: int) -> np.ndarray:
    """16-bit depth as float32 m; 0 and 65535 are unknown and become NaN."""
    return np.where((values == 0) | (values == 65535), np.float32(np.nan), values / np.float32(units_per_metre))


def _read(path: Path, flags: int) -> np.ndarray:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise InputError(f"{path} is missing or not a readable image")
    return image


def read_camera(path: Path, width: int, height: int) -> Camera:
    """Intrinsics from a text file: the nine numbers of the 3×3 matrix, then those of a lens distortion, if any.

    The distortion is OpenCV's k1, k2, p1, p2 and k3.
    """
    try:
        numbers = [float(word) for word in path.read_text().replace(",", " ").split()]
        fx, _, cx, _, fy, cy, *_ = numbers[:9]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} does not hold camera intrinsics (the nine numbers of a 3×3 matrix): {error}"
        ) from error
    return Camera(width, height, fx, fy, cx, cy, "plumb_bob", tuple(numbers[9:]))


def linear_luminance(colour: np.ndarray) -> np.ndarray:
    """RGB (h, w, 3) uint8 → (h, w) float32 linear light 0…1."""
    return _LINEAR[cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)]


_LINEAR = linear_from_srgb(torch.arange(256) / 255).numpy()


def known_depth(depth: np.ndarray) -> np.ndarray:
    """Where depth is plausible (0.3–10 m): bool."""
    return (depth > 0.3) & (depth < 10)


def fill_holes(depth: np.ndarray) -> np.ndarray:
    """Give pixels without a plausible depth the nearest one's: (h, w) float32 m.

    Raises:
        InputError: no pixel has one.
    """
    hole = ~known_depth(depth)
    if hole.all():
        raise InputError("a depth image holds no depth between 0.3 and 10 m")
    _, labels = cv2.distanceTransformWithLabels(hole.astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    value_of_label = np.zeros(labels.max() + 1, np.float32)
    value_of_label[labels[~hole]] = depth[~hole]
    return value_of_label[labels]
