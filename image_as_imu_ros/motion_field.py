"""What the network sees: axial flow and depth on a grid, and their spread; the matrix that links them to velocity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from image_as_imu_ros.camera import Camera

_STILL_PX = 2.0  # added to every streak: that a still frame shows no direction is no reason to doubt it


@dataclass(frozen=True)
class MotionField:
    """How each grid cell of one frame was smeared during the exposure.

    Attributes:
        axial_flow: (2, h, w) float, q = (‖f‖cos 2θ, ‖f‖sin 2θ) in px of the network's input image, where f is the
            flow over the exposure and θ its angle. q and the blur have no arrow: f and −f give the same q.
        spread: (2, h, w) float, standard deviation of q along itself and across, px, positive. A streak's angle that is
            off by δ moves q by 2‖f‖δ across.
        depth: (h, w) float, metric depth along z, m; NaN where unknown. None if the model predicts no depth.
        depth_spread: (h, w) float, standard deviation of the log of the depth, as far as all cells err alike; None if
            the model predicts no depth.
        stride: px of the input image per cell; the centre of cell (i, j) is ((j + ½)·stride − ½, (i + ½)·stride − ½).
        smoothing: px; the flow changes over the edge of a near thing as gradually as if the inverse depth were smoothed
            by a Gaussian of this standard deviation.
    """

    axial_flow: np.ndarray
    spread: np.ndarray
    depth: np.ndarray | None
    depth_spread: np.ndarray | None
    stride: int
    smoothing: float = 0.0

    @property
    def doubt(self) -> float:
        """How little this frame shows: median over cells of the spread along q, relative to the streak's length.

        Where the picture does not tell, a network answers for many cells at once, so they err together: as the doubt
        grows, so do the errors that cells share.
        """
        length = np.hypot(self.axial_flow[0], self.axial_flow[1])
        return float(np.nanmedian(self.spread[0] / (length + _STILL_PX)))

    @property
    def depth_log_std(self) -> float:
        """Standard deviation of the log of a scale error of the depth: root mean square over cells, 0 without depth."""
        if self.depth is None:
            return 0.0
        known = self.depth_spread[np.isfinite(self.depth)]
        return math.sqrt(np.square(known).mean()) if known.size else 0.0

    def as_smooth(self, depth: np.ndarray) -> np.ndarray:
        """Measured depth (h, w) m, NaN where unknown, as smooth as the flow is. Unknown cells stay so."""
        if not self.smoothing:
            return depth
        known = np.isfinite(depth)
        inverse = np.where(known, 1 / np.where(known, depth, 1.0), 0.0)
        total, count = (
            cv2.GaussianBlur(values, (0, 0), self.smoothing / self.stride, borderType=cv2.BORDER_REPLICATE)
            for values in (inverse, known.astype(np.float64))
        )
        return np.where(known, count / np.where(known, total, 1.0), np.nan)


def axial_from_signed(flow: np.ndarray) -> np.ndarray:
    """Flow vectors → axial flow q. (2, …) px → (2, …) px. The same for f and −f; zero stays zero."""
    u, v = flow[0], flow[1]
    length = np.hypot(u, v)
    safe = np.where(length > 0, length, 1.0)
    return np.stack([(u * u - v * v) / safe, 2 * u * v / safe])


def signed_from_axial(axial_flow: np.ndarray) -> np.ndarray:
    """Axial flow q → one of the two flow vectors it stands for (the one that points to positive x). (2, …) px."""
    length = np.hypot(axial_flow[0], axial_flow[1])
    half_angle = 0.5 * np.arctan2(axial_flow[1], axial_flow[0])
    return length * np.stack([np.cos(half_angle), np.sin(half_angle)])


def cell_centres(height: int, width: int, stride: int) -> np.ndarray:
    """Pixel coordinates (height·width, 2) of the centres of a grid's cells, row by row."""
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
        """The matrix at (N, 2) pixels of an image taken by `camera`."""
        rays = camera.rays(pixels)
        jacobian = camera.projection_jacobian(rays)
        x, y = rays[:, 0], rays[:, 1]
        zero, one = np.zeros_like(x), np.ones_like(x)
        linear = np.stack([np.stack([-one, zero, x], -1), np.stack([zero, -one, y], -1)], 1)
        angular = np.stack([np.stack([x * y, -(1 + x * x), y], -1), np.stack([1 + y * y, -x * y, -x], -1)], 1)
        return cls(jacobian @ linear, jacobian @ angular)

    def select(self, pixels: np.ndarray) -> MotionFieldMatrix:
        """The matrix at some of the pixels, given by index or mask."""
        return MotionFieldMatrix(self.linear[pixels], self.angular[pixels])

    def velocity_to_flow(self, depth: np.ndarray) -> np.ndarray:
        """(N,) depth, m → (N, 2, 6): pixel velocity per unit of (v, ω). Unknown depth counts as infinite."""
        return np.concatenate([self.linear * _inverse(depth)[:, None, None], self.angular], axis=2)

    def flow(self, velocity: np.ndarray, depth: np.ndarray | None) -> np.ndarray:
        """Pixel velocity (N, 2), px/s, of a camera that moves with (6,) (v, ω). Unknown depth counts as infinite."""
        flow = (self.angular.reshape(-1, 3) @ velocity[3:]).reshape(-1, 2)
        if depth is not None:
            flow += (self.linear.reshape(-1, 3) @ velocity[:3]).reshape(-1, 2) * _inverse(depth)[:, None]
        return flow


def _inverse(depth: np.ndarray) -> np.ndarray:
    return np.divide(1.0, depth, out=np.zeros(len(depth)), where=depth > 0)
