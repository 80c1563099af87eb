"""Rotations: the only place that knows how they are written down.

A rotation vector φ = θ·a is an angle θ about a unit axis a, and [φ]× the matrix with [φ]×·p = φ × p. Then

    exp(φ) = I + sin θ/θ · [φ]× + (1 − cos θ)/θ² · [φ]×²                                (Rodrigues)

with unit quaternion q = (w, x, y, z) = (cos θ/2, sin θ/2 · a); q and −q are the same rotation. The matrix of a
quaternion with vector part n is I + 2w·[n]× + 2[n]×². Back: of all unit quaternions, that of the rotation next
to a matrix M (in the sum of squares) maximises tr(R(q)ᵀM), which is a quadratic form qᵀKq: q is the eigenvector of the
symmetric 4×4 matrix K with the largest eigenvalue (Bar-Itzhack 2000). That is exact near 0 and near π, and poses that
were written with few digits do no harm.

All functions take any number of leading dimensions.
"""

from __future__ import annotations

import numpy as np

_IDENTITY = np.eye(3)
_CROSS = np.cross(_IDENTITY[:, None], _IDENTITY).transpose(0, 2, 1).reshape(3, 9)  # φ @ it is [φ]× row by row
_SMALLEST = 1e-12  # rad, added to angles that are divided by: nothing changes but at zero


def exp(rotation_vectors: np.ndarray) -> np.ndarray:
    """Convert rotation vectors (…, 3) rad to matrices (…, 3, 3)."""
    angle = np.sqrt(np.square(rotation_vectors).sum(-1))[..., None, None] + _SMALLEST
    cross = (rotation_vectors @ _CROSS).reshape(*np.shape(rotation_vectors)[:-1], 3, 3)
    return _IDENTITY + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * (cross @ cross)


def rotate(rotation_vectors: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Rotate vectors (…, 3) by rotation vectors (…, 3) rad: as exp(…) @ vector, without the matrices."""
    angle = np.sqrt(np.square(rotation_vectors).sum(-1))[..., None] + _SMALLEST
    across = np.cross(rotation_vectors, vectors)
    twice = np.cross(rotation_vectors, across)
    return vectors + np.sin(angle) / angle * across + (1 - np.cos(angle)) / angle**2 * twice


def log(rotations: np.ndarray) -> np.ndarray:
    """Convert matrices (…, 3, 3) to rotation vectors (…, 3) of at most π rad."""
    quaternion = quaternion_from_matrix(rotations)
    w, vector = quaternion[..., :1], quaternion[..., 1:]
    sine = np.linalg.norm(vector, axis=-1, keepdims=True)
    return 2 * np.arctan2(sine, w) / np.where(sine > 0, sine, 1) * vector


def rotation_matrices(quaternions: np.ndarray) -> np.ndarray:
    """Convert quaternions (…, 4) w, x, y, z of any length but zero to matrices (…, 3, 3)."""
    w, x, y, z = np.moveaxis(quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def quaternion_from_matrix(rotations: np.ndarray) -> np.ndarray:
    """Convert matrices (…, 3, 3) to unit quaternions (…, 4) w, x, y, z with w ≥ 0, of the rotation next to each."""
    m = np.asarray(rotations, np.float64)
    trace = np.trace(m, axis1=-2, axis2=-1)
    k = np.empty((*m.shape[:-2], 4, 4))
    k[..., 1:, 1:] = m + m.swapaxes(-1, -2) - trace[..., None, None] * _IDENTITY
    k[..., 0, 0] = trace
    skew = m - m.swapaxes(-1, -2)
    k[..., 0, 1:] = k[..., 1:, 0] = np.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)
    quaternion = np.linalg.eigh(k)[1][..., -1]  # eigenvalues ascend
    return np.where(quaternion[..., :1] < 0, -1.0, 1.0) * quaternion


def between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Fit the rotation (…, 3, 3) that carries vectors (…, N, 3) onto others by least squares (Kabsch 1976)."""
    u, _, vt = np.linalg.svd(np.swapaxes(after, -1, -2) @ before)
    u[..., -1] *= np.linalg.det(u @ vt)[..., None]  # no reflection
    return u @ vt


def interpolate(first: np.ndarray, second: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """Rotate from `first` (…, 3, 3) towards `second` at constant angular velocity, by `share` 0…1 of the angle."""
    return first @ exp(np.asarray(share)[..., None] * log(np.swapaxes(first, -1, -2) @ second))
