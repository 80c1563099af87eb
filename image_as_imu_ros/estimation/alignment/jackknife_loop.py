"""The steps of least squares without parts of the scene, compiled: the formula of `jackknife`.

Imported by `compiled` alone, where Numba is installed.
"""

from __future__ import annotations

import numba
import numpy as np

from image_as_imu_ros.estimation.small_matrices import OPTIONS, add_points, factor, solve_factored

_ROWS = "f8[:,::1]"


@numba.njit(f"Tuple((f8[:,:,::1], b1))(i8[:,::1], i8, {_ROWS}, {_ROWS}, f8[::1], f8[::1])", cache=True, **OPTIONS)
def without_parts(parts, count, normal, rows, weights, errors):
    """Compute the steps without each of so many parts; `parts` is (3, M): of which a point is, for three divisions.

    Returns:
        (3, K, Q), 0 for a part of no points or of all, and whether what the other parts leave is positive definite.
    """
    unknowns, size = rows.shape
    steps = np.zeros((len(parts), count, unknowns))
    some, some_weights, some_errors = np.empty((unknowns, size)), np.empty(size), np.empty(size)
    for division in range(len(parts)):
        for part in range(count):
            found = 0
            for n in range(size):
                if parts[division, n] == part:
                    for i in range(unknowns):
                        some[i, found] = rows[i, n]
                    some_weights[found], some_errors[found] = weights[n], errors[n]
                    found += 1
            if found in (0, size):
                continue
            of_part = np.zeros(normal.shape)
            add_points(of_part, steps[division, part], some, some_weights, some_errors, found)
            left = normal - of_part
            if not factor(left):
                return steps, False
            solve_factored(left, steps[division, part])
    return steps, True
