"""The cells of a network output as the blur solver sees them: axial flow, sigma, matrix and their Jacobians.

With f = A·x the flow at a cell and q(f) = ‖f‖(cos 2θ, sin 2θ), a small change of f by (a, b) along and across f changes
q by a along itself and by 2b across: ∂q/∂x = (e_θ·A, 2·e_θ⊥·A), with e_θ the unit vector of f.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from image_as_imu_ros.estimation.constants import BLUR_SOLVER, SHARED


@dataclass(frozen=True)
class Cells:
    """The usable cells of a field, cells last.

    Attributes:
        q: (2, N) px.
        sigma: (2, N) px, of q along itself and across, by which the cells weigh.
        error: (2, N) their predicted sigma in units of that.
        matrix: A, (2, P, N) px per unit of x.
    """

    q: np.ndarray
    sigma: np.ndarray
    error: np.ndarray
    matrix: np.ndarray

    def select(self, chosen: np.ndarray) -> Cells:
        """Keep some of the cells, given by index or mask."""
        matrix = np.ascontiguousarray(self.matrix[:, :, chosen])
        return Cells(self.q[:, chosen], self.sigma[:, chosen], self.error[:, chosen], matrix)

    def weighed_for_measured_depth(self) -> Cells:
        """Weigh the cells as suits measured depth.

        It tells a translation from a rotation by small differences of flow, which drown in errors that neighbouring
        cells share. Networks err alike the more, the less a cell shows of its own, and in lengths more than in
        orientations. So unsure cells weigh less than their sigma says, and so do lengths; `error` remembers it.
        """
        typical = np.exp(np.log(self.sigma).mean(1, keepdims=True))
        error = (typical / self.sigma) ** (BLUR_SOLVER.precision_power - 1)
        error = error * [[1 / BLUR_SOLVER.length_weight], [BLUR_SOLVER.length_weight]]
        return Cells(self.q, self.sigma / error, error, self.matrix)

    def flow(self, motions: np.ndarray) -> np.ndarray:
        """Predict the flow (2, …, N) px of motions (…, P)."""
        return np.stack([motions @ self.matrix[0], motions @ self.matrix[1]])


@cache
def thinned_grid(rows: int, columns: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Choose every n-th row and column of a grid: n, and index, row and column of the cells left."""
    step = max(1, round(math.sqrt(rows * columns / BLUR_SOLVER.cells)))
    row, column = np.meshgrid(np.arange(step // 2, rows, step), np.arange(step // 2, columns, step), indexing="ij")
    row, column = row.ravel(), column.ravel()
    return step, row * columns + column, row, column


def inlier_limit(squared: np.ndarray) -> np.ndarray:
    """Limit (…, 1) of squared normalised residuals (…, N), wider while they say that the fit is still poor.

    Judged by their 30 % quantile, which stands up to half of the cells being outliers; for two Gaussian components it
    is −2 ln 0.7.
    """
    rank = int(0.3 * squared.shape[-1])
    quantile = np.partition(squared, rank, axis=-1)[..., rank, None]
    return SHARED.inlier_sigmas**2 * np.maximum(1.0, quantile / (-2 * math.log(0.7)))


def robust_cost(squared: np.ndarray, limit: float | np.ndarray) -> np.ndarray:
    """Sum over cells (…, N) the loss whose weight is 1 inside the limit and (limit / squared)² outside it."""
    return np.where(squared <= limit, squared, 2 * limit - limit**2 / np.maximum(squared, limit)).sum(-1)


@dataclass(frozen=True)
class AxialAxes:
    """Axes along and across the axial flow q(f) at each cell, in units of its sigma along and across.

    Attributes:
        cos, sin: (N,) of f's angle. per_sigma: (2, N) 1/px.
    """

    cos: np.ndarray
    sin: np.ndarray
    per_sigma: np.ndarray

    @classmethod
    def of(cls, flow: np.ndarray, sigma: np.ndarray) -> AxialAxes:
        """Axes at flow (2, N) px, for errors of `sigma` (2, N) px."""
        length = np.maximum(np.hypot(flow[0], flow[1]), 1e-12)
        return cls(flow[0] / length, flow[1] / length, 1 / sigma)

    def jacobian(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Differentiate q by x, along and across, both (P, N), given A (2, P, N)."""
        along, across = self.per_sigma * [[1.0], [2.0]]
        return (
            self.cos * along * matrix[0] + self.sin * along * matrix[1],
            self.cos * across * matrix[1] - self.sin * across * matrix[0],
        )

    def resolve(self, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Split an error (2, N) px of q into its parts along and across, both (N,)."""
        cos2, sin2 = self.cos**2 - self.sin**2, 2 * self.cos * self.sin
        along, across = self.per_sigma
        return (cos2 * error[0] + sin2 * error[1]) * along, (cos2 * error[1] - sin2 * error[0]) * across
