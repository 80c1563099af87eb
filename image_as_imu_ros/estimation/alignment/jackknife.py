"""What an answer would be without a third of the scene: the nearest, the leftmost, the lowest …

All of a static scene tells the same motion. What moves by itself, or with the camera, is somewhere, at a distance of
its own: often it alone is near enough to tell the translation, and fits. So the scene is divided in three by distance,
across and down the image, each time anew. With δₖ the step of least squares without part k, that far the answer moves
if the part is left out, and

    C = (K − 1)/K · Σ δₖ·δₖᵀ,    δₖ = (N − Nₖ)⁻¹·Jₖᵀ·Wₖ·eₖ

is its covariance as the data themselves show it (delete-group jackknife: Shao & Wu 1989, "A general theory for
jackknife variance estimation"). Three parts tell it badly: of its eigenvalues, relative to the covariance that was
expected, what is beyond chance is added to 1.
"""

from __future__ import annotations

import numpy as np

from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.constants import ALIGNMENT


def parts_of(places: np.ndarray) -> np.ndarray:
    """Divide points in three, three times: (3, M) numbers of the part that a point is in.

    Args:
        places: (3, M), in any unit: inverse depth, x and y. Parts of points that are equally far may be empty.
    """
    ascending = np.sort(places, axis=1)
    limits = ascending[:, np.arange(1, ALIGNMENT.parts) * (ascending.shape[1] - 1) // ALIGNMENT.parts]
    return np.ascontiguousarray((places[:, None] > limits[:, :, None]).sum(1))


def widened_by_parts(
    covariance: np.ndarray,
    normal: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    errors: np.ndarray,
    parts: np.ndarray,
) -> np.ndarray:
    """Widen the covariance (P, P) of the first P of Q unknowns where parts of the scene disagree.

    Args:
        normal: (Q, Q) normal matrix N, with the priors. rows: (Q, M) the transposed Jacobian J of what was measured.
        weights, errors: (M,), the latter as the solution leaves them.
        parts: (3, M) of the points, see `parts_of`.
    """
    steps = _without_parts(parts, normal, rows, weights, errors)
    for part_of, of_parts in zip(parts, steps[:, :, : len(covariance)], strict=True):
        count = np.count_nonzero(np.bincount(part_of))
        covariance = _widened(covariance, (count - 1) / count * of_parts.T @ of_parts)
    return covariance


def _without_parts(
    parts: np.ndarray, normal: np.ndarray, rows: np.ndarray, weights: np.ndarray, errors: np.ndarray
) -> np.ndarray:
    """Compute the steps (3, K, Q) δₖ, with (3, M) parts of the points; 0 for a part of none, or of all."""
    if (loops := compiled.loops("jackknife")) is not None:
        each = compiled.doubles(normal, rows, weights, errors)
        steps, definite = loops.without_parts(parts, ALIGNMENT.parts, *each)
        if definite:
            return np.asarray(steps)
    # Where a part tells nearly all, rounding leaves others no definite matrix: any solution is as large as it must be.
    steps = np.zeros((len(parts), ALIGNMENT.parts, len(normal)))
    for part_of, of_parts in zip(parts, steps, strict=True):
        for part in range(ALIGNMENT.parts):
            chosen = part_of == part
            if chosen.any() and not chosen.all():  # all points may be equally far
                weighted = rows[:, chosen] * weights[chosen]
                of_parts[part] = np.linalg.solve(normal - weighted @ rows[:, chosen].T, weighted @ errors[chosen])
    return steps


def _widened(covariance: np.ndarray, jackknifed: np.ndarray) -> np.ndarray:
    """Widen a covariance in the directions in which the jackknife's is larger than by chance."""
    if np.linalg.solve(covariance, jackknifed).trace() <= ALIGNMENT.parts_by_chance:  # nor is any eigenvalue
        return covariance
    root = np.linalg.cholesky(covariance)
    inverse_root = np.linalg.inv(root)
    ratios, axes = np.linalg.eigh(inverse_root @ jackknifed @ inverse_root.T)
    axes = root @ axes
    return (axes * (1 + np.maximum(0, ratios - ALIGNMENT.parts_by_chance))) @ axes.T
