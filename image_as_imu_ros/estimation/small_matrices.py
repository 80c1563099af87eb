"""Small matrices inside compiled loops, where a call of LAPACK would cost more than what it computes.

Imported by loops alone: it needs Numba, see `compiled`.
"""

from __future__ import annotations

import math

import numba
import numpy as np

# What may be reordered in sums; not-a-number and infinity keep their meaning.
FAST = {"reassoc", "contract", "arcp", "nsz"}
# Divisions by zero give infinity, as in NumPy: to raise, loops would have to go step by step.
OPTIONS = {"nogil": True, "fastmath": FAST, "error_model": "numpy", "no_cfunc_wrapper": True}
# What only loops call needs no way in from Python either, which takes a fifth of the time to compile.
PART = {**OPTIONS, "no_cpython_wrapper": True}


@numba.njit(**PART)
def combined(factors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Sum rows (P, N) times factors (P,): (N,)."""
    total = np.zeros(rows.shape[1])
    for k in range(len(rows)):
        for n in range(rows.shape[1]):
            total[n] += factors[k] * rows[k, n]
    return total


@numba.njit(**PART)
def add_points(
    normal: np.ndarray, right: np.ndarray, rows: np.ndarray, weights: np.ndarray, errors: np.ndarray, size: int
) -> None:
    """Add Σ w·rowᵀ·row of the first `size` points to the lower triangle, of the first unknowns, and Σ w·rowᵀ·error."""
    weighted = np.empty(size)
    for i in range(len(rows)):
        total = 0.0
        for n in range(size):
            weighted[n] = weights[n] * rows[i, n]
            total += weighted[n] * errors[n]
        right[i] += total
        for j in range(i + 1):
            total = 0.0
            for n in range(size):
                total += weighted[n] * rows[j, n]
            normal[i, j] += total


@numba.njit(**PART)
def factor(matrix: np.ndarray) -> bool:
    """Replace the lower triangle of a symmetric (P, P) by its Cholesky factor; False if it is not positive definite."""
    for j in range(len(matrix)):
        total = matrix[j, j]
        for k in range(j):
            total -= matrix[j, k] * matrix[j, k]
        if not total > 0:
            return False
        diagonal = math.sqrt(total)
        matrix[j, j] = diagonal
        for i in range(j + 1, len(matrix)):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = total / diagonal
    return True


@numba.njit(**PART)
def solve_factored(lower: np.ndarray, right: np.ndarray) -> None:
    """Replace the right side (P,) of an equation by its solution, given what `factor` made of the matrix."""
    size = len(lower)
    for i in range(size):
        total = right[i]
        for k in range(i):
            total -= lower[i, k] * right[k]
        right[i] = total / lower[i, i]
    for i in range(size - 1, -1, -1):
        total = right[i]
        for k in range(i + 1, size):
            total -= lower[k, i] * right[k]
        right[i] = total / lower[i, i]


@numba.njit(**PART)
def invert(lower: np.ndarray) -> np.ndarray:
    """Invert a matrix (P, P), given what `factor` made of it."""
    inverse = np.zeros(lower.shape)
    for i in range(len(lower)):
        inverse[i, i] = 1.0
        solve_factored(lower, inverse[i])
    return inverse


@numba.njit(**PART)
def rotation_of(x: float, y: float, z: float) -> np.ndarray:
    """Convert a rotation vector, rad, to a matrix (3, 3), as `so3.exp`."""
    squared = x * x + y * y + z * z
    angle = math.sqrt(squared) + 1e-12
    sine, cosine = math.sin(angle) / angle, (1 - math.cos(angle)) / angle**2
    matrix = np.empty((3, 3))
    matrix[0, 0] = 1 + cosine * (x * x - squared)
    matrix[1, 1] = 1 + cosine * (y * y - squared)
    matrix[2, 2] = 1 + cosine * (z * z - squared)
    matrix[0, 1], matrix[1, 0] = cosine * x * y - sine * z, cosine * x * y + sine * z
    matrix[0, 2], matrix[2, 0] = cosine * x * z + sine * y, cosine * x * z - sine * y
    matrix[1, 2], matrix[2, 1] = cosine * y * z - sine * x, cosine * y * z + sine * x
    return matrix


@numba.njit(**PART)
def move_pose(rotation: np.ndarray, translation: np.ndarray, motion: np.ndarray) -> None:
    """Move a pose (3, 3), (3,) back by a small motion (t, ω) (6,), in place, as `Poses.moved`."""
    back = rotation_of(-motion[3], -motion[4], -motion[5])
    for i in range(3):
        a, b, c = rotation[i, 0], rotation[i, 1], rotation[i, 2]
        translation[i] -= a * motion[0] + b * motion[1] + c * motion[2]
        for j in range(3):
            rotation[i, j] = a * back[0, j] + b * back[1, j] + c * back[2, j]


@numba.njit(**PART)
def median_size(values: np.ndarray) -> float:
    """Find the median of the sizes of (N,) values (Shell's sort; np.median takes seconds to compile)."""
    sizes = np.empty(len(values))
    for i in range(len(values)):
        sizes[i] = abs(values[i])
    for step in (57, 23, 10, 4, 1):
        for i in range(step, len(sizes)):
            value, j = sizes[i], i
            while j >= step and sizes[j - step] > value:
                sizes[j] = sizes[j - step]
                j -= step
            sizes[j] = value
    return (sizes[(len(sizes) - 1) // 2] + sizes[len(sizes) // 2]) / 2
