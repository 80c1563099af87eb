"""The motion-field matrix is the derivative of where static points are seen; axial flow forgets the sign only."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_camera import LENSES, camera

from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.axial_flow import axial_from_signed, signed_from_axial
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres

component = st.floats(-80, 80)


@settings(deadline=None)
@given(u=component, v=component)
def test_a_flow_and_its_reverse_have_one_axial_flow(u, v):
    flow = np.array([u, v])
    axial = axial_from_signed(flow)
    np.testing.assert_allclose(axial, axial_from_signed(-flow))
    np.testing.assert_allclose(np.hypot(*axial), np.hypot(u, v), atol=1e-9)
    back = signed_from_axial(axial)
    np.testing.assert_allclose(back if back @ flow >= 0 else -back, flow, atol=1e-6)


def test_the_centre_of_a_cell_is_that_of_its_area():
    """(0, 0) is the centre of the first pixel, so a cell of 8 px reaches from −0.5 to 7.5."""
    expected = [[3.5, 3.5], [11.5, 3.5], [19.5, 3.5], [3.5, 11.5], [11.5, 11.5], [19.5, 11.5]]
    np.testing.assert_array_equal(cell_centres(2, 3, 8), expected)


@pytest.mark.parametrize("lens", LENSES)
def test_the_matrix_predicts_how_static_points_move(lens):
    """Move the camera a little, project the same 3-D points again, compare."""
    rng = np.random.default_rng(0)
    pixels = rng.uniform((40, 40), (600, 440), (200, 2))
    depth = rng.uniform(0.5, 5, 200)
    rays = camera(lens).rays(pixels)
    points = np.column_stack([rays, np.ones(200)]) * depth[:, None]
    linear, angular, seconds = rng.normal(size=3), rng.normal(size=3), 1e-6
    moved = (points - linear * seconds) @ so3.exp(angular * seconds)  # R(ω·dt)ᵀ · (P − v·dt)
    flow = (camera(lens).project(moved[:, :2] / moved[:, 2:]) - camera(lens).project(rays)) / seconds
    matrix = MotionFieldMatrix.at(camera(lens), pixels)
    velocity = np.r_[linear, angular]
    np.testing.assert_allclose(matrix.flow(velocity, depth), flow, rtol=1e-3, atol=0.05)
    np.testing.assert_allclose(matrix.velocity_to_flow(depth) @ velocity, matrix.flow(velocity, depth), atol=1e-9)


@pytest.mark.parametrize("lens", LENSES)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_every_column_of_the_matrix_is_a_derivative(lens, seed):
    """Central differences: the camera moves by ±h along or about one of its axes, static points are seen again."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform((40, 40), (600, 440), (20, 2))
    depth = rng.uniform(0.3, 10, 20)
    points = np.column_stack([camera(lens).rays(pixels), np.ones(20)]) * depth[:, None]

    def seen(motion: np.ndarray) -> np.ndarray:
        moved = (points - motion[:3]) @ so3.exp(motion[3:])  # Rᵀ·(P − p)
        return camera(lens).project(moved[:, :2] / moved[:, 2:])

    step = 1e-5
    columns = [(seen(axis) - seen(-axis)) / (2 * step) for axis in step * np.eye(6)]
    found = MotionFieldMatrix.at(camera(lens), pixels).velocity_to_flow(depth)
    np.testing.assert_allclose(found, np.stack(columns, axis=2), rtol=1e-5, atol=2e-3)


@settings(deadline=None)
@given(length=st.floats(0.5, 80), angle=st.floats(-math.pi, math.pi), along=st.floats(0, 2 * math.pi))
def test_axial_flow_has_the_derivative_that_the_solver_uses(length, angle, along):
    """It grows along q as f does along f, and moves across q twice as far as f does across f."""
    c, s = math.cos(angle), math.sin(angle)
    flow, change = length * np.array([c, s]), np.array([math.cos(along), math.sin(along)])
    step = 1e-5 * length
    numerical = (axial_from_signed(flow + step * change) - axial_from_signed(flow - step * change)) / (2 * step)
    q = axial_from_signed(flow) / length
    expected = (c * change[0] + s * change[1]) * q + 2 * (c * change[1] - s * change[0]) * np.array([-q[1], q[0]])
    np.testing.assert_allclose(numerical, expected, atol=1e-8)


def test_far_away_or_unknown_points_show_rotation_only():
    matrix = MotionFieldMatrix.at(camera("none"), np.array([[100.0, 100.0], [300.0, 200.0]]))
    np.testing.assert_array_equal(matrix.flow(np.r_[1.0, 2, 3, 0, 0, 0], np.array([0.0, np.nan])), np.zeros((2, 2)))


def test_relative_sigma_is_the_typical_sigma_relative_to_length_and_small_for_a_static_frame():
    flow = np.full((2, 4, 5), 6.0)
    flow[0] = 8.0
    sigma = np.stack([np.full((4, 5), 3.0), np.full((4, 5), 100.0)])
    sigma[0, 0, 0], flow[:, 1, 1] = 50.0, np.nan
    assert NetworkOutput(flow, sigma, None, None, 8).relative_sigma == pytest.approx(3 / (10 + 2))
    assert NetworkOutput(0 * flow, sigma / 10, None, None, 8).relative_sigma == pytest.approx(0.3 / 2)


def test_the_depths_scale_is_as_uncertain_as_its_cells_in_the_root_mean_square():
    sigmas, nowhere = np.array([[0.3, 0.4, 9.0]]), np.full((1, 3), np.nan)
    field = NetworkOutput(np.ones((2, 1, 3)), np.ones((2, 1, 3)), np.array([[1.0, 2.0, np.nan]]), sigmas, 8)
    assert field.depth_log_std == pytest.approx(np.hypot(0.3, 0.4) / np.sqrt(2))
    assert replace(field, depth=nowhere).depth_log_std == 0
    assert replace(field, depth=None, depth_sigma=None).depth_log_std == 0


def field_smoothed_by(smoothing: float) -> NetworkOutput:
    return NetworkOutput(np.ones((2, 28, 40)), np.ones((2, 28, 40)), None, None, 8, smoothing)


def test_measured_depth_becomes_as_smooth_as_the_flow_in_its_inverse():
    """The edge of a near thing is as gradual as the integral of a Gaussian."""
    depth = np.full((28, 40), 4.0)
    depth[:, :20] = 1.0
    smooth = 1 / field_smoothed_by(16.0).as_smooth(depth)
    from_edge = np.arange(40) - 19.5
    normal = np.array([0.5 * (1 + math.erf(cell / 2 / math.sqrt(2))) for cell in from_edge])
    np.testing.assert_allclose(smooth, np.tile(1.0 - 0.75 * normal, (28, 1)), atol=0.01)
    np.testing.assert_array_equal(field_smoothed_by(0.0).as_smooth(depth), depth)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), metres=st.floats(0.1, 100))
def test_unknown_depth_stays_unknown_and_tells_nothing_about_its_neighbours(seed, metres):
    unknown = np.random.default_rng(seed).random((28, 40)) < 0.4
    depth = np.where(unknown, np.nan, metres)
    np.testing.assert_allclose(field_smoothed_by(24.0).as_smooth(depth), depth, rtol=1e-9)
