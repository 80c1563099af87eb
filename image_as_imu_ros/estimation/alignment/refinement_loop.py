"""Alignment's inner loops, compiled: `refine` as in `refinement`, `rate` and `choose` as `best` in `hypotheses`.

Imported by `compiled` alone, where Numba is installed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from image_as_imu_ros.estimation.loop_constants import RefinementLoopConstants
from image_as_imu_ros.estimation.small_matrices import OPTIONS, PART, factor, move_pose, solve_factored

_NUISANCES = 5  # see `refinement`
_F, _ROWS, _MANY = "f4[::1]", "f4[:,::1]", "f4[:,:,::1]"
_POINTS = f"{_ROWS}, f8[:,::1], {_ROWS}, {_F}, {_ROWS}, {_F}"
_POSES = "f8[:,:,::1], f8[:,::1], f8[:,::1]"
_FIT = f"f8[:,:,::1], {_ROWS}, {_ROWS}, f8[::1]"
_CONSTANTS = f"UniTuple(f8, {len(RefinementLoopConstants._fields)})"
_REFINE = f"f4[::1]({_POINTS}, {_ROWS}, {_POSES}, f8[:,::1], f8[:,::1], {_CONSTANTS}, i8, i8, {_FIT})"
_NEAREST = np.float32(0.01)
_ONE, _STEPS, _LIMIT = np.float32(1), np.float32(32), np.float32(1e6)


class _Points(NamedTuple):
    """This frame at N points, see `Points`, and the previous frame's image; `now` is the intensity (N,)."""

    image: np.ndarray
    matrix: np.ndarray
    rays: np.ndarray
    inverse_depth: np.ndarray
    by_shear: np.ndarray
    now: np.ndarray


class _Pose(NamedTuple):
    """One of `Poses`."""

    rotation: np.ndarray
    translation: np.ndarray
    shear: np.ndarray


@numba.njit(**PART)
def _sample(points, pose, positions, sampled, seen):
    """Fill in where a pose puts the points (2, N), the intensities (N,) there, and which are inside (N,).

    Positions are rounded to 1/32 px, as by cv2.remap.
    """
    image, rays, inverse_depth, by_shear = points.image, points.rays, points.inverse_depth, points.by_shear
    to_pixel, offset = np.empty((3, 3), np.float32), np.zeros(3, np.float32)
    for i in range(3):
        for j in range(3):
            to_pixel[i, j] = sum_of_three(points.matrix[i], pose.rotation[:, j])
        if len(inverse_depth):
            offset[i] = sum_of_three(points.matrix[i], pose.translation)
    sx, sy, sz = np.float32(pose.shear[0]), np.float32(pose.shear[1]), np.float32(pose.shear[2])
    size = len(sampled)
    height, width = image.shape
    for n in range(size):
        near = inverse_depth[n] if len(inverse_depth) else np.float32(0)
        rx, ry, rz = rays[0, n], rays[1, n], rays[2, n]
        z = max(to_pixel[2, 0] * rx + to_pixel[2, 1] * ry + to_pixel[2, 2] * rz + offset[2] * near, _NEAREST)
        x = (to_pixel[0, 0] * rx + to_pixel[0, 1] * ry + to_pixel[0, 2] * rz + offset[0] * near) / z
        y = (to_pixel[1, 0] * rx + to_pixel[1, 1] * ry + to_pixel[1, 2] * rz + offset[1] * near) / z
        positions[0, n] = x + sx * by_shear[0, n] + sy * by_shear[1, n] + sz * by_shear[2, n]
        positions[1, n] = y + sx * by_shear[0, size + n] + sy * by_shear[1, size + n] + sz * by_shear[2, size + n]
    for n in range(size):
        sampled[n], seen[n] = np.float32(0), np.float32(0)
        x, y = positions[0, n], positions[1, n]
        if not (-_ONE < x < _LIMIT and -_ONE < y < _LIMIT):
            continue
        in_32_x, in_32_y = int(np.rint(x * _STEPS)), int(np.rint(y * _STEPS))
        column, row, part_x, part_y = in_32_x >> 5, in_32_y >> 5, in_32_x & 31, in_32_y & 31
        right, below = column + (part_x > 0), row + (part_y > 0)
        if column < 0 or row < 0 or right >= width or below >= height:
            continue
        u, v = np.float32(part_x) / _STEPS, np.float32(part_y) / _STEPS
        above = image[row, column] * (_ONE - u) + image[row, right] * u
        sampled[n] = above * (_ONE - v) + (image[below, column] * (_ONE - u) + image[below, right] * u) * v
        seen[n] = _ONE


