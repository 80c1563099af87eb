"""Hypotheses about the motion between two frames: where to start, and which are worth refining.

Blur tells the line of motion well and its length badly, so hypotheses lie along the blur's motion, either way. They are
rated by the correlation of the intensities that they link, which gain and offset leave alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.alignment.points import Points, sample
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.constants import ALIGNMENT


def starts_along(blur: np.ndarray, last: np.ndarray | None, reach: float) -> np.ndarray:
    """List velocities (S, 6) at which to start: the blur's (6,) at several lengths, either way; rest; the last (6,).

    Args:
        reach: by which factor the blur's length may be wrong.
    """
    steps = math.ceil(math.log(reach) / math.log(ALIGNMENT.length_step))
    lengths = reach ** (np.arange(-steps, steps + 1) / steps)
    along = np.multiply.outer(np.concatenate([lengths, [0.0], -lengths]), blur)
    if last is None:
        return along
    return np.concatenate([along, [last, (last + blur) / 2, (last - blur) / 2]])


@dataclass(frozen=True)
class Ratings:
    """How well poses fit, best first.

    Attributes:
        order: which ones they were. similarity: correlation coefficient, −1 without overlap. overlap: fraction.
    """

    order: list[int]
    similarity: list[float]
    overlap: list[float]


def best(
    points: Points, before: np.ndarray, poses: Poses, worse: float, apart: float, most: int
) -> tuple[Poses, Ratings]:
    """Choose the best of several poses, leaving out those about equal to a better one.

    Args:
        worse: those whose 1 − similarity, noise included, is more than so many times that of the best are dropped.
        apart: px, mean, by which two must differ.
        most: to keep.
    """
    if (loops := compiled.loops("refinement")) is not None:
        similarity, overlap, positions = _rated(loops.rate, points, before, poses)
        choice = worse, apart, ALIGNMENT.alike, most, ALIGNMENT.sparsity
        chosen = loops.choose(similarity, positions, *choice).tolist()
        return poses.select(chosen), Ratings(chosen, similarity[chosen].tolist(), overlap[chosen].tolist())
    positions = points.positions(poses)
    intensity, seen = sample(before, positions)
    intensity *= seen
    count = seen.sum(1) + 1e-6
    mean_now, mean_before = seen @ points.intensity / count, intensity.sum(1) / count
    variance_now = seen @ np.square(points.intensity) / count - mean_now**2
    variance_before = np.square(intensity).sum(1) / count - mean_before**2
    covariance = intensity @ points.intensity / count - mean_now * mean_before
    similarity = covariance / np.sqrt(np.maximum(variance_now * variance_before, ALIGNMENT.quantisation**2))
    overlap = seen.mean(1)
    similarity[overlap < ALIGNMENT.least_overlap] = -1

    some = positions[..., :: ALIGNMENT.sparsity]
    misfit = 1 - similarity + ALIGNMENT.alike
    kept: list[int] = []
    for candidate in np.argsort(-similarity):
        if kept and misfit[candidate] > worse * misfit[kept[0]]:
            break
        if all(np.abs(some[candidate] - some[other]).mean() > apart for other in kept):
            kept.append(int(candidate))
        if len(kept) == most:
            break
    return poses.select(kept), Ratings(kept, similarity[kept].tolist(), overlap[kept].tolist())


def _rated(
    loop: Callable, points: Points, before: np.ndarray, poses: Poses
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rate poses as `best` does, in `refinement_loop`: similarity (S,), overlap (S,) and positions (S, 2, N)."""
    similarity, overlap = np.empty(len(poses)), np.empty(len(poses))
    positions = np.empty((len(poses), 2, len(points.intensity)), np.float32)
    arrays = compiled.doubles(poses.rotation, poses.translation, poses.shear)
    filled = positions, similarity, overlap
    loop(*compiled.singles(before), *points.for_loops, *arrays, ALIGNMENT.quantisation, *filled)
    similarity[overlap < ALIGNMENT.least_overlap] = -1
    return similarity, overlap, positions
