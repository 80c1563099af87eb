"""The epipolar geometry of tracks: a rotation and where a translation points to, which need neither depth nor blur.

Five tracks fix both (Nistér 2004); of random fives the one that most tracks agree with is taken (RANSAC).
"""

from __future__ import annotations

import cv2
import numpy as np

from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.tracking import Tracks
from image_as_imu_ros.estimation.constants import TRACKING


def epipolar_pose(tracks: Tracks, inverse_depth: np.ndarray) -> Poses | None:
    """Find the pose (1) whose epipolar lines the tracks (N) follow; None if they agree on none, or no depth is known.

    Args:
        inverse_depth: (N,) 1/m of each track in this frame, NaN where it is not known; its median scales the
            translation.
    """
    if len(tracks) < TRACKING.least_tracks:
        return None
    now, before = tracks.camera.rays(tracks.now), tracks.camera.rays(tracks.before)
    limit = TRACKING.epipolar_px / tracks.camera.fx
    essential, inliers = cv2.findEssentialMat(
        now, before, np.eye(3), cv2.USAC_FAST, TRACKING.epipolar_confidence, limit
    )
    if essential is None or essential.shape != (3, 3):
        return None
    chosen = inliers.ravel() > 0
    now, before = (np.column_stack([rays, np.ones(len(rays))])[chosen] for rays in (now, before))
    # Of the four poses with this essential matrix, two are rotated by half a turn more; of the others, points lie
    # before both cameras in one.
    *rotations, translation = cv2.decomposeEssentialMat(essential)
    rotation = max(rotations, key=np.trace)
    depth = _relative_depth(now.T, before.T, rotation, translation[:, 0])
    in_front = (depth > 0).sum(), (depth < 0).sum()  # with the translation, and with its reverse
    if max(in_front) < TRACKING.least_tracks:
        return None
    sign = 1.0 if in_front[0] >= in_front[1] else -1.0
    with np.errstate(invalid="ignore"):
        ratios = sign * depth * inverse_depth[chosen]
        ratios = ratios[ratios > 0]
    if not len(ratios):
        return None
    scale = np.exp(-np.median(np.log(ratios)))
    return Poses(rotation[None], scale * sign * translation[None, :, 0], np.zeros((1, 3)))


def _relative_depth(now: np.ndarray, before: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Depths (N,) along rays (3, N) of this frame, in units of the translation: before × (Z·R·now + t) = 0."""
    normal, offset = _cross(before, rotation @ now), _cross(before, translation[:, None])
    return -(normal * offset).sum(0) / (np.square(normal).sum(0) + 1e-12)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute a × b of arrays whose first axis has three elements; np.cross takes several times longer."""
    return np.stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