@numba.njit(**PART)
def sum_of_three(a, b):
    """Multiply two vectors (3,)."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@numba.njit(**PART)
def _moments(now, before, seen):
    """Means, variances and covariance of the intensities that are seen, and how many these are."""
    count, of_now, of_before = 1e-6, 0.0, 0.0
    for n in range(len(now)):
        count += seen[n]
        of_now += seen[n] * now[n]
        of_before += seen[n] * before[n]
    mean_now, mean_before = of_now / count, of_before / count
    variance_now, variance_before, covariance = 0.0, 0.0, 0.0
    for n in range(len(now)):
        a, b = now[n] - mean_now, before[n] - mean_before
        variance_now += seen[n] * a * a
        variance_before += seen[n] * b * b
        covariance += seen[n] * a * b
    return count, mean_now, mean_before, variance_now / count, variance_before / count, covariance / count


@numba.njit(f"void({_POINTS}, {_POSES}, f8, {_MANY}, f8[::1], f8[::1])", cache=True, **OPTIONS)
def rate(
    image, matrix, rays, inverse_depth, by_shear, now, rotation, translation, shear, quantisation,
    positions, similarity, overlap,
):  # fmt: skip
    """Rate S poses: fill in where they put the points (S, 2, N), correlation coefficients (S,) and overlaps (S,)."""
    points = _Points(image, matrix, rays, inverse_depth, by_shear, now)
    sampled, seen = np.empty_like(now), np.empty_like(now)
    for s in range(len(rotation)):
        _sample(points, _Pose(rotation[s], translation[s], shear[s]), positions[s], sampled, seen)
        count, _, _, variance_now, variance_before, covariance = _moments(now, sampled, seen)
        similarity[s] = covariance / math.sqrt(max(variance_now * variance_before, quantisation**2))
        overlap[s] = (count - 1e-6) / len(now)


@numba.njit(f"i8[::1](f8[::1], {_MANY}, f8, f8, f8, i8, i8)", cache=True, **OPTIONS)
def choose(similarity, positions, worse, apart, alike, most, sparsity):
    """Choose the best poses that differ, by their positions (S, 2, N); see `best`. Best first."""
    kept, found, left = np.empty(most, np.int64), 0, np.ones(len(similarity), np.bool_)
    for _ in range(len(similarity)):
        candidate = -1
        for s in range(len(similarity)):
            if left[s] and (candidate < 0 or similarity[s] > similarity[candidate]):
                candidate = s
        left[candidate] = False
        if found and 1 - similarity[candidate] + alike > worse * (1 - similarity[kept[0]] + alike):
            break
        differs = True
        for other in range(found):
            total, count = 0.0, 0
            for n in range(0, positions.shape[2], sparsity):
                total += abs(positions[candidate, 0, n] - positions[kept[other], 0, n])
                total += abs(positions[candidate, 1, n] - positions[kept[other], 1, n])
                count += 2
            differs = differs and total / count > apart
        if differs:
            kept[found] = candidate
            found += 1
        if found == most:
            break
    return kept[:found]


@numba.njit(**PART)
def _weigh(now, sampled, gain, offset, constants, weights):
    """Turn `weights`, 1 where a point is seen, into robust ones; the scale of the errors."""
    total, count = np.float32(0), np.float32(1e-6)
    for n in range(len(now)):
        total += abs(sampled[n] - gain * now[n] - offset) * weights[n]
        count += weights[n]
    scale = total / count + np.float32(math.sqrt(constants.quantisation))
    per_limit = _ONE / (np.float32(constants.robust) * scale)
    for n in range(len(now)):
        error = (sampled[n] - gain * now[n] - offset) * per_limit
        divisor = _ONE + error * error
        weights[n] /= divisor * divisor
    return scale


@numba.njit(**PART)
def _normal_equations(jacobian, weights, sampled, normal, right):
    """Fill in Σ w·JᵀJ (Q, Q) and Σ w·Jᵀ·I' (Q,)."""
    weighted = np.empty_like(weights)
    for i in range(len(jacobian)):
        total = np.float32(0)
        for n in range(len(weights)):
            weighted[n] = weights[n] * jacobian[i, n]
            total += weighted[n] * sampled[n]
        right[i] = total
        for j in range(i + 1):
            total = np.float32(0)
            for n in range(len(weights)):
                total += weighted[n] * jacobian[j, n]
            normal[i, j] = normal[j, i] = total


