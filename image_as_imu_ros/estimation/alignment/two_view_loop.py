"""The steps of `two_view` as compiled loops over tracks: formulas of `two_view_problem` and `_steps`, in their order.

Imported by `compiled` alone, where Numba is installed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from image_as_imu_ros.estimation.loop_constants import TwoViewLoopConstants
from image_as_imu_ros.estimation.small_matrices import (
    OPTIONS,
    PART,
    add_points,
    combined,
    factor,
    invert,
    median_size,
    move_pose,
    solve_factored,
)

_SHEARED, _ALL = 9, 14  # unknowns: motion (t, ω) with shear; with the factors of the five polynomials
_ARRAYS = "f8[:,::1], f8[:,::1], f8[::1], f8[::1], f8[:,::1], f8[:,::1], f8[::1], f8[:,::1], f8[::1], f8[:,:,::1]"
_STATE = "f8[:,:,::1], f8[:,::1], f8[:,::1], f8[:,::1], f8[:,::1]"
_EQUATIONS = "f8[:,:,::1], f8[:,:,::1], f8[:,:,::1], f8[:,:,::1], f8[:,:,::1], f8[:,:,::1], f8[:,::1]"
_CONSTANTS = f"UniTuple(f8, {len(TwoViewLoopConstants._fields)})"
_STEPS = f"Tuple((f8[:,:,::1], b1))({_ARRAYS}, {_STATE}, f8[::1], b1, i8, f8[:,::1], {_CONSTANTS})"


class _Problem(NamedTuple):
    """See `Problem`."""

    rays: np.ndarray
    matched: np.ndarray
    inverse_depth: np.ndarray
    place: np.ndarray
    focal: np.ndarray
    polynomials: np.ndarray
    rough: np.ndarray
    precision: np.ndarray
    shape_variance: np.ndarray


class _Estimate(NamedTuple):
    """One of the estimates of a `State`, without S, and covariance (3, 3) of how far its translation may be off."""

    rotation: np.ndarray
    translation: np.ndarray
    shear: np.ndarray
    smooth: np.ndarray
    delta: np.ndarray
    translation_covariance: np.ndarray


class _Equations(NamedTuple):
    """Those of one estimate: see `Equations`, without S."""

    across: np.ndarray
    along: np.ndarray
    errors: np.ndarray
    weights: np.ndarray
    variances: np.ndarray
    normal: np.ndarray
    right: np.ndarray


@numba.njit(**PART)
def _linearise(problem, estimate, bend, constants, at):
    """Fill in the Jacobians `across` and `along`, and the errors.

    Args:
        bend: (N,) what the polynomials add to the inverse depth, relative to it.
    """
    rotation, translation, shear = estimate.rotation, estimate.translation, estimate.shear
    rays, focal, least, errors = problem.rays, problem.focal, constants.least_nearness, at.errors
    point = np.empty(3)
    for n in range(len(bend)):
        inverse_depth, half = problem.inverse_depth[n], problem.place[n] / 2
        nearness = inverse_depth * max(1 + estimate.delta[n], least)
        of_map = inverse_depth * max(1 + bend[n], least)
        for i in range(3):
            point[i] = nearness * translation[i]
            for k in range(3):
                point[i] += rotation[i, k] * rays[k, n]
        depth = max(point[2], least)
        seen_x, seen_y = point[0] / depth, point[1] / depth
        px, py = focal[0, 0] / depth, focal[1, 0] / depth  # pixels per metre
        line_x = px * (translation[0] - seen_x * translation[2]) * inverse_depth
        line_y = py * (translation[1] - seen_y * translation[2]) * inverse_depth
        # point × shear · y/2
        sheared_z = (point[0] * shear[1] - point[1] * shear[0]) * half
        sheared_x = (point[1] * shear[2] - point[2] * shear[1]) * half - seen_x * sheared_z
        sheared_y = (point[2] * shear[0] - point[0] * shear[2]) * half - seen_y * sheared_z
        error_x = (problem.matched[0, n] - seen_x) * focal[0, 0] + px * sheared_x + line_x * estimate.delta[n]
        error_y = (problem.matched[1, n] - seen_y) * focal[1, 0] + py * sheared_y + line_y * estimate.delta[n]
        length = math.sqrt(line_x * line_x + line_y * line_y) + 1e-9
        axis_x, axis_y = (line_x / length, line_y / length) if length > 1e-6 else (1.0, 0.0)
        errors[0, n] = axis_x * error_y - axis_y * error_x
        errors[1, n] = axis_x * error_x + axis_y * error_y
        errors[2, n] = length
        _fill(at.across, n, -axis_y * px, axis_x * py, seen_x, seen_y, rotation, rays, nearness, half)
        _fill(at.along, n, axis_x * px, axis_y * py, seen_x, seen_y, rotation, rays, of_map, half)
        for k in range(_ALL - _SHEARED):
            at.along[_SHEARED + k, n] = length * problem.polynomials[k, n]


@numba.njit(**PART)
def _fill(rows, n, gradient_x, gradient_y, seen_x, seen_y, rotation, rays, nearness, half):
    """Fill column n with derivatives by small motion and shear, from those by the point in the previous frame."""
    gradient_z = -(gradient_x * seen_x + gradient_y * seen_y)
    by_point = np.empty(3)
    for i in range(3):
        by_point[i] = rotation[0, i] * gradient_x + rotation[1, i] * gradient_y + rotation[2, i] * gradient_z
        rows[i, n] = -nearness * by_point[i]
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        rows[3 + i, n] = by_point[j] * rays[k, n] - by_point[k] * rays[j, n]
        rows[6 + i, n] = half * rows[3 + i, n]


@numba.njit(**PART)
def _allow(rows, covariance, shape_variance, variances):
    """Add to the tracks' variances (N,) what an uncertain translation does with an uncertain shape."""
    for n in range(len(variances)):
        total = 0.0
        for i in range(3):
            for k in range(3):
                total += rows[i, n] * covariance[i, k] * rows[k, n]
        variances[n] += shape_variance[n] * total


