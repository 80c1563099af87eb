"""Exact motion fields of known motions, for tests."""

from __future__ import annotations

import numpy as np

from image_as_imu_ros.camera import Camera
from image_as_imu_ros.motion_field import MotionField, MotionFieldMatrix, axial_from_signed, cell_centres

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
    spread: float | np.ndarray = 1e-3,
    rng: np.random.Generator | None = None,
) -> MotionField:
    """The axial field of (6,) velocity (v, ω); with `rng`, Gaussian noise of the given spread is added to q."""
    flow = exposure * matrix.flow(velocity, depth.ravel())
    spread = np.broadcast_to(spread, depth.shape)
    axial = axial_from_signed(flow.T).reshape(2, ROWS, COLUMNS)
    if rng is not None:
        axial = axial + rng.normal(size=axial.shape) * spread
    return MotionField(axial, spread, depth, STRIDE)


def up_to_sign(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The estimate or its reverse, whichever is nearer to the truth."""
    return estimate if np.linalg.norm(estimate - truth) <= np.linalg.norm(estimate + truth) else -estimate
