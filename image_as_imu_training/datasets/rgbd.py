"""RGB-D frames with camera poses: what every layout is read into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import overload

import cv2
import numpy as np
import torch

from image_as_imu_ros.datasets.capture import Frames, Poses
from image_as_imu_ros.datasets.files import read_image
from image_as_imu_ros.datasets.ground_truth import LONGEST_DT
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_training.rendering.sensor import linear_from_srgb

# What hands, robots and 30–60 Hz trackers do not do: a pose that does has jumped.
_LONGEST_STEP = 0.12  # s
_FASTEST = (3.0, 8.0)  # m/s, rad/s
_HARDEST = (40.0, 100.0)  # m/s², rad/s²
LEAST_KNOWN = 0.3  # share of a depth image that must be measured for a frame to be rendered from
_NEAREST = 0.3  # m; nearer ones are errors of the sensors that take such frames
_FARTHEST = 1e4  # m, as good as infinitely far, and a number that half precision holds


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
        """Show the frame as another camera at the same place sees it, depth at the size of the colour image.

        What the frame does not show is the nearest colour, without depth.
        """
        source, colour = self.camera, self.colour
        if camera.fx < source.fx:  # or detail finer than the target's pixels would alias
            size = [round(side * camera.fx / source.fx) for side in (source.width, source.height)]
            source, colour = source.resize(*size), cv2.resize(colour, size, interpolation=cv2.INTER_AREA)
        colour = cv2.remap(colour, *_sampling_places(source, camera), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        place = _sampling_places(self.camera.resize(*self.depth.shape[::-1]), camera)
        depth = cv2.remap(self.depth, *place, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=np.nan)
        return replace(self, colour=colour, depth=depth, camera=camera)


@lru_cache(maxsize=8)
def _sampling_places(source: Camera, target: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Say where the target's pixels lie in the source's image: x and y, (h, w) float32 px each."""
    x, y = np.meshgrid(np.arange(target.width), np.arange(target.height))
    pixels = source.project(target.rays(np.column_stack([x.ravel(), y.ravel()])))
    x, y = pixels.T.reshape(2, target.height, target.width).astype(np.float32)
    return x, y


@dataclass(frozen=True)
class RgbdSequence(Sequence[RgbdFrame]):
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

    @overload
    def __getitem__(self, index: int) -> RgbdFrame: ...

    @overload
    def __getitem__(self, index: slice) -> RgbdSequence: ...

    def __getitem__(self, index: int | slice) -> RgbdFrame | RgbdSequence:
        if isinstance(index, slice):
            kept = range(*index.indices(len(self)))
            steps = slice(kept.start, max(kept.start, kept.stop - 1))
            return RgbdSequence(self.stamps[index], self.poses[index], self.jumps[steps], lambda i: self.read(kept[i]))
        number = range(len(self))[index]
        colour, depth, camera = self.read(number)
        return RgbdFrame(colour, depth, camera, self.poses[number], float(self.stamps[number]))

    def pose_at(self, stamp: float) -> np.ndarray:
        """Interpolate the (4, 4) camera-to-world at a time within the sequence, between its neighbours' poses."""
        after = int(np.clip(np.searchsorted(self.stamps, stamp), 1, len(self) - 1))
        first, second = self.stamps[after - 1 : after + 1]
        return interpolate_pose(self.poses[after - 1], self.poses[after], (stamp - first) / (second - first))