@numba.njit(**PART)
def _own(std, constants):
    """Tell what of a track's variance is not common to whole regions."""
    return max(std**2 - constants.common_std**2, 0.0)


@numba.njit(**PART)
def _sharing(variance, own, constants):
    """Tell how many tracks share an error of a variance, of which `own` is theirs alone: see `Problem.sharing`."""
    return constants.shared + own / variance * (constants.overlapping - constants.shared)


@numba.njit(**PART)
def _weigh(at, bend, own, constants):
    """Fill in the weights of the tracks; return the share that fits."""
    errors, variances, weights = at.errors, at.variances, at.weights
    share, tail = 0.0, constants.tail
    for n in range(errors.shape[1]):
        fit = 1 / (1 + errors[0, n] ** 2 / variances[0, n] / tail)
        residual = errors[1, n] - errors[2, n] * bend[n]
        of_both = fit / (1 + residual**2 / variances[1, n] / tail)
        weights[0, n] = fit / variances[0, n] / _sharing(variances[0, n], own, constants)
        weights[1, n] = of_both / variances[1, n] / _sharing(variances[1, n], own, constants)
        share += fit / errors.shape[1]
    return share


@numba.njit(**PART)
def _excess(at, bend):
    """Compare residuals along the lines with what their variances foretell, see `Step`."""
    errors, relative = at.errors, np.empty(len(bend))
    for n in range(len(bend)):
        relative[n] = (errors[1, n] - errors[2, n] * bend[n]) / math.sqrt(at.variances[1, n])
    return max(1.0, median_size(relative) / 0.6745)


