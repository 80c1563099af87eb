"""Exact motion fields of known motions, for tests."""

from __future__ import annotations

import numpy as np

from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.geometry.axial_flow import axial_from_signed
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres

ROWS, COLUMNS, STRIDE = 56, 80, 4


def camera(focal: float = 260.0, **changes) -> Camera:
    return Camera(**({"width": 320, "height": 224, "fx": focal, "fy": focal, "cx": 159.5, "cy": 111.5} | changes))


def matrix_of(camera: Camera) -> MotionFieldMatrix:
    return MotionFieldMatrix.at(camera, cell_centres(ROWS, COLUMNS, STRIDE))


def rough_depth(rng: np.random.Generator) -> np.ndarray:
    """(h, w) m: a scene with enough relief to tell rotation from translation."""
    return np.exp(rng.normal(0.5, 0.4, (ROWS, COLUMNS)))


def field_of(
    matrix: MotionFieldMatrix,
    velocity: np.ndarray,
    exposure: float,
    depth: np.ndarray,
    sigma: float | np.ndarray = 1e-3,
    rng: np.random.Generator | None = None,
    depth_sigma: float = 0.0,
) -> NetworkOutput:
    """The axial field of (6,) velocity (v, ω); with `rng`, Gaussian noise with these sigmas is added to q.

    Args:
        sigma: px, along q and across; broadcast to (2, h, w).
    """
    flow = exposure * matrix.flow(velocity, depth.ravel())
    sigma = np.broadcast_to(sigma, (2, ROWS, COLUMNS))
    axial = axial_from_signed(flow.T).reshape(2, ROWS, COLUMNS)
    if rng is not None:
        angle = np.arctan2(axial[1], axial[0])
        along, across = rng.normal(size=axial.shape) * sigma
        cos, sin = np.cos(angle), np.sin(angle)
        axial = axial + np.stack([cos * along - sin * across, sin * along + cos * across])
    return NetworkOutput(axial, sigma, depth, np.full(depth.shape, depth_sigma), STRIDE)


def up_to_sign(estimate: np.ndarray, ground_truth: np.ndarray) -> np.ndarray:
    """The estimate or its reverse, whichever is nearer to the ground truth."""
    return estimate if np.linalg.norm(estimate - ground_truth) <= np.linalg.norm(estimate + ground_truth) else -estimate
