"""Least squares over the epipolar residuals: the parameters, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.evaluation.calibration.epipolar import AXES, COUNT, Rates, Tracks, residuals
from image_as_imu_ros.geometry import so3

_STEP = 1e-4  # rad, rad/s, s or 1, of derivatives by differences
_MOST_ITERATIONS = 40
_CONVEX = 8  # iterations with a convex loss before one that lets go of outliers
_REWEIGHTINGS = 4  # a translation that moving things have drawn needs some to let go of them
_MOST_TRIES = 6  # of a step, each shorter than the one before
_CUT = 2.0  # robust standard deviations from which a track counts little (Geman–McClure)
_MAD = 1.4826  # standard deviations of a normal distribution in a median absolute deviation
_CONVERGED = 1e-3  # standard deviations of each parameter
_LEAST_SCALE = 1e-6  # px


@dataclass(frozen=True)
class Solution:
    """Parameters (COUNT,) of `epipolar`, their standard deviations, and that of the residuals, px (robust)."""

    parameters: np.ndarray
    sigma: np.ndarray
    residual: float


def solve(tracks: Tracks, rates: Rates, start: np.ndarray) -> Solution:
    """Minimise the robust sum of squares (Levenberg–Marquardt).

    Standard deviations hold where the tracks of a pair share errors (sandwich estimator, clustered by pairs). They know
    nothing of a wrong principal point or lens distortion.

    Args:
        start: (COUNT,).
    """
    parameters, weights = start, np.ones(len(tracks.pair))
    damping = 1e-3
    for iteration in range(_MOST_ITERATIONS):
        for _ in range(_REWEIGHTINGS):
            error = residuals(parameters, tracks, rates, weights)
            weights, scale = _robust(error, tracks, convex=iteration < _CONVEX)
        error = residuals(parameters, tracks, rates, weights)
        jacobian = _jacobian(parameters, tracks, rates, weights, error)
        hessian, gradient = jacobian.T @ (weights[:, None] * jacobian), jacobian.T @ (weights * error)
        step = np.zeros(COUNT)
        for _ in range(_MOST_TRIES):
            step = -np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), gradient)
            tried = residuals(_moved(parameters, step), tracks, rates, weights)
            if (weights * tried**2).sum() < (weights * error**2).sum():
                parameters, error, damping = _moved(parameters, step), tried, damping / 5
                break
            damping *= 10
        else:
            if iteration >= _CONVEX:
                break
            damping = 1e-3
        if iteration >= _CONVEX and (np.abs(step) < _CONVERGED * scale / np.sqrt(np.diag(hessian))).all():
            break
    return Solution(parameters, _sigma(parameters, tracks, rates, weights, error), _scale(error))


def _robust(error: np.ndarray, tracks: Tracks, *, convex: bool) -> tuple[np.ndarray, float]:
    """Weights (M,) by residuals, of which those that do not fit get little, and their standard deviation, px.

    Far from the solution nothing fits, and a convex loss (Huber's) finds the way.
    """
    scale = _scale(error)
    by_pair = _scales_of_pairs(error, tracks, scale)
    if convex:
        return np.square(scale / by_pair) * np.minimum(1, scale / np.maximum(np.abs(error), scale)), scale
    return np.square(scale / by_pair) / np.square(1 + np.square(error / (_CUT * by_pair))), scale


def _scale(error: np.ndarray) -> float:
    return max(_MAD * float(np.median(np.abs(error))), _LEAST_SCALE)


def _scales_of_pairs(error: np.ndarray, tracks: Tracks, least: float) -> np.ndarray:
    """Robust standard deviations (M,) of each track's pair: blurred frames are tracked less exactly than sharp ones."""
    ends = np.r_[tracks.starts[1:], len(error)]
    scales = np.array([_scale(error[start:end]) for start, end in zip(tracks.starts, ends, strict=True)])
    return np.maximum(scales, least)[tracks.pair]


def _sigma(parameters: np.ndarray, tracks: Tracks, rates: Rates, weights: np.ndarray, error: np.ndarray) -> np.ndarray:
    jacobian = _jacobian(parameters, tracks, rates, weights, error)
    inverse = np.linalg.inv(jacobian.T @ (weights[:, None] * jacobian))
    by_pair = np.add.reduceat((weights * error)[:, None] * jacobian, tracks.starts)
    return np.sqrt(np.diag(inverse @ (by_pair.T @ by_pair) @ inverse))


def _moved(parameters: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Add a step; a rotation's is one about the camera's axes."""
    moved = parameters + step
    moved[AXES] = so3.log(so3.exp(step[AXES]) @ so3.exp(parameters[AXES]))
    return moved


def _jacobian(
    parameters: np.ndarray, tracks: Tracks, rates: Rates, weights: np.ndarray, error: np.ndarray
) -> np.ndarray:
    """Differentiate the residuals (M,) by the parameters, by differences: (M, COUNT)."""
    columns = np.empty((len(error), COUNT))
    for i, difference in enumerate(_STEP * np.eye(COUNT)):
        moved = residuals(_moved(parameters, difference), tracks, rates, weights)
        # The sign of a pair's translation, and with it that of all its residuals, is the eigenvector's, which is any.
        flipped = np.abs(moved + error) < np.abs(moved - error)
        votes = np.add.reduceat(np.where(flipped, 1.0, -1.0), tracks.starts)[tracks.pair]
        columns[:, i] = (np.where(votes > 0, -moved, moved) - error) / _STEP
    return columns
