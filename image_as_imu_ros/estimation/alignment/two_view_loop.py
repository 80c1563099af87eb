"""The steps of `two_view` as compiled loops over tracks: formulas of `two_view_problem` and `_steps`, in their order.

Imported by `compiled` alone, where Numba is installed.
"""

from __future__ import annotations

import math

import numba
import numpy as np

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
_STEPS = f"Tuple((f8[:,:,::1], b1))({_ARRAYS}, {_STATE}, f8[::1], b1, i8, f8[:,::1], f8[::1])"


@numba.njit(**PART)
def _linearise(
    rays, matched, inverse_depth, place, focal, polynomials, bend, delta, rotation, translation, shear, least,
    across, along, errors,
):  # fmt: skip
    """Fill the Jacobians `across` (9, N) and `along` (14, N) of one pose, and `errors` (3, N): across, along, length.

    Args:
        bend: (N,) what the polynomials add to the inverse depth, relative to it.
    """
    point = np.empty(3)
    for n in range(len(place)):
        nearness = inverse_depth[n] * max(1 + delta[n], least)
        of_map = inverse_depth[n] * max(1 + bend[n], least)
        half = place[n] / 2
        for i in range(3):
            point[i] = nearness * translation[i]
            for k in range(3):
                point[i] += rotation[i, k] * rays[k, n]
        depth = max(point[2], least)
        seen_x, seen_y = point[0] / depth, point[1] / depth
        px, py = focal[0, 0] / depth, focal[1, 0] / depth  # pixels per metre
        line_x = px * (translation[0] - seen_x * translation[2]) * inverse_depth[n]
        line_y = py * (translation[1] - seen_y * translation[2]) * inverse_depth[n]
        # point × shear · y/2
        sheared_z = (point[0] * shear[1] - point[1] * shear[0]) * half
        sheared_x = (point[1] * shear[2] - point[2] * shear[1]) * half - seen_x * sheared_z
        sheared_y = (point[2] * shear[0] - point[0] * shear[2]) * half - seen_y * sheared_z
        error_x = (matched[0, n] - seen_x) * focal[0, 0] + px * sheared_x + line_x * delta[n]
        error_y = (matched[1, n] - seen_y) * focal[1, 0] + py * sheared_y + line_y * delta[n]
        length = math.sqrt(line_x * line_x + line_y * line_y) + 1e-9
        axis_x, axis_y = (line_x / length, line_y / length) if length > 1e-6 else (1.0, 0.0)
        errors[0, n] = axis_x * error_y - axis_y * error_x
        errors[1, n] = axis_x * error_x + axis_y * error_y
        errors[2, n] = length
        _fill(across, n, -axis_y * px, axis_x * py, seen_x, seen_y, rotation, rays, nearness, half)
        _fill(along, n, axis_x * px, axis_y * py, seen_x, seen_y, rotation, rays, of_map, half)
        for k in range(_ALL - _SHEARED):
            along[_SHEARED + k, n] = length * polynomials[k, n]


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
    return max(std**2 - constants[9] ** 2, 0.0)


@numba.njit(**PART)
def _sharing(variance, own, constants):
    """Tell how many tracks share an error of a variance, of which `own` is theirs alone: see `Problem.sharing`."""
    return constants[3] + own / variance * (constants[8] - constants[3])


@numba.njit(**PART)
def _weigh(errors, bend, variances, own, constants, weights):
    """Fill in the weights of the tracks (2, N), across and along; return the share that fits."""
    share, tail = 0.0, constants[2]
    for n in range(errors.shape[1]):
        fit = 1 / (1 + errors[0, n] ** 2 / variances[0, n] / tail)
        residual = errors[1, n] - errors[2, n] * bend[n]
        of_both = fit / (1 + residual**2 / variances[1, n] / tail)
        weights[0, n] = fit / variances[0, n] / _sharing(variances[0, n], own, constants)
        weights[1, n] = of_both / variances[1, n] / _sharing(variances[1, n], own, constants)
        share += fit / errors.shape[1]
    return share