@numba.njit(**PART)
def _solve(normal, right, first, step):
    """Fill in the step (Q,): zeros, and from `first` on what is solved for; not a number where there is no solution."""
    size = len(right) - first
    lower, solution = np.empty((size, size)), np.empty(size)
    for i in range(size):
        solution[i] = right[first + i]
        for j in range(size):
            lower[i, j] = normal[first + i, first + j]
    if factor(lower):
        solve_factored(lower, solution)
    else:
        solution[0] = np.nan
    for i in range(len(step)):
        step[i] = solution[i - first] if i >= first else 0.0


@numba.njit(**PART)
def _add_priors(normal, right, precision, by_motion, variance, gain, constants, first, pose):
    """Add the priors on motion and shear to the normal equations."""
    size = len(precision) - 3
    for i in range(size + 3):
        for j in range(size + 3):
            normal[i, j] += variance * precision[i, j]
    stiffness = variance * gain
    for i in range(3):
        right[size + i] += stiffness / constants.shear_std**2 * pose.shear[i]
    if size == 6 and first == 0:
        for k in range(3):
            # `Prior.displacement`
            displaced = -constants.lever_arm if k == 2 else 0.0
            for i in range(3):
                arm = constants.lever_arm if i == 2 else 0.0
                displaced += (pose.translation[i] + arm) * pose.rotation[i, k]
            for i in range(6):
                right[i] += stiffness / constants.prior_std**2 * displaced * by_motion[k, i]


@numba.njit(**PART)
def _subtract(sampled, jacobian, steps, gain):
    """Subtract from intensities (S, N) what the steps (S, Q) explain, and divide by the gains (S,)."""
    for s in range(len(sampled)):
        for i in range(len(jacobian)):
            step = np.float32(steps[s, i])
            for n in range(sampled.shape[1]):
                sampled[s, n] -= step * jacobian[i, n]
        for n in range(sampled.shape[1]):
            sampled[s, n] /= gain[s]


@numba.njit(_REFINE, cache=True, **OPTIONS)
def refine(
    image, matrix, rays, inverse_depth, by_shear, now, jacobian, rotation, translation, shear, precision, by_motion,
    constants, first, iterations, normal, weights, error, variance,
):  # fmt: skip
    """Refine S poses in place, and fill in what the last step knew: `Fit`.

    Args:
        first: unknown that is solved for. by_motion: (3, 6), see `Prior`.

    Returns:
        (S,) gains; not a number where the images determine no motion.
    """
    points, limits = _Points(image, matrix, rays, inverse_depth, by_shear, now), RefinementLoopConstants(*constants)
    count, size = len(rotation), len(jacobian)
    motions = size - _NUISANCES
    gain, offset, scale = np.empty(count, np.float32), np.empty(count, np.float32), np.empty(count)
    moved, right, positions = np.empty(count), np.empty(size), np.empty((2, len(now)), np.float32)
    steps, small = np.zeros((count, size)), np.zeros(6)
    for iteration in range(iterations):
        for s in range(count):
            pose = _Pose(rotation[s], translation[s], shear[s])
            _sample(points, pose, positions, error[s], weights[s])
            if iteration == 0:
                _, mean_now, mean_before, variance_now, variance_before, _ = _moments(now, error[s], weights[s])
                ratio = (variance_before + limits.quantisation) / (variance_now + limits.quantisation)
                gain[s] = math.sqrt(ratio)
                offset[s] = mean_before - gain[s] * mean_now
            scale[s] = _weigh(now, error[s], gain[s], offset[s], limits, weights[s])
            _normal_equations(jacobian, weights[s], error[s], normal[s], right)
            variance[s] = limits.shared * (limits.mean_size_to_std * scale[s] / gain[s]) ** 2
            _add_priors(normal[s], right, precision, by_motion, variance[s], gain[s], limits, first, pose)
            _solve(normal[s], right, first, steps[s])
            gain[s] = min(max(steps[s, size - 2], limits.least_gain), limits.largest_gain)
            offset[s] = steps[s, size - 1]
            moved[s] = 0.0
            for i in range(size - 2):
                by = min(max(steps[s, i] / gain[s], -limits.largest_step), limits.largest_step)
                moved[s] = max(moved[s], abs(by))
                if i < motions:
                    small[6 - motions + i] = by
                else:
                    shear[s, i - motions] -= by
            move_pose(rotation[s], translation[s], small)
        moving, best = False, scale[0]
        for s in range(count):
            best = min(best, scale[s])
        for s in range(count):
            moving |= moved[s] * matrix[0, 0] >= limits.converged and scale[s] < limits.abandoned * best
        if not moving:
            break
    _subtract(error, jacobian, steps, gain)
    return gain
