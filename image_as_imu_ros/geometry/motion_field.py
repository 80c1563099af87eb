"""The motion field of a static scene: the matrix that links the camera's velocity to the flow of pixels.

In a frame that moves with v and ω a static point P moves with Ṗ = −v − ω × P. With the ray (x, y) = (X, Y)/Z,

    ẋ = −vx/Z + x·vz/Z + x·y·ωx − (1 + x²)·ωy + y·ωz
    ẏ = −vy/Z + y·vz/Z + (1 + y²)·ωx − x·y·ωy − x·ωz                      (Longuet-Higgins & Prazdny 1980)

and pixels move by ∂pixel/∂ray times that, which is diag(fx, fy) without distortion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.geometry.camera import Camera


def cell_centres(height: int, width: int, stride: int) -> np.ndarray:
    """Return the pixel coordinates (height·width, 2) of the centres of a grid's cells, row by row."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return (np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5) * stride - 0.5


@dataclass(frozen=True)
class MotionFieldMatrix:
    """The motion field of a static scene at given pixels, linear in velocity (Longuet-Higgins & Prazdny 1980).

    Pixel velocity = linear · v / Z + angular · ω, exact for distorted lenses: the equations hold for undistorted
    rays, and the projection's Jacobian carries them into the distorted image.

    Attributes:
        linear: (N, 2, 3) px, acts on v/Z (1/s). angular: (N, 2, 3) px, acts on ω (rad/s).
            NaN at pixels without a ray.
    """

    linear: np.ndarray
    angular: np.ndarray

    @classmethod
    def at(cls, camera: Camera, pixels: np.ndarray) -> MotionFieldMatrix:
        """Compute the matrix at (N, 2) pixels of an image taken by `camera`."""
        rays = camera.rays(pixels)
        jacobian = camera.projection_jacobian(rays)
        x, y = rays[:, 0], rays[:, 1]
        zero, one = np.zeros_like(x), np.ones_like(x)
        linear = np.stack([np.stack([-one, zero, x], -1), np.stack([zero, -one, y], -1)], 1)
        angular = np.stack([np.stack([x * y, -(1 + x * x), y], -1), np.stack([1 + y * y, -x * y, -x], -1)], 1)
        return cls(jacobian @ linear, jacobian @ angular)

    def select(self, pixels: np.ndarray) -> MotionFieldMatrix:
        """Keep some of the pixels, given by index or mask."""
        return MotionFieldMatrix(self.linear[pixels], self.angular[pixels])

    def velocity_to_flow(self, depth: np.ndarray) -> np.ndarray:
        """Return (N, 2, 6) pixel velocity per unit of (v, ω) at (N,) depth, m. Unknown depth counts as infinite."""
        return np.concatenate([self.linear * _inverse(depth)[:, None, None], self.angular], axis=2)

    def flow(self, velocity: np.ndarray, depth: np.ndarray | None) -> np.ndarray:
        """Return (N, 2) px/s, the flow of a camera that moves with (6,) (v, ω). Unknown depth counts as infinite."""
        flow = (self.angular.reshape(-1, 3) @ velocity[3:]).reshape(-1, 2)
        if depth is not None:
            flow += (self.linear.reshape(-1, 3) @ velocity[:3]).reshape(-1, 2) * _inverse(depth)[:, None]
        return flow


def _inverse(depth: np.ndarray) -> np.ndarray:
    return np.divide(1.0, depth, out=np.zeros(len(depth)), where=depth > 0)