@numba.njit(**PART)
def _excess(errors, bend, variances):
    """Compare residuals along the lines with what their variances (N,) foretell, see `Step`."""
    relative = np.empty(len(variances))
    for n in range(len(variances)):
        relative[n] = (errors[1, n] - errors[2, n] * bend[n]) / math.sqrt(variances[n])
    return max(1.0, median_size(relative) / 0.6745)


@numba.njit(**PART)
def _cost(errors, bend, variance, variances, own, constants):
    """Sum over the tracks the cost of what they are wrong by, and of predicting little."""
    cost, tail = 0.0, constants[2]
    for n in range(errors.shape[1]):
        residual = errors[1, n] - errors[2, n] * bend[n]
        across = tail * math.log1p(errors[0, n] ** 2 / variances[0, n] / tail)
        along = tail * math.log1p(residual**2 / variances[1, n] / tail) + math.log(variances[1, n] / variance)
        cost += across / _sharing(variances[0, n], own, constants)
        cost += along / _sharing(variances[1, n], own, constants)
    return cost


@numba.njit(**PART)
def _add_priors(right, precision, rotation, translation, shear, smooth, translation_std, shear_std):
    """Add the priors on the whole translation and shear to the right side; what they and that on the shape cost."""
    cost = 0.0
    for i in range(3):
        for k in range(3):
            right[i] += translation[k] * rotation[k, i] / translation_std**2
        right[_SHEARED - 3 + i] += shear[i] / shear_std**2
        cost += (translation[i] / translation_std) ** 2
    for k in range(_ALL - _SHEARED):
        cost += smooth[k] ** 2 * precision[_ALL - 1, _ALL - 1]
    return cost


@numba.njit(**PART)
def _take(solution, largest, small, shear, smooth):
    """Split a solution (14,) into a small motion (6,), shear and shape; the motion's largest m and rad."""
    by_translation, by_rotation = 0.0, 0.0
    for i in range(6):
        small[i] = min(max(solution[i], -largest), largest)
        if i < 3:
            by_translation = max(by_translation, abs(small[i]))
        else:
            by_rotation = max(by_rotation, abs(small[i]))
    for i in range(6, _SHEARED):
        shear[i - 6] -= solution[i]
    for i in range(_SHEARED, _ALL):
        smooth[i - _SHEARED] = solution[i]
    return by_translation, by_rotation


@numba.njit(**PART)
def _equations(
    rays, matched, inverse_depth, place, focal, polynomials, rough, precision, shape_variance, allowed, rotation,
    translation, shear, smooth, delta, std, constants, across, along, errors, weights, variances, normal, right,
):  # fmt: skip
    """Fill in the normal equations of one pose, and what they are made of.

    Args:
        allowed: (3, 3) covariance of the translation. std: px of a track; found from the residuals if not above 0.

    Returns:
        The std, the share of the tracks that fits, and what the priors cost.
    """
    shear_std, translation_std = constants[5], constants[6]
    bend = combined(smooth, polynomials)
    _linearise(
        rays, matched, inverse_depth, place, focal, polynomials, bend, delta, rotation, translation, shear,
        constants[0], across, along, errors,
    )  # fmt: skip
    if not std > 0:
        std = max(constants[1], median_size(errors[0]) / 0.6745)
    for n in range(len(place)):
        variances[0, n], variances[1, n] = std**2, std**2 + (rough[n] * errors[2, n]) ** 2
    _allow(across, allowed, shape_variance, variances[0])
    _allow(along, allowed, shape_variance, variances[1])
    share = _weigh(errors, bend, variances, _own(std, constants), constants, weights)
    normal[:], right[:] = precision, 0.0
    add_points(normal, right, along, weights[1], errors[1], len(place))
    add_points(normal, right, across, weights[0], errors[0], len(place))
    cost = _add_priors(right, precision, rotation, translation, shear, smooth, translation_std, shear_std)
    return std, share, cost