def sequence_of(folder: Path, frames: Frames, poses: Poses) -> RgbdSequence:
    """Keep a capture's frames that have depth and lie at a pose, or between two that are at most 0.1 s apart.

    Raises:
        InputError: none does.
    """
    after = np.clip(np.searchsorted(poses.stamps, frames.stamps), 1, max(1, len(poses.stamps) - 1))
    if len(poses.stamps) < 2:
        raise InputError(f"{folder} holds fewer than two poses")
    begin, end = poses.stamps[after - 1], poses.stamps[after]
    share = (frames.stamps - begin) / (end - begin)
    usable = frames.has_depth & (share >= 0) & (share <= 1)
    usable &= (end - begin <= round(LONGEST_DT * 1e9)) | (share == 0) | (share == 1)
    if not usable.any():
        raise InputError(f"{folder}: no frame has a depth image (of TUM: within 20 ms) and poses before and after it")
    kept, share = np.flatnonzero(usable), share[usable]
    first, second = after[usable] - 1, after[usable]
    positions = poses.positions[first] + share[:, None] * (poses.positions[second] - poses.positions[first])
    rotations = so3.interpolate(poses.rotations[first], poses.rotations[second], share)
    stamps, known = frames.stamps[usable] / 1e9, pose_matrices(positions, rotations)

    def read(i: int) -> tuple[np.ndarray, np.ndarray, Camera]:
        frame = frames.read(int(kept[i]))
        if frame.depth_image is None:  # though `has_depth` says so
            raise InputError(frame.depth_complaint)
        return rgb(frame.image), frame.depth_image.metres(), frame.camera

    return RgbdSequence(stamps, known, find_jumps(stamps, known), read)


def pose_matrices(positions: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Put positions (N, 3) m and rotations (N, 3, 3) together: (N, 4, 4)."""
    poses = np.tile(np.eye(4), (len(positions), 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = rotations, positions
    return poses


def interpolate_pose(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Move a (4, 4) pose towards another at constant velocity, by `share` 0…1."""
    between = first.copy()
    between[:3, :3] = so3.interpolate(first[:3, :3], second[:3, :3], share)
    between[:3, 3] += share * (second[:3, 3] - first[:3, 3])
    return between


def mean_motion(first: np.ndarray, second: np.ndarray, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measure how far a camera moves between two poses: metres and rotation vector, (3,) each, in a third pose's axes.

    All poses are (4, 4) camera-to-world.
    """
    to_frame = frame[:3, :3].T
    rotation_vector = so3.log(first[:3, :3].T @ second[:3, :3])
    return to_frame @ (second[:3, 3] - first[:3, 3]), to_frame @ first[:3, :3] @ rotation_vector


def find_jumps(stamps: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Find steps over which a tracked camera did not really move as its poses say: (N,), (N, 4, 4) → (N − 1,) bool.

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
    """Read an image: (h, w, 3) uint8 RGB. Raises InputError: it is missing or not readable."""
    return rgb(read_image(path))


def rgb(image: np.ndarray) -> np.ndarray:
    """Convert luminance (h, w) or BGR (h, w, 3) to RGB (h, w, 3), uint8."""
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)


def linear_luminance(colour: np.ndarray) -> np.ndarray:
    """Convert RGB (h, w, 3) uint8 to (h, w) float32 linear light 0…1."""
    return _LINEAR[np.asarray(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY), np.uint8)]


_LINEAR = linear_from_srgb(torch.arange(256) / 255).numpy()


def known_depth(depth: np.ndarray) -> np.ndarray:
    """Mark where depth was measured, from 0.3 m on: bool. Infinitely far is known, too."""
    return depth > _NEAREST


def fill_holes(depth: np.ndarray) -> np.ndarray:
    """Give pixels that no depth was measured for the nearest one's, for an image of them to move by: (h, w) float32 m.

    Labels are another matter: `known_depth` says which pixels have one. Nothing is farther than 10 km, where not even
    the fastest translation is seen.

    Raises:
        InputError: no pixel has one.
    """
    hole = ~known_depth(depth)
    if hole.all():
        raise InputError(f"a depth image holds no depth beyond {_NEAREST} m")
    _, nearest = cv2.distanceTransformWithLabels(hole.astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    labels = np.asarray(nearest, np.int32)
    value_of_label = np.zeros(labels.max() + 1, np.float32)
    value_of_label[labels[~hole]] = np.minimum(depth[~hole], _FARTHEST)
    return value_of_label[labels]
