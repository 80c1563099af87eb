"""Rotations: the only place that knows how they are written down."""

from __future__ import annotations

import numpy as np

_IDENTITY = np.eye(3)
_CROSS = np.cross(_IDENTITY[:, None], _IDENTITY).transpose(0, 2, 1).reshape(3, 9)  # a vector @ it is [a]× row by row


def exp(vectors: np.ndarray) -> np.ndarray:
    """Rotations (N, 3, 3) of rotation vectors (N, 3), rad, by Rodrigues' formula.

    Takes less time than cv2.Rodrigues in a loop.
    """
    angle = np.sqrt(np.square(vectors).sum(1))[:, None, None] + 1e-12
    cross = (vectors @ _CROSS).reshape(-1, 3, 3)
    return _IDENTITY + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * (cross @ cross)


def rotation_matrices(quaternions: np.ndarray) -> np.ndarray:
    """(N, 4) w, x, y, z → (N, 3, 3)."""
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)
