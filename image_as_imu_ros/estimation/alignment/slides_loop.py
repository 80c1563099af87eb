"""The fit of `find_slide` as compiled loops over tracks: the formulas of `slides`, in their order.

Imported by `compiled` alone, where Numba is installed.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from image_as_imu_ros.estimation.small_matrices import OPTIONS, PART, factor, median_size, solve_factored

_TRACKS = "f8[:,::1], f8[:,::1], f8[::1]"
_FIT = f"Tuple((f8[::1], f8[::1], f8[::1], f8, f8[:,::1], f8[:,::1], f8[:,::1]))({_TRACKS}, i8, f8, f8)"


@numba.njit(**PART)
def _line(before, heading, n):
    """Return where the heading moves point n of unit inverse depth."""
    return heading[0] - before[n, 0] * heading[2], heading[1] - before[n, 1] * heading[2]


@numba.njit(**PART)
def _rotated(now, before, axis, n):
    """Return where a small rotation moves track n."""
    x, y = now[n]
    by_x, by_y = axis[1] - axis[2] * y, axis[2] * x - axis[0]
    by_z = axis[0] * y - axis[1] * x
    return by_x - before[n, 0] * by_z, by_y - before[n, 1] * by_z


@numba.njit(**PART)
def _solve_reweighted(rows, values, size, each, ridge):
    """Solve rows (P, M) · x = values (M,), `each` in a row of one size: towards least absolute residuals."""
    count, half = len(rows), median_size(size) / 2
    normal, right, weighted = np.zeros((count, count)), np.zeros(count), np.empty(len(values))
    for i in range(count):
        for m in range(len(values)):
            weighted[m] = rows[i, m] / (abs(size[m // each]) + half + 1e-9)
            right[i] += weighted[m] * values[m]
        for j in range(i + 1):
            for m in range(len(values)):
                normal[i, j] += weighted[m] * rows[j, m]
        normal[i, i] += ridge
    if not factor(normal):
        right[:] = np.nan
    solve_factored(normal, right)
    return right


@numba.njit(**PART)
def _first_heading(now, before, inverse_depth, reweighted, ridge):
    """Fit the translation by the map as it is: its direction (3,)."""
    count = len(inverse_depth)
    rows, values, size = np.zeros((3, 2 * count)), np.empty(2 * count), np.empty(count)
    for n in range(count):
        rows[0, 2 * n] = rows[1, 2 * n + 1] = inverse_depth[n]
        for i in range(2):
            rows[2, 2 * n + i] = -before[n, i] * inverse_depth[n]
            values[2 * n + i] = before[n, i] - now[n, i]
        size[n] = math.hypot(values[2 * n], values[2 * n + 1])
    heading = np.zeros(3)
    for _ in range(reweighted):
        heading = _solve_reweighted(rows, values, size, 2, ridge)
        for n in range(count):
            left_x, left_y = values[2 * n], values[2 * n + 1]
            for i in range(3):
                left_x -= rows[i, 2 * n] * heading[i]
                left_y -= rows[i, 2 * n + 1] * heading[i]
            size[n] = math.hypot(left_x, left_y)
    heading[2] += 1e-12
    return heading / math.sqrt((heading**2).sum())


@numba.njit(**PART)
def _bases(heading, tangents, unlike):
    """Fill changes of the heading (3, 2), and axes of rotations unlike translation (3, 2)."""
    # Across the heading and the axis that it is least along.
    least = np.argmin(np.abs(heading))
    along = heading[least]
    for i in range(3):
        tangents[i, 0] = (1.0 if i == least else 0.0) - along * heading[i]
    tangents[:, 0] /= math.sqrt(1 - along**2)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        tangents[i, 1] = heading[j] * tangents[k, 0] - heading[k] * tangents[j, 0]
        unlike[i, 0], unlike[i, 1] = heading[i], 0.0
    unlike[2, 0], unlike[2, 1] = 0.0, 1.0


@numba.njit(**PART)
def _fill(now, before, heading, rotation, tangents, unlike, rows, values, across, along):
    """Fill rows (4, N), what is left of the tracks across, and where they are across and along their lines."""
    for n in range(len(now)):
        line_x, line_y = _line(before, heading, n)
        length = math.hypot(line_x, line_y) + 1e-9
        moved_x, moved_y = before[n, 0] - now[n, 0], before[n, 1] - now[n, 1]
        by_x, by_y = _rotated(now, before, rotation, n)
        left_x, left_y = moved_x - by_x, moved_y - by_y
        across[n] = (line_x * left_y - line_y * left_x) / length
        along[n] = (line_x * left_x + line_y * left_y) / length**2
        values[n] = -(line_x * moved_y - line_y * moved_x) / length
        for k in range(2):
            by_x, by_y = _line(before, tangents[:, k], n)
            rows[k, n] = (by_x * left_y - by_y * left_x) / length
            by_x, by_y = _rotated(now, before, unlike[:, k], n)
            rows[2 + k, n] = -(line_x * by_y - line_y * by_x) / length


@numba.njit(_FIT, cache=True, **OPTIONS)
def fit(now, before, inverse_depth, reweighted, largest, ridge):
    """Fit a slide to tracks.

    Args:
        now, before: (N, 2) rays (z = 1) of both frames. reweighted: so many times. largest: step of the heading.

    Returns:
        What `slides._fit` returns.
    """
    count = len(inverse_depth)
    heading, rotation = _first_heading(now, before, inverse_depth, reweighted, ridge), np.zeros(3)
    tangents, unlike = np.empty((3, 2)), np.empty((3, 2))
    rows, values, across, along = np.empty((4, count)), np.empty(count), np.empty(count), np.empty(count)
    for _ in range(reweighted):
        _bases(heading, tangents, unlike)
        _fill(now, before, heading, rotation, tangents, unlike, rows, values, across, along)
        step = _solve_reweighted(rows, values, across, 1, ridge)
        moved, length = heading.copy(), 0.0
        for i in range(3):
            rotation[i] = 0.0
            for k in range(2):
                moved[i] += tangents[i, k] * min(max(step[k], -largest), largest)
                rotation[i] += unlike[i, k] * step[2 + k]
            length += moved[i] ** 2
        heading = moved / math.sqrt(length)
    _bases(heading, tangents, unlike)
    _fill(now, before, heading, rotation, tangents, unlike, rows, values, across, along)
    normal = np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            for n in range(count):
                normal[i, j] += rows[i, n] * rows[j, n]
    for n in range(count):
        along[n] /= inverse_depth[n]
    return heading, rotation, along, median_size(across), tangents, unlike, normal
