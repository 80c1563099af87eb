"""Slides that look like rotations.

A rotation and a translation sideways move the image much alike. What tells them apart is parallax and how the flow
bends across the image, and a depth map of the wrong shape bends the flow of a translation as well: tilts of the map and
a translation along the axis can imitate a rotation wholly. A fit to tracks with a network's depth then finds one of the
two, sure of itself, for where it finds little translation, the shape of the map matters little.

So the other explanation is held against the tracks: the translation that explains them best without a rotation that
looks like it. Rotations about the axis and about the translation's own direction do not: they move the image across.
Shapes move points along the epipolar lines only; where hardly anything is left across these, it may be what the camera
did.
"""

from __future__ import annotations

import numpy as np

from image_as_imu_ros.estimation.alignment.tracking import Tracks
from image_as_imu_ros.estimation.config import ALIGNMENT, STRUCTURE


def slide_covariance(tracks: Tracks, inverse_depth: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Compute what it adds to the covariance (6, 6) of a motion that the camera may have slid instead.

    With probability p of the slide m, which is apart from the motion by d, p·(1 − p)·d·dᵀ.

    Args:
        inverse_depth: (N,) 1/m of each track in this frame, by a map whose shape may be wrong.
        motion: (6,) (v, ω)·Δt.
    """
    now, before = tracks.camera.rays(tracks.now), tracks.camera.rays(tracks.before)
    # A point at r/ρ is seen at b ∝ r + ω×r + ρ·t: ρ·(t_xy − b·t_z) + (ω×r)_xy − b·(ω×r)_z = b − r.
    moved = before - now
    rotations = np.cross(np.eye(3)[:, None], np.column_stack([now, np.ones(len(now))]))
    by_rotation = (rotations[..., :2] - rotations[..., 2:] * before).transpose(1, 2, 0)
    across_lens = np.tile(np.eye(2), (len(now), 1, 1))
    by_translation = inverse_depth[:, None, None] * np.concatenate([across_lens, -before[:, :, None]], 2)
    translation, _ = _fitted(by_translation, moved)
    heading = translation / (np.linalg.norm(translation) + 1e-12)
    unlike = np.stack([[heading[0], heading[1], 0.0], [0.0, 0.0, 1.0]], 1)
    factors, left = _fitted(np.concatenate([by_translation, by_rotation @ unlike], 2), moved)
    translation, rotation = factors[:3], unlike @ factors[3:]
    line = translation[:2] - before * translation[2]
    line /= np.linalg.norm(line, axis=1, keepdims=True) + 1e-12
    across = np.abs(left[:, 0] * line[:, 1] - left[:, 1] * line[:, 0])
    flow = np.median(np.linalg.norm(moved, axis=1))
    across_std = STRUCTURE.slide_across * flow + ALIGNMENT.rotation_std / tracks.camera.fx
    probability = STRUCTURE.slide_probability * np.exp(-((np.median(across) / across_std) ** 2) / 2)
    apart = motion - np.concatenate([translation, rotation])
    return probability * (1 - probability) * np.outer(apart, apart)


def _fitted(rows: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit factors (P,) of rows (N, 2, P) to values (N, 2) by least absolute residuals, also returned (N, 2)."""
    flat, left = rows.reshape(-1, rows.shape[2]), values
    factors, weight, middle = np.zeros(rows.shape[2]), np.ones(len(values)), len(values) // 2
    for _ in range(STRUCTURE.reweighted):
        weighted = flat * np.repeat(weight, 2)[:, None]
        factors = np.linalg.solve(weighted.T @ flat + 1e-9 * np.eye(len(factors)), weighted.T @ values.ravel())
        left = values - (flat @ factors).reshape(-1, 2)
        size = np.hypot(left[:, 0], left[:, 1])
        weight = 1 / (size + np.partition(size, middle)[middle] / 2 + 1e-9)  # np.median takes half of the time
    return factors, left
