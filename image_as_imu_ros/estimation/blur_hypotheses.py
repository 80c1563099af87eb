"""Hypotheses about the motion in a blur, found without any guess about its sign.

The axial flow q fixes f·fᵀ = (A·x)·(A·x)ᵀ = A·(x·xᵀ)·Aᵀ, which is linear in the symmetric matrix X = x·xᵀ: least
squares for X, and its leading eigenvector gives x. Further hypotheses are a dominant orientation, a roll, a zoom and
the last motion. Alternating between a sign per cell and a linear solve,

    s ← sign(e·A·x),    x ← argmin Σ w·(‖q‖·s − e·A·x)² + xᵀ·Λ·x,

improves them all at once; the one with the least robust score is refined.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.blur_cells import AxialAxes, Cells, inlier_limit, robust_cost
from image_as_imu_ros.estimation.constants import SHARED
from image_as_imu_ros.geometry.axial_flow import signed_from_axial

_ITERATIONS = 4


def best_hypothesis(cells: Cells, prior_std: np.ndarray, regions: np.ndarray, last: np.ndarray | None) -> np.ndarray:
    """Find the motion x (P,) with the least robust score among all hypotheses.

    Flows are compared in units of q's sigmas: x should give `length` along the measured flow of a cell, with the
    cell's sign, and nothing across. Errors across count half of what they do for q: far from the answer, wrong
    orientations would outweigh right lengths.

    Args:
        prior_std: (P,) of x.
        regions: (K, N) weights of the cells; one hypothesis is found in each region, so that some are free of an
            object that moves on its own.
        last: (P,) the last motion.
    """
    flow = signed_from_axial(cells.q)
    along, across = AxialAxes.of(flow, cells.sigma).jacobian(cells.matrix)
    across = across / 2
    length = np.hypot(*cells.q) / cells.sigma[0]
    least_squares = _LeastSquares.of(along, across, length, prior_std)

    signs = _signs(np.einsum("ckn,cn->kn", _patterns(cells, flow), flow))
    starts = [least_squares(signs, np.ones_like(signs)), _lifted(along, across, length, prior_std, regions)]
    if last is not None:
        starts.append(last[None])
    motions = np.concatenate(starts)
    confined = np.ones((len(motions), len(length)))
    confined[len(signs) : len(signs) + len(regions)] = regions

    if (loops := compiled.loops("blur_cells")) is not None:
        motions, squared = motions.copy(), np.empty_like(confined)
        cells_of = compiled.doubles(along, across, length, prior_std**-2.0)
        least = loops.alternate(*cells_of, motions, confined, squared, _ITERATIONS, SHARED.inlier_sigmas)
        return motions[np.argmin(robust_cost(squared, least) + np.square(motions / prior_std).sum(1))]
    for iteration in range(_ITERATIONS):
        predicted = motions @ along
        signs = _signs(predicted)
        squared = np.square(signs * length - predicted) + np.square(motions @ across)
        limit = inlier_limit(squared)
        weights = np.square(limit / np.maximum(squared, limit))
        # A hypothesis from one region first settles there, before the rest of the image may draw on it.
        motions = least_squares(signs, weights * confined if iteration < 2 else weights)
    score = robust_cost(squared, limit.min()) + np.square(motions / prior_std).sum(1)
    return motions[np.argmin(score)]


@dataclass(frozen=True)
class _LeastSquares:
    """Normal equations of x, for many signs and weights at once.

    Attributes:
        products: (N, P·P) of the Jacobians of each cell. projections: (N, P). prior: (P, P) information.
    """

    products: np.ndarray
    projections: np.ndarray
    prior: np.ndarray

    @classmethod
    def of(cls, along: np.ndarray, across: np.ndarray, length: np.ndarray, prior_std: np.ndarray) -> _LeastSquares:
        """Prepare for flows of `length` (N,) along, given the Jacobians (P, N)."""
        products = np.einsum("in,jn->nij", along, along) + np.einsum("in,jn->nij", across, across)
        return cls(products.reshape(-1, len(prior_std) ** 2), (along * length).T, np.diag(prior_std**-2.0))

    def __call__(self, signs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Solve for (K, N) signs and weights: (K, P) motions."""
        normal = (weights @ self.products).reshape(-1, *self.prior.shape) + self.prior
        return np.linalg.solve(normal, ((weights * signs) @ self.projections)[..., None])[..., 0]


def _patterns(cells: Cells, flow: np.ndarray) -> np.ndarray:
    """Flows (2, 3, N) whose signs are worth a try: one orientation, a roll and a zoom."""
    roll_u, roll_v = cells.matrix[:, -1]
    angle = 0.5 * math.atan2(cells.q[1].sum(), cells.q[0].sum())
    dominant = np.broadcast_to([[math.cos(angle)], [math.sin(angle)]], flow.shape)
    return np.stack([dominant, [roll_u, roll_v], [-roll_v, roll_u]], axis=1)


def _signs(along: np.ndarray) -> np.ndarray:
    """Signs that point measured flows as the predicted ones, given the part of these along those."""
    return np.where(along < 0, -1.0, 1.0)


def _lifted(
    along: np.ndarray, across: np.ndarray, length: np.ndarray, prior_std: np.ndarray, regions: np.ndarray
) -> np.ndarray:
    """Solve f·fᵀ = A·X·Aᵀ for X = x·xᵀ by linear least squares, and take its leading eigenvector: x (K, P).

    One x per region, given as (K, N) weights: where a large object moves on its own, some region is free of it. f is
    `length` along the measured flow and zero across, in units of sigmas as A = (along, across). The three equations
    of a cell are those for f₁², √2·f₁f₂ and f₂², so that all weigh the same.
    """
    size = len(prior_std)
    scale = 1 / np.maximum(np.sqrt((np.square(along) + np.square(across)).mean(1) / 2), 1e-9)
    u, v = along * scale[:, None], across * scale[:, None]
    i, j = np.triu_indices(size)
    root2 = math.sqrt(2)
    equations = np.stack([u[i] * u[j], (u[i] * v[j] + u[j] * v[i]) / root2, v[i] * v[j]], axis=1)
    equations *= np.where(i == j, 1.0, 2.0)[:, None, None]
    weights = regions / (2 * length**2 + 1)

    if (loops := compiled.loops("blur_cells")) is not None:
        normal = np.empty((len(weights), len(i), len(i)))
        loops.lifted_products(*compiled.doubles(equations, weights), normal)
    else:
        rows = equations.reshape(len(i), -1)
        normal = np.stack([(equations * of_region).reshape(len(i), -1) @ rows.T for of_region in weights])
    diagonal = np.arange(len(i))
    prior = 1e-9 * (scale / prior_std)[i] * (scale / prior_std)[j]
    normal[:, diagonal, diagonal] += prior + 1e-12 * np.trace(normal, axis1=1, axis2=2)[:, None]
    projections = (equations[:, 0] * length**2).T
    lifted = np.linalg.solve(normal, (weights @ projections)[..., None])[..., 0]
    symmetric = np.zeros((len(regions), size, size))
    symmetric[:, j, i] = lifted
    values, vectors = np.linalg.eigh(symmetric, UPLO="L")
    return scale * vectors[:, :, -1] * np.sqrt(np.maximum(values[:, -1:], 0.0))
