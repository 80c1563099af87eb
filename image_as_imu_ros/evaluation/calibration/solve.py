"""Least squares over the epipolar residuals: the parameters, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.evaluation.calibration.epipolar import AXES, COUNT, Rates, Tracks, linearise, residuals
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
_BLOCKS = 12  # of the recording in time, enough for a variance, and each longer than corners are seen
# What tracking errs by throughout a recording, in the order of the parameters: root mean square of the errors of six
# rendered captures (hand-held, global and rolling shutter, 5 to 16 ms of exposure) and a phone's, of which blocks know
# little. rad, rad/s, s, s, 1.
_SYSTEMATIC = np.array([*3 * [0.007], *3 * [0.005], 0.4e-3, 0.25e-3, 0.006])


@dataclass(frozen=True)
class Solution:
    """Parameters (COUNT,) of `epipolar`, their standard deviations, and that of the residuals, px (robust)."""

    parameters: np.ndarray
    sigma: np.ndarray
    residual: float


def solve(tracks: Tracks, rates: Rates, start: np.ndarray) -> Solution:
    """Minimise the robust sum of squares (Levenberg–Marquardt).

    Standard deviations are those of the sandwich estimator over blocks of the recording, within which tracks share
    errors, and of what tracking errs by throughout. They know nothing of a wrong principal point or lens distortion.

    Args:
        start: (COUNT,).
    """
    parameters, weights = start, np.ones(len(tracks.pair))
    damping = 1e-3
    for iteration in range(_MOST_ITERATIONS):
        for _ in range(_REWEIGHTINGS):
            error = residuals(parameters, tracks, rates, weights)
            weights, scale = _robust(error, tracks, convex=iteration < _CONVEX)
        error, jacobian = linearise(parameters, tracks, rates, weights, _moved, _STEP)
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
    return Solution(parameters, _sigma(parameters, tracks, rates, weights), _scale(error))


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


def _sigma(parameters: np.ndarray, tracks: Tracks, rates: Rates, weights: np.ndarray) -> np.ndarray:
    """Compute the standard deviations (COUNT,); infinite where the tracks determine no minimum."""
    error, jacobian = linearise(parameters, tracks, rates, weights, _moved, _STEP)
    scale = _scale(error)
    by_pair = _scales_of_pairs(error, tracks, scale)
    # The loss bends less than its weights say: d(weight·error)/d(error).
    squared = np.square(error / (_CUT * by_pair))
    bend = np.square(scale / by_pair) * (1 - 3 * squared) / (1 + squared) ** 3
    hessian = jacobian.T @ (bend[:, None] * jacobian)
    if np.linalg.eigvalsh(hessian)[0] <= 0:
        return np.full(COUNT, np.inf)
    inverse = np.linalg.inv(hessian)
    by_pair_of_frames = np.add.reduceat((weights * error)[:, None] * jacobian, tracks.starts)
    blocks = min(_BLOCKS, len(by_pair_of_frames))
    gradients = np.array([block.sum(0) for block in np.array_split(by_pair_of_frames, blocks)])
    covariance = inverse @ (gradients.T @ gradients) @ inverse * blocks / (blocks - 1)
    return np.sqrt(np.diag(covariance) + np.square(_SYSTEMATIC))


def _moved(parameters: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Add a step; a rotation's is one about the camera's axes."""
    moved = parameters + step
    moved[AXES] = so3.log(so3.exp(step[AXES]) @ so3.exp(parameters[AXES]))
    return moved
