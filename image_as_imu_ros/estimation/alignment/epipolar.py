"""The epipolar geometry of tracks: a rotation and where a translation points to, which need neither depth nor blur.

Five tracks fix both (Nistér 2004); of random fives the one that most tracks agree with is taken (RANSAC).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.tracking import Tracks
from image_as_imu_ros.estimation.constants import TRACKING


@dataclass(frozen=True)
class EpipolarGeometry:
    """A pose up to the length of its translation.

    Attributes:
        rotation: (3, 3). heading: (3,) of length 1.
        depth: (N,) of each track in this frame, in units of the translation, negative behind the camera; NaN where a
            track does not follow its epipolar line.
    """

    rotation: np.ndarray
    heading: np.ndarray
    depth: np.ndarray

    @classmethod
    def of(cls, tracks: Tracks, thorough: bool) -> EpipolarGeometry | None:
        """Find the geometry whose epipolar lines the tracks (N) follow; None if they agree on none.

        Args:
            thorough: whether to marginalise over the limit (MAGSAC), which takes four times longer.
        """
        now, before = tracks.camera.rays(tracks.now), tracks.camera.rays(tracks.before)
        limit = TRACKING.epipolar_px / tracks.camera.fx
        method = cv2.USAC_MAGSAC if thorough else cv2.USAC_FAST
        if len(tracks) < TRACKING.least_tracks:
            return None
        essential, inliers = cv2.findEssentialMat(now, before, np.eye(3), method, 0.999, limit)
        if essential is None or essential.shape != (3, 3):
            return None
        chosen = inliers.ravel() > 0
        now, before = (np.column_stack([rays, np.ones(len(rays))])[chosen] for rays in (now, before))
        # Of the four poses with this essential matrix, two are rotated by half a turn more; of the others, points lie
        # before both cameras in one.
        *rotations, translation = cv2.decomposeEssentialMat(essential)
        rotation = max(rotations, key=np.trace)
        relative = _relative_depth(now.T, before.T, rotation, translation[:, 0])
        in_front = (relative > 0).sum(), (relative < 0).sum()  # with the translation, and with its reverse
        if max(in_front) < TRACKING.least_tracks:
            return None
        sign = 1.0 if in_front[0] >= in_front[1] else -1.0
        depth = np.full(len(tracks), np.nan)
        depth[chosen] = sign * relative
        return cls(rotation, sign * translation[:, 0], depth)

    def pose(self, inverse_depth: np.ndarray) -> Poses | None:
        """Scale the translation (1) by inverse depths (N,), 1/m, NaN where they are not known; None without any."""
        with np.errstate(invalid="ignore"):
            ratios = self.depth * inverse_depth
            ratios = ratios[ratios > 0]
        if not len(ratios):
            return None
        scale = np.exp(-np.median(np.log(ratios)))
        return Poses(self.rotation[None], scale * self.heading[None], np.zeros((1, 3)))


def _relative_depth(now: np.ndarray, before: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Depths (N,) along rays (3, N) of this frame, in units of the translation: before × (Z·R·now + t) = 0."""
    normal, offset = _cross(before, rotation @ now), _cross(before, translation[:, None])
    return -(normal * offset).sum(0) / (np.square(normal).sum(0) + 1e-12)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute a × b of arrays whose first axis has three elements; np.cross takes several times longer."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
