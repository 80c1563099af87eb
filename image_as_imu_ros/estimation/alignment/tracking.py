"""Corners tracked back to the previous frame, and the motions that they suggest.

Corners are tracked by pyramidal Lucas–Kanade, there and back again (Kalal et al. 2010). Two tracks fix a rotation: with
a the middle and n the normal of two unit rays, R = [a' n' a'×n']·[a n a×n]ᵀ. Rotations of random pairs are rated by how
many tracks they explain (RANSAC, Fischler & Bolles 1981), and the best is fitted to all of these (Kabsch 1976). None
of these needs depth or blur.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from image_as_imu_ros.estimation.constants import TRACKING
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera

OVERLAPPING = (TRACKING.window / TRACKING.distance) ** 2
"""How many tracks share an error because their patches overlap, where corners are as close as they may be."""


@dataclass(frozen=True)
class Tracks:
    """The same points in two images of one pinhole camera.

    Attributes:
        camera: of both images. now, before: (N, 2) px in this frame and in the previous one.
    """

    camera: Camera
    now: np.ndarray
    before: np.ndarray

    def __len__(self) -> int:
        return len(self.now)

    @property
    def static(self) -> bool:
        """Whether there are some, of which most do not move."""
        return bool(
            len(self) >= TRACKING.least_tracks
            and np.median(np.linalg.norm(self.now - self.before, axis=1)) < TRACKING.static_px
        )

    def select(self, chosen: np.ndarray) -> Tracks:
        """Keep some of the tracks, given by index or mask."""
        return Tracks(self.camera, self.now[chosen], self.before[chosen])


def track(camera: Camera, now: np.ndarray, before: np.ndarray) -> Tracks:
    """Track corners of this frame back to the previous one.

    Args:
        camera: pinhole, of both images. now, before: (H, W) luminance.
    """
    now, before = cv2.convertScaleAbs(now), cv2.convertScaleAbs(before)
    corners = cv2.goodFeaturesToTrack(now, TRACKING.corners, TRACKING.quality, TRACKING.distance)
    if corners is None:
        return Tracks(camera, np.empty((0, 2)), np.empty((0, 2)))
    there, kept = there_and_back(now, before, corners, corners, TRACKING.levels)
    return Tracks(camera, corners[kept, 0].astype(np.float64), there[kept, 0].astype(np.float64))


def there_and_back(
    now: np.ndarray, before: np.ndarray, corners: np.ndarray, near: np.ndarray, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Track corners (N, 1, 2) float32 between images (H, W) uint8, from where they are expected, `near`.

    Args:
        levels: of the pyramid above the image itself.

    Returns:
        Where they are (N, 1, 2), and (N,) bool, which of them return to where they came from.
    """
    size, start = (TRACKING.window, TRACKING.window), cv2.OPTFLOW_USE_INITIAL_FLOW
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        now, before, corners, near.copy(), winSize=size, maxLevel=levels, flags=start
    )
    expected = there + (corners - near)
    back, again, _ = cv2.calcOpticalFlowPyrLK(before, now, there, expected, winSize=size, maxLevel=levels, flags=start)
    returned = np.linalg.norm(back - corners, axis=2).ravel() < TRACKING.return_px
    return there, np.logical_and(found, again).ravel() & returned


def tracked_rotations(tracks: Tracks, seconds: float) -> np.ndarray:
    """Find rotations that explain many tracks: velocities (S, 6) (0, ω) at which to start an alignment.

    Args:
        seconds: between the two frames.

    Returns:
        S is 0 to 3; the one that explains most comes first, each further one explains others.
    """
    camera = tracks.camera
    rays_now, rays_before = (_unit_rays(camera, pixels) for pixels in (tracks.now, tracks.before))
    count = len(rays_now)
    if count < TRACKING.least_tracks:
        return np.empty((0, 6))
    pairs = np.random.default_rng(0).integers(count, size=(TRACKING.hypotheses, 2))
    rotations = _axes(rays_before[pairs]) @ _axes(rays_now[pairs]).transpose(0, 2, 1)
    limit = TRACKING.inlier_px / camera.fx
    inliers = _errors(rotations, rays_now, rays_before) < limit
    vectors, left = [], np.ones(count, bool)
    for _ in range(TRACKING.starts):
        support = (inliers & left).sum(1)
        if support.max() < TRACKING.least_tracks:
            break
        explained = inliers[np.argmax(support)]
        rotation = so3.between(rays_now[explained], rays_before[explained])
        vectors.append(so3.log(rotation) / seconds)
        left &= _errors(rotation[None], rays_now, rays_before)[0] >= limit
    return np.pad(np.reshape(vectors, (-1, 3)), ((0, 0), (3, 0)))


def _unit_rays(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    rays = np.column_stack([camera.rays(pixels), np.ones(len(pixels))])
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _axes(pairs: np.ndarray) -> np.ndarray:
    """Orthonormal axes (K, 3, 3), in columns, of pairs (K, 2, 3) of unit rays."""
    middle, normal = pairs.sum(1), np.cross(pairs[:, 0], pairs[:, 1])
    middle /= np.linalg.norm(middle, axis=1, keepdims=True) + 1e-12
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    return np.stack([middle, normal, np.cross(middle, normal)], 2)


def _errors(rotations: np.ndarray, now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Angles (K, N), rad, between unit rays carried back by rotations (K, 3, 3) and those seen there."""
    # |a − b|² = 2 − 2·a·b
    return np.sqrt(np.maximum(2 - 2 * ((rotations @ now.T) * before.T).sum(1), 0))
