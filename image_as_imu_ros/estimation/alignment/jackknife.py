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

from image_as_imu_ros.estimation.constants import ALIGNMENT


def widened_by_parts(
    covariance: np.ndarray,
    normal: np.ndarray,
    rows: np.ndarray,
    weights: np.ndarray,
    errors: np.ndarray,
    places: np.ndarray,
) -> np.ndarray:
    """Widen the covariance (P, P) of the first P of Q unknowns where parts of the scene disagree.

    Args:
        normal: (Q, Q) normal matrix N, with the priors. rows: (Q, M) the transposed Jacobian J of what was measured.
        weights, errors: (M,), the latter as the solution leaves them.
        places: (3, M) of the points, in any unit: inverse depth, x and y.
    """
    size = len(covariance)
    for place in places:
        part_of = np.searchsorted(np.quantile(place, np.arange(1, ALIGNMENT.parts) / ALIGNMENT.parts), place)
        parts = np.unique(part_of)
        if len(parts) == 1:  # all points are equally far
            continue
        jackknifed = np.zeros_like(covariance)
        for part in parts:
            chosen = part_of == part
            weighted = rows[:, chosen] * weights[chosen]
            without = np.linalg.solve(normal - weighted @ rows[:, chosen].T, weighted @ errors[chosen])[:size]
            jackknifed += (len(parts) - 1) / len(parts) * np.outer(without, without)
        covariance = _widened(covariance, jackknifed)
    return covariance


def _widened(covariance: np.ndarray, jackknifed: np.ndarray) -> np.ndarray:
    """Widen a covariance in the directions in which the jackknife's is larger than by chance."""
    root = np.linalg.cholesky(covariance)
    inverse_root = np.linalg.inv(root)
    ratios, axes = np.linalg.eigh(inverse_root @ jackknifed @ inverse_root.T)
    axes = root @ axes
    return (axes * (1 + np.maximum(0, ratios - ALIGNMENT.parts_by_chance))) @ axes.T
