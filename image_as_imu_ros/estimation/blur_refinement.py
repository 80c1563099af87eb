"""A hypothesis about the motion in a blur, refined on the axial flow q itself: step 2 of `blur_solver`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.blur_cells import AxialAxes, Cells, inlier_limit, robust_cost
from image_as_imu_ros.estimation.constants import SHARED
from image_as_imu_ros.geometry.axial_flow import axial_from_signed

_ITERATIONS = 12
_HALVINGS = 6  # of a step that does not lower the score


@dataclass(frozen=True)
class Fit:
    """A refined motion.

    Attributes:
        motion: (P,). information: (P, P) that the data have about it. residual, inliers: see `Solution`.
    """

    motion: np.ndarray
    information: np.ndarray
    residual: float
    inliers: float

    @classmethod
    def with_variance(
        cls, motion: np.ndarray, information: np.ndarray, variance: np.ndarray, residual: float, inliers: float
    ) -> Fit:
        """Correct the information: where errors have other sigmas than weigh, it is not the gradient's variance."""
        information = information @ np.linalg.pinv(variance, hermitian=True) @ information
        return cls(motion, information, residual, inliers)


def refine(cells: Cells, prior_std: np.ndarray, motion: np.ndarray) -> Fit:
    """Refine a hypothesis by robust Gauss–Newton on q.

    Full weight inside the limit keeps the estimate efficient; the falling weight outside it forgets outliers.
    """
    prior = prior_std**-2.0
    if (loops := compiled.loops("blur_cells")) is not None:
        motion, (information, variance) = motion.astype(np.float64), np.empty((2, len(prior), len(prior)))
        arrays = compiled.doubles(cells.q, cells.sigma, cells.error, cells.matrix, prior)
        constants = SHARED.inlier_sigmas, _ITERATIONS, _HALVINGS
        residual, inliers = loops.refine(*arrays, motion, information, variance, *constants)
        return Fit.with_variance(motion, information, variance, residual, inliers)
    flow = cells.flow(motion)
    for _ in range(_ITERATIONS):
        axes = AxialAxes.of(flow, cells.sigma)
        along, across = axes.jacobian(cells.matrix)
        along_error, across_error = axes.resolve(cells.q - axial_from_signed(flow))
        squared = np.square(along_error) + np.square(across_error)
        limit = inlier_limit(squared)
        weights = np.square(limit / np.maximum(squared, limit))
        weighted_along, weighted_across = along * weights, across * weights
        information = weighted_along @ along.T + weighted_across @ across.T
        gradient = weighted_along @ along_error + weighted_across @ across_error - prior * motion
        step = np.linalg.solve(information + np.diag(prior), gradient)
        score = robust_cost(squared, limit) + prior @ motion**2
        for _ in range(_HALVINGS):
            trial = motion + step
            trial_flow = cells.flow(trial)
            trial_along, trial_across = axes.resolve(cells.q - axial_from_signed(trial_flow))
            trial_squared = np.square(trial_along) + np.square(trial_across)
            if robust_cost(trial_squared, limit) + prior @ trial**2 <= score:
                break
            step = step / 2
        else:
            break
        moved = np.abs(trial_flow - flow).max()
        motion, flow, squared = trial, trial_flow, trial_squared
        if moved < 0.2 * cells.sigma.min():
            break
    inlier = squared <= inlier_limit(squared)
    along_error, across_error = AxialAxes.of(flow, cells.sigma * cells.error).resolve(cells.q - axial_from_signed(flow))
    residual = math.sqrt((np.square(along_error) + np.square(across_error))[inlier].mean() / 2)
    weighted_along, weighted_across = cells.error[:, None] * [weighted_along, weighted_across]
    variance = weighted_along @ weighted_along.T + weighted_across @ weighted_across.T
    return Fit.with_variance(motion, information, variance, residual, float(inlier.mean()))