@numba.njit(**PART)
def _step(
    rays, matched, inverse_depth, place, focal, polynomials, rough, precision, shape_variance, translation_covariance,
    rotation, translation, shear, smooth, delta, std, find_std, figures, constants, covariances,
):  # fmt: skip
    """Take one step, and tell whether the tracks determine it."""
    count, size = len(rotation), len(place)
    across, along, errors = np.empty((_SHEARED, size)), np.empty((_ALL, size)), np.empty((3, size))
    weights, variances = np.empty((2, size)), np.empty((2, size))
    normal, right = np.empty((_ALL, _ALL)), np.empty(_ALL)
    small, typical = np.empty(6), median_size(inverse_depth)
    for s in range(count):
        std[s], figures[s, 1], cost = _equations(
            rays, matched, inverse_depth, place, focal, polynomials, rough, precision, shape_variance,
            translation_covariance[s], rotation[s], translation[s], shear[s], smooth[s], delta[s],
            0.0 if find_std else std[s], constants, across, along, errors, weights, variances, normal, right,
        )  # fmt: skip
        if not factor(normal):
            return False
        if not find_std:
            bend = combined(smooth[s], polynomials)
            own = _own(std[s], constants)
            figures[s, 0] = _cost(errors, bend, std[s] ** 2, variances, own, constants) + cost
            figures[s, 3] = _excess(errors, bend, variances[1])
            covariance = invert(normal)
            for i in range(36):
                covariances[s, i // 6, i % 6] = covariance[i // 6, i % 6]
        solve_factored(normal, right)
        explained = combined(right, along)
        moved = _take(right, constants[4], small, shear[s], smooth[s])
        figures[s, 2] = moved[1] + moved[0] * typical
        bend = combined(smooth[s], polynomials)
        for n in range(size):
            by_depth = errors[2, n] * rough[n] ** 2 / variances[1, n]
            delta[s, n] = bend[n] + (errors[1, n] - explained[n]) * by_depth
        move_pose(rotation[s], translation[s], small)
    return True


@numba.njit(f"void({_ARRAYS}, {_STATE}, f8[::1], f8[::1], {_EQUATIONS})", cache=True, **OPTIONS)
def equations(
    rays, matched, inverse_depth, place, focal, polynomials, rough, precision, shape_variance, translation_covariance,
    rotation, translation, shear, smooth, delta, std, constants, across, along, errors, weights, variances, normal,
    right,
):  # fmt: skip
    """Fill in the normal equations of S estimates, and what they are made of: see `Equations`; constants as in `steps`.

    Args:
        normal: (S, 14, 14), of which the upper triangles are filled in too.
    """
    for s in range(len(rotation)):
        _equations(
            rays, matched, inverse_depth, place, focal, polynomials, rough, precision, shape_variance,
            translation_covariance[s], rotation[s], translation[s], shear[s], smooth[s], delta[s], std[s], constants,
            across[s], along[s], errors[s], weights[s], variances[s], normal[s], right[s],
        )  # fmt: skip
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
        constants: least nearness, least std, tail, tracks that share an error of the map, largest step, shear std,
            translation std, the rad that a step must move, overlapping tracks, and common std.

    Returns:
        (S, 6, 6) covariance of the motion, and whether there is one.
    """
    covariances = np.zeros((len(rotation), 6, 6))
    determined = True
    for _ in range(most):
        determined = _step(
            rays, matched, inverse_depth, place, focal, polynomials, rough, precision, shape_variance,
            translation_covariance, rotation, translation, shear, smooth, delta, std, find_std, figures, constants,
            covariances,
        )  # fmt: skip
        if not determined or figures[:, 2].max() < constants[7]:
            break
    return covariances, determined
