"""What an alignment's covariance says about errors that all of a motion shares."""

import numpy as np
import pytest
from test_alignment import ALIGNER

from image_as_imu_ros.estimation.alignment.alignment import motion_terms
from image_as_imu_ros.estimation.constants import ALIGNMENT
from image_as_imu_ros.estimation.velocity import Term
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera

CAMERA = ALIGNER.levels[0].camera


@pytest.mark.parametrize("axis", range(6))
def test_a_wrong_focal_length_scales_motions_across_the_optical_axis_alone(axis):
    """Held against the image motion that small motions make in the middle of a view, before a scene of known depth."""
    motion = 0.01 * np.eye(6)[axis]
    sigma = np.sqrt(np.diag(motion_terms(np.zeros((6, 6)), motion, 0.0)[Term.SCALE]))

    wrong = Camera(CAMERA.width, CAMERA.height, *(1.1 * np.array([CAMERA.fx, CAMERA.fy])), CAMERA.cx, CAMERA.cy)
    random = np.random.default_rng(0)
    pixels = np.array([CAMERA.cx, CAMERA.cy]) + random.uniform(-20, 20, (500, 2))
    depth = random.uniform(1, 3, 500)
    rays = np.column_stack([CAMERA.rays(pixels), np.ones(500)])
    points = rays * depth[:, None] @ so3.exp(motion[None, 3:])[0].T + motion[:3]
    moved = CAMERA.project(points[:, :2] / points[:, 2:]) - pixels

    x, y = wrong.rays(pixels).T
    zero = np.zeros(500)
    by_v = np.stack([[1 / depth, zero, -x / depth], [zero, 1 / depth, -y / depth]])
    by_rate = np.stack([[-x * y, 1 + x**2, -y], [-1 - y**2, x * y, x]])
    rows = np.concatenate([by_v, by_rate], 1).transpose(2, 0, 1) * wrong.fx
    found = np.linalg.lstsq(rows.reshape(-1, 6), moved.ravel(), rcond=None)[0]
    relative = (found - motion)[axis] / motion[axis]
    assert sigma[axis] == pytest.approx(0.01 * ALIGNMENT.scale_std * (axis % 3 < 2))
    assert relative == pytest.approx(-1 / 11 if axis % 3 < 2 else 0.0, abs=0.015)
