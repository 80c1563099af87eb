"""What is expected of a motion: how far the point that the camera rotates about moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Prior:
    """What is expected of a motion.

    Hands and vehicles do not rotate about the camera. The sideways motion that this gives it looks like a faster
    rotation.

    Attributes:
        std: of each component of the displacement of the point that the camera rotates about, m.
        lever_arm: how far behind the camera that point lies, m.
    """

    std: float
    lever_arm: float

    def displacement(self, rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
        """Displacement (S, 3) m of that point in poses (S, 3, 3) and (S, 3) m, in the axes of this frame."""
        pivot = np.array([0.0, 0.0, -self.lever_arm])
        return ((translation - pivot)[:, None] @ rotation)[:, 0] + pivot


def camera_from_pivot(lever_arm: float) -> np.ndarray:
    """Matrix (6, 6) from (v, ω) of the point that the camera rotates about to (v, ω) of the camera.

    Both in the camera's axes. The point lies `lever_arm` m behind the camera: v_camera = v + ω × (0, 0, lever_arm).
    """
    matrix = np.eye(6)
    matrix[0, 4], matrix[1, 3] = lever_arm, -lever_arm
    return matrix


def pivot_from_camera(lever_arm: float) -> np.ndarray:
    """Matrix (3, 6) from a small motion (t, ω) of the camera to the displacement of the point that it rotates about."""
    return camera_from_pivot(-lever_arm)[:3]  # its inverse