@numba.njit(**PART)
def _cost(at, bend, std, constants):
    """Sum over the tracks the cost of what they are wrong by, and of predicting little."""
    errors, variances = at.errors, at.variances
    cost, tail, own = 0.0, constants.tail, _own(std, constants)
    for n in range(errors.shape[1]):
        residual = errors[1, n] - errors[2, n] * bend[n]
        across = tail * math.log1p(errors[0, n] ** 2 / variances[0, n] / tail)
        along = tail * math.log1p(residual**2 / variances[1, n] / tail) + math.log(variances[1, n] / std**2)
        cost += across / _sharing(variances[0, n], own, constants)
        cost += along / _sharing(variances[1, n], own, constants)
    return cost


@numba.njit(**PART)
def _add_priors(right, precision, estimate, constants):
    """Add the priors on the whole translation and shear to the right side; what they and that on the shape cost."""
    cost = 0.0
    for i in range(3):
        for k in range(3):
            right[i] += estimate.translation[k] * estimate.rotation[k, i] / constants.translation_std**2
        right[_SHEARED - 3 + i] += estimate.shear[i] / constants.shear_std**2
        cost += (estimate.translation[i] / constants.translation_std) ** 2
    for k in range(_ALL - _SHEARED):
        cost += estimate.smooth[k] ** 2 * precision[_ALL - 1, _ALL - 1]
    return cost


@numba.njit(**PART)
def _take(solution, estimate, constants):
    """Take a step (14,) but for the tracks' δ; by how much it moved the translation, m, and the rotation, rad."""
    small, by_translation, by_rotation = np.empty(6), 0.0, 0.0
    for i in range(6):
        small[i] = min(max(solution[i], -constants.largest_step), constants.largest_step)
        if i < 3:
            by_translation = max(by_translation, abs(small[i]))
        else:
            by_rotation = max(by_rotation, abs(small[i]))
    for i in range(6, _SHEARED):
        estimate.shear[i - 6] -= solution[i]
    for i in range(_SHEARED, _ALL):
        estimate.smooth[i - _SHEARED] = solution[i]
    move_pose(estimate.rotation, estimate.translation, small)
    return by_translation, by_rotation


@numba.njit(**PART)
def _set_up(problem, estimate, std, constants, at):
    """Fill in the equations of one estimate.

    Args:
        std: px of a track; found from the residuals if not above 0.

    Returns:
        The std, the share of the tracks that fits, and what the priors cost.
    """
    bend = combined(estimate.smooth, problem.polynomials)
    _linearise(problem, estimate, bend, constants, at)
    if not std > 0:
        std = max(constants.least_std, median_size(at.errors[0]) / 0.6745)
    count = len(bend)
    for n in range(count):
        at.variances[0, n], at.variances[1, n] = std**2, std**2 + (problem.rough[n] * at.errors[2, n]) ** 2
    _allow(at.across, estimate.translation_covariance, problem.shape_variance, at.variances[0])
    _allow(at.along, estimate.translation_covariance, problem.shape_variance, at.variances[1])
    share = _weigh(at, bend, _own(std, constants), constants)
    at.normal[:], at.right[:] = problem.precision, 0.0
    add_points(at.normal, at.right, at.along, at.weights[1], at.errors[1], count)
    add_points(at.normal, at.right, at.across, at.weights[0], at.errors[0], count)
    return std, share, _add_priors(at.right, problem.precision, estimate, constants)


@numba.njit(**PART)
def _update_delta(problem, estimate, remaining, at):
    """Tell δ of each track, of what (N,) a step leaves along the lines; see `two_view`."""
    bend = combined(estimate.smooth, problem.polynomials)
    for n in range(len(bend)):
        by_depth = at.errors[2, n] * problem.rough[n] ** 2 / at.variances[1, n]
        estimate.delta[n] = bend[n] + remaining[n] * by_depth


