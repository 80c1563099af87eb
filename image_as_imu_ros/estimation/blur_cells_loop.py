"""The blur solver's inner loops, compiled: `refine` as in `blur_refinement`, others as in `blur_hypotheses`.

Imported by `compiled` alone, where Numba is installed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from image_as_imu_ros.estimation.small_matrices import OPTIONS, PART, factor, solve_factored

_MATRIX, _CELLS, _COUNT = "f8[:,:,::1]", "f8[:,::1]", "f8[::1]"
_REFINE = (
    f"UniTuple(f8, 2)({_CELLS}, {_CELLS}, {_CELLS}, {_MATRIX}, {_COUNT}, {_COUNT}, {_CELLS}, {_CELLS}, f8, i8, i8)"
)


class _Cells(NamedTuple):
    """See `Cells`."""

    q: np.ndarray
    sigma: np.ndarray
    error: np.ndarray
    matrix: np.ndarray


class _State(NamedTuple):
    """What a motion makes of N cells, filled in anew for each.

    Attributes:
        flow: (2, N). axes: (2, N) cos and sin of the angle of the flow at which q is linear.
        errors: (2, N) of q along and across, in units of sigma. squared: (N,) sums of their squares.
    """

    flow: np.ndarray
    axes: np.ndarray
    errors: np.ndarray
    squared: np.ndarray


@numba.njit(**PART)
def _limit(squared, scratch, inlier_sigmas):
    """Limit squared residuals (N,), see `inlier_limit`; their quantile is found by Hoare's selection."""
    for n in range(len(squared)):
        scratch[n] = squared[n]
    rank, low, high = int(0.3 * len(squared)), 0, len(squared) - 1
    while low < high:
        pivot, i, j = scratch[(low + high) // 2], low, high
        while i <= j:
            while scratch[i] < pivot:
                i += 1
            while scratch[j] > pivot:
                j -= 1
            if i <= j:
                scratch[i], scratch[j] = scratch[j], scratch[i]
                i, j = i + 1, j - 1
        if rank <= j:
            high = j
        elif rank >= i:
            low = i
        else:
            break
    return inlier_sigmas**2 * max(1.0, scratch[rank] / (-2 * math.log(0.7)))


@numba.njit(**PART)
def _cost(squared, limit):
    """Sum a robust loss over (N,), see `robust_cost`."""
    total = 0.0
    for n in range(len(squared)):
        total += squared[n] if squared[n] <= limit else 2 * limit - limit * limit / squared[n]
    return total


@numba.njit(**PART)
def _flow(motion, matrix, flow):
    for c in range(2):
        for n in range(flow.shape[1]):
            flow[c, n] = 0.0
        for i in range(len(motion)):
            for n in range(flow.shape[1]):
                flow[c, n] += motion[i] * matrix[c, i, n]


@numba.njit(**PART)
def _errors(cells, flow, at, squared):
    """Fill in the errors that a flow (2, N) leaves, and the sums of their squares (N,)."""
    q, sigma, axes, errors = cells.q, cells.sigma, at.axes, at.errors
    for n in range(len(squared)):
        u, v = flow[0, n], flow[1, n]
        length = math.sqrt(u * u + v * v)
        safe = length if length > 0 else 1.0
        x, y = q[0, n] - (u * u - v * v) / safe, q[1, n] - 2 * u * v / safe
        cos2, sin2 = axes[0, n] ** 2 - axes[1, n] ** 2, 2 * axes[0, n] * axes[1, n]
        errors[0, n] = (cos2 * x + sin2 * y) / sigma[0, n]
        errors[1, n] = (cos2 * y - sin2 * x) / sigma[1, n]
        squared[n] = errors[0, n] ** 2 + errors[1, n] ** 2


@numba.njit(**PART)
def _axes(flow, axes):
    for n in range(flow.shape[1]):
        length = max(math.sqrt(flow[0, n] ** 2 + flow[1, n] ** 2), 1e-12)
        axes[0, n], axes[1, n] = flow[0, n] / length, flow[1, n] / length


@numba.njit(**PART)
def _jacobian(axes, sigma, matrix, jacobian):
    """Fill in the Jacobian (2, P, N) of q along and across, in units of sigma."""
    for i in range(matrix.shape[1]):
        for n in range(matrix.shape[2]):
            along, across = 1 / sigma[0, n], 2 / sigma[1, n]
            jacobian[0, i, n] = (axes[0, n] * matrix[0, i, n] + axes[1, n] * matrix[1, i, n]) * along
            jacobian[1, i, n] = (axes[0, n] * matrix[1, i, n] - axes[1, n] * matrix[0, i, n]) * across


@numba.njit(**PART)
def _products(jacobian, weights, total):
    """Fill in Σ w·JᵀJ (P, P) over both components of (2, P, N), with weights (2, N)."""
    weighted = np.empty(weights.shape[1])
    for i in range(len(total)):
        for j in range(len(total)):
            total[i, j] = 0.0 if j <= i else total[i, j]
        for c in range(2):
            for n in range(len(weighted)):
                weighted[n] = weights[c, n] * jacobian[c, i, n]
            for j in range(i + 1):
                part = 0.0
                for n in range(len(weighted)):
                    part += weighted[n] * jacobian[c, j, n]
                total[i, j] += part
        for j in range(i):
            total[j, i] = total[i, j]


@numba.njit(**PART)
def _halved(cells, prior, motion, step, limit, score, most, at):
    """Take a step, halved until the score falls: by how many px it moved any flow; −1 where none was taken."""
    trial, trial_flow = np.empty_like(motion), np.empty_like(at.flow)
    for _ in range(most):
        by_prior = 0.0
        for i in range(len(motion)):
            trial[i] = motion[i] + step[i]
            by_prior += prior[i] * trial[i] ** 2
        _flow(trial, cells.matrix, trial_flow)
        _errors(cells, trial_flow, at, at.squared)
        if _cost(at.squared, limit) + by_prior <= score:
            moved = 0.0
            for i in range(len(motion)):
                motion[i] = trial[i]
            for c in range(2):
                for n in range(len(at.squared)):
                    moved = max(moved, abs(trial_flow[c, n] - at.flow[c, n]))
                    at.flow[c, n] = trial_flow[c, n]
            return moved
        for i in range(len(motion)):
            step[i] /= 2
    _errors(cells, at.flow, at, at.squared)
    return -1.0


@numba.njit(**PART)
def _summary(cells, weights, jacobian, variance, inlier_sigmas, scratch, at):
    """Fill in the variance of the gradient where cells err by other sigmas than they weigh; residual and inliers."""
    error, squared = cells.error, at.squared
    limit = _limit(squared, scratch, inlier_sigmas)
    _axes(at.flow, at.axes)
    _errors(cells, at.flow, at, scratch)
    inliers, total = 0, 0.0
    for n in range(len(squared)):
        for c in range(2):
            weights[c, n] = (weights[c, n] * error[c, n]) ** 2
        if squared[n] <= limit:
            inliers += 1
            total += (at.errors[0, n] / error[0, n]) ** 2 + (at.errors[1, n] / error[1, n]) ** 2
    _products(jacobian, weights, variance)
    return math.sqrt(total / inliers / 2), inliers / len(squared)


@numba.njit(_REFINE, cache=True, **OPTIONS)
def refine(q, sigma, error, matrix, prior, motion, information, variance, inlier_sigmas, iterations, halvings):
    """Refine a motion (P,) in place, and fill in the information and the gradient's variance, both (P, P).

    Returns:
        Residual and share of the inliers.
    """
    size, count, cells = len(motion), q.shape[1], _Cells(q, sigma, error, matrix)
    at = _State(np.empty((2, count)), np.empty((2, count)), np.empty((2, count)), np.empty(count))
    weights, scratch, jacobian = np.empty((2, count)), np.empty(count), np.empty((2, size, count))
    lower, step = np.empty((size, size)), np.empty(size)
    least_sigma = sigma[0, 0]
    for n in range(count):
        least_sigma = min(least_sigma, sigma[0, n], sigma[1, n])
    _flow(motion, matrix, at.flow)
    for _ in range(iterations):
        _axes(at.flow, at.axes)
        _jacobian(at.axes, sigma, matrix, jacobian)
        _errors(cells, at.flow, at, at.squared)
        limit = _limit(at.squared, scratch, inlier_sigmas)
        for n in range(count):
            weights[0, n] = weights[1, n] = (limit / max(at.squared[n], limit)) ** 2
        _products(jacobian, weights, information)
        score = _cost(at.squared, limit)
        for i in range(size):
            step[i] = -prior[i] * motion[i]
            for c in range(2):
                for n in range(count):
                    step[i] += jacobian[c, i, n] * weights[c, n] * at.errors[c, n]
            for j in range(size):
                lower[i, j] = information[i, j]
            lower[i, i] += prior[i]
            score += prior[i] * motion[i] ** 2
        factor(lower)
        solve_factored(lower, step)
        moved = _halved(cells, prior, motion, step, limit, score, halvings, at)
        if moved < 0.2 * least_sigma:
            break
    return _summary(cells, weights, jacobian, variance, inlier_sigmas, scratch, at)


@numba.njit(f"f8({_CELLS}, {_CELLS}, {_COUNT}, {_COUNT}, {_CELLS}, {_CELLS}, {_CELLS}, i8, f8)", cache=True, **OPTIONS)
def alternate(along, across, length, prior, motions, confined, squared, iterations, inlier_sigmas):
    """Alternate between a sign per cell and a linear solve for motions (K, P), in place; see `best_hypothesis`.

    Args:
        along, across: (P, N). confined: (K, N) weights in the first two iterations. squared: (K, N) is filled in.

    Returns:
        The least of the limits of the last iteration.
    """
    size, count = along.shape
    signed, weights, predicted, scratch = np.empty(count), np.empty((2, count)), np.empty(count), np.empty(count)
    jacobian, lower, right = np.empty((2, size, count)), np.empty((size, size)), np.empty(size)
    for i in range(size):
        for n in range(count):
            jacobian[0, i, n], jacobian[1, i, n] = along[i, n], across[i, n]
    least = np.inf
    for k in range(len(motions)):
        limit = 0.0
        for iteration in range(iterations):
            for n in range(count):
                predicted[n], signed[n] = 0.0, 0.0
            for i in range(size):
                for n in range(count):
                    predicted[n] += motions[k, i] * along[i, n]
                    signed[n] += motions[k, i] * across[i, n]
            for n in range(count):
                squared[k, n] = signed[n] ** 2
                signed[n] = -length[n] if predicted[n] < 0 else length[n]
                squared[k, n] += (signed[n] - predicted[n]) ** 2
            limit = _limit(squared[k], scratch, inlier_sigmas)
            for n in range(count):
                weight = (limit / max(squared[k, n], limit)) ** 2
                weights[0, n] = weights[1, n] = weight * confined[k, n] if iteration < 2 else weight
            _products(jacobian, weights, lower)
            for i in range(size):
                right[i] = 0.0
                for n in range(count):
                    right[i] += weights[0, n] * signed[n] * along[i, n]
                lower[i, i] += prior[i]
            factor(lower)
            solve_factored(lower, right)
            for i in range(size):
                motions[k, i] = right[i]
        least = min(least, limit)
    return least


@numba.njit(f"void({_MATRIX}, {_CELLS}, {_MATRIX})", cache=True, **OPTIONS)
def lifted_products(equations, weights, normal):
    """Fill in Σ w·EᵀE (K, L, L) of equations (L, 3, N), with weights (K, N)."""
    count = equations.shape[2]
    weighted = np.empty((3, count))
    for k in range(len(weights)):
        for i in range(len(equations)):
            for e in range(3):
                for n in range(count):
                    weighted[e, n] = weights[k, n] * equations[i, e, n]
            for j in range(i + 1):
                total = 0.0
                for e in range(3):
                    for n in range(count):
                        total += weighted[e, n] * equations[j, e, n]
                normal[k, i, j] = normal[k, j, i] = total