@numba.njit(**PART)
def _step(problem, estimate, std, constants, figures, covariance, at):
    """Take one step of one estimate.

    Args:
        std: px of a track; found from the residuals if not above 0, and then cost, excess and covariance are left out.

    Returns:
        The std; not a number where the tracks do not determine the step.
    """
    find_std = not std > 0
    std, figures[1], of_priors = _set_up(problem, estimate, std, constants, at)
    if not factor(at.normal):
        return np.nan
    if not find_std:
        bend = combined(estimate.smooth, problem.polynomials)
        figures[0] = _cost(at, bend, std, constants) + of_priors
        figures[3] = _excess(at, bend)
        inverse = invert(at.normal)
        for i in range(6):
            for j in range(6):
                covariance[i, j] = inverse[i, j]
    solve_factored(at.normal, at.right)
    remaining = at.errors[1] - combined(at.right, at.along)
    by_translation, by_rotation = _take(at.right, estimate, constants)
    figures[2] = by_rotation + by_translation * median_size(problem.inverse_depth)
    _update_delta(problem, estimate, remaining, at)
    return std


@numba.njit(f"void({_ARRAYS}, {_STATE}, f8[::1], {_CONSTANTS}, {_EQUATIONS})", cache=True, **OPTIONS)
def equations(
    rays, matched, inverse_depth, place, focal, polynomials, rough, precision, shape_variance, translation_covariance,
    rotation, translation, shear, smooth, delta, std, constants, across, along, errors, weights, variances, normal,
    right,
):  # fmt: skip
    """Fill in the normal equations of S estimates, and what they are made of: see `Equations`.

    Args:
        normal: (S, 14, 14), of which the upper triangles are filled in too.
    """
    problem = _Problem(rays, matched, inverse_depth, place, focal, polynomials, rough, precision, shape_variance)
    for s in range(len(rotation)):
        estimate = _Estimate(
            rotation[s], translation[s], shear[s], smooth[s], delta[s], translation_covariance[s]
        )  # fmt: skip
        at = _Equations(across[s], along[s], errors[s], weights[s], variances[s], normal[s], right[s])
        _set_up(problem, estimate, std[s], TwoViewLoopConstants(*constants), at)
        for i in range(_ALL):
            for j in range(i):
                normal[s, j, i] = normal[s, i, j]


@numba.njit(_STEPS, cache=True, **OPTIONS)
def steps(
    rays, matched, inverse_depth, place, focal, polynomials, rough, precision, shape_variance, translation_covariance,
    rotation, translation, shear, smooth, delta, std, find_std, most, figures, constants,
):  # fmt: skip
    """Take robust Gauss–Newton steps from each of S estimates, which change in place.

    Args:
        rotation, translation, shear: of the poses. smooth, delta: see `State`.
        std: (S,) px of a track; found from the residuals and filled in if `find_std`.
        most: so many steps, fewer where one moves no track by as much as the constants say.
        figures: (S, 4) is filled with cost, share that fits, by about how much the step moves tracks at most, rad, and
            excess. Cost, excess and covariance are left out if `find_std`: nobody asks for them.

    Returns:
        (S, 6, 6) covariance of the motion, and whether there is one.
    """
    count, size, limits = len(rotation), len(place), TwoViewLoopConstants(*constants)
    problem = _Problem(rays, matched, inverse_depth, place, focal, polynomials, rough, precision, shape_variance)
    across, along, errors = np.empty((_SHEARED, size)), np.empty((_ALL, size)), np.empty((3, size))
    weights, variances = np.empty((2, size)), np.empty((2, size))
    at = _Equations(across, along, errors, weights, variances, np.empty((_ALL, _ALL)), np.empty(_ALL))
    covariances = np.zeros((count, 6, 6))
    for _ in range(most):
        for s in range(count):
            estimate = _Estimate(
                rotation[s], translation[s], shear[s], smooth[s], delta[s], translation_covariance[s]
            )  # fmt: skip
            std[s] = _step(problem, estimate, 0.0 if find_std else std[s], limits, figures[s], covariances[s], at)
            if math.isnan(std[s]):
                return covariances, False
        if figures[:, 2].max() < limits.converged:
            break
    return covariances, True
