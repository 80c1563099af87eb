"""An axial motion field gives back the velocity that made it, up to sign, with a covariance that is right."""

from dataclasses import replace

import numpy as np
import pytest
from fields import COLUMNS, ROWS, camera, field_of, matrix_of, rough_depth, up_to_sign
from hypothesis import given, settings
from hypothesis import strategies as st

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.blur_cells import AxialAxes, Cells
from image_as_imu_ros.estimation.blur_hypotheses import _patterns
from image_as_imu_ros.estimation.blur_solver import Uncertainty, solve
from image_as_imu_ros.estimation.blur_spectrum import Refined
from image_as_imu_ros.estimation.constants import ALIGNMENT, BLUR_SOLVER
from image_as_imu_ros.estimation.prior import camera_from_pivot
from image_as_imu_ros.estimation.scene_depth import polynomials
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import Term
from image_as_imu_ros.geometry.axial_flow import axial_from_signed

EXPOSURE = 0.02
WEAK_PRIOR = Uncertainty(Travel(100.0, 0.0))
NO_TRANSLATION = Uncertainty(Travel(1e-6, 0.0))
SCALES = {
    "mixed": ([0.5, 0.5, 0.5], [1.5, 1.5, 1.5]),
    "rotation": ([0, 0, 0], [2, 2, 2]),
    "roll": ([0.02, 0.02, 0.02], [0.05, 0.05, 4]),
    "zoom": ([0.05, 0.05, 2.5], [0.05, 0.05, 0.05]),
    "roll and zoom": ([0.05, 0.05, 2], [0.05, 0.05, 3]),
    "sideways": ([1.5, 1.5, 0.1], [0.05, 0.05, 0.05]),
}


def random_velocity(rng, pattern):
    linear, angular = SCALES[pattern]
    return np.r_[rng.normal(size=3) * linear, rng.normal(size=3) * angular]


@pytest.mark.parametrize("pattern", SCALES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_exact_fields_give_the_velocity_back(pattern, seed):
    rng = np.random.default_rng(seed)
    focal = rng.uniform(120, 400)
    matrix = matrix_of(
        camera(focal, fy=focal * rng.uniform(0.9, 1.1), cx=160 + rng.normal() * 15, cy=112 + rng.normal() * 15)
    )
    velocity = random_velocity(rng, pattern)
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(rng))
    solution = solve(field, matrix, EXPOSURE, uncertainty=WEAK_PRIOR)
    np.testing.assert_allclose(up_to_sign(solution.velocity.vector, velocity), velocity, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_rotation_model_needs_no_depth(seed):
    rng = np.random.default_rng(seed)
    matrix = matrix_of(camera(rng.uniform(120, 400)))
    velocity = np.r_[0, 0, 0, rng.normal(size=3) * 2]
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(rng))
    field = replace(field, depth=None, depth_sigma=None)
    solution = solve(field, matrix, EXPOSURE, motion_model="rotation")
    np.testing.assert_allclose(up_to_sign(solution.velocity.vector, velocity), velocity, atol=1e-6)
    assert (np.diag(solution.velocity.covariance)[:3] >= 1.0).all(), "v is unknown and must say so"


@pytest.mark.parametrize(
    ("model", "pattern", "unknowns", "measured"),
    [("full", "mixed", 6, False), ("full", "mixed", 6, True), ("rotation", "rotation", 3, False)],
    ids=["full", "full with measured depth", "rotation"],
)
def test_the_covariance_is_right_under_noise(model, pattern, unknowns, measured):
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(300):
        matrix = matrix_of(camera(rng.uniform(150, 350)))
        velocity = random_velocity(rng, pattern)
        sigma = rng.uniform(0.2, 1.0, (2, ROWS, COLUMNS))
        field = field_of(matrix, velocity, EXPOSURE, rough_depth(rng), sigma, rng)
        uncertainty = WEAK_PRIOR if model == "full" else NO_TRANSLATION
        depth = field.depth if measured else None
        result = solve(field, matrix, EXPOSURE, motion_model=model, uncertainty=uncertainty, depth=depth).velocity
        error = (up_to_sign(result.vector, velocity) - velocity)[-unknowns:]
        errors.append(error @ np.linalg.solve(result.covariance[-unknowns:, -unknowns:], error))
    assert np.mean(errors) == pytest.approx(unknowns, rel=0.15)


def angular_error_with_wrong_cells(rng, spoil) -> float:
    """Relative error of ω after `spoil(axial_flow, matrix)` has changed some cells of a noisy field."""
    matrix = matrix_of(camera(rng.uniform(150, 350)))
    velocity = random_velocity(rng, "mixed")
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(rng), 0.3, rng)
    spoil(field.axial_flow, matrix)
    result = solve(field, matrix, EXPOSURE, uncertainty=WEAK_PRIOR).velocity.vector
    return np.linalg.norm(up_to_sign(result, velocity)[3:] - velocity[3:]) / np.linalg.norm(velocity[3:])


def roll_of(sigma: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Error of ω_z and its standard deviation, of a noisy field of a camera that rolls and pans."""
    matrix = matrix_of(camera())
    velocity = np.array([0, 0, 0, 0, 1.5, 3.0])
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(rng), sigma, rng)
    result = solve(field, matrix, EXPOSURE, motion_model="rotation", uncertainty=NO_TRANSLATION).velocity
    return up_to_sign(result.vector, velocity)[5] - velocity[5], np.sqrt(result.covariance[5, 5])


def test_where_orientations_mean_nothing_the_roll_comes_from_other_cells():
    """The left half knows lengths but no directions: ω_z is as sure as the right half makes it."""
    rng = np.random.default_rng(3)
    left = np.arange(COLUMNS) < COLUMNS // 2
    unsure = np.stack([np.full((ROWS, COLUMNS), 0.3), np.broadcast_to(np.where(left, 30.0, 0.3), (ROWS, COLUMNS))])
    errors, stds = np.array([roll_of(unsure, rng) for _ in range(200)]).T
    assert np.std(errors) == pytest.approx(np.mean(stds), rel=0.15)
    _, alike = roll_of(np.full((2, 1, 1), np.sqrt(0.3 * 30)), rng)
    assert np.mean(stds) < 0.2 * alike


@pytest.mark.parametrize("across", [0.2, 3.0], ids=["directions are surer", "lengths are surer"])
def test_a_field_is_solved_better_by_who_knows_both_sigmas(across):
    rng = np.random.default_rng(3)
    given, untold = [], []
    for _ in range(200):
        matrix = matrix_of(camera(rng.uniform(150, 350)))
        velocity = random_velocity(rng, "mixed")
        field = field_of(matrix, velocity, EXPOSURE, rough_depth(rng), [[[0.8]], [[across]]], rng)
        alike = replace(field, sigma=np.full_like(field.sigma, np.sqrt(0.8 * across)))
        for errors, known in ((given, field), (untold, alike)):
            result = solve(known, matrix, EXPOSURE, uncertainty=WEAK_PRIOR).velocity.vector
            errors.append(np.linalg.norm(up_to_sign(result, velocity)[3:] - velocity[3:]))
    assert np.median(given) < 0.8 * np.median(untold)


def test_four_scattered_cells_in_ten_may_be_wrong():
    rng = np.random.default_rng(2)

    def spoil(axial_flow, matrix):
        wrong = rng.random((ROWS, COLUMNS)) < 0.4
        axial_flow[:, wrong] = rng.normal(size=(2, wrong.sum())) * 15

    assert max(angular_error_with_wrong_cells(rng, spoil) for _ in range(100)) < 0.05


def test_an_object_that_moves_on_its_own_may_fill_two_fifths_of_the_image():
    rng = np.random.default_rng(2)

    def spoil(axial_flow, matrix):
        other = field_of(matrix, random_velocity(rng, "mixed"), EXPOSURE, rough_depth(rng), 0.3, rng)
        columns = slice(0, 32) if rng.integers(2) else slice(48, 80)
        axial_flow[:, :, columns] = other.axial_flow[:, :, columns]

    errors = np.array([angular_error_with_wrong_cells(rng, spoil) for _ in range(100)])
    assert np.mean(errors < 0.05) >= 0.95


def test_where_no_region_is_free_of_another_motion_that_of_the_last_frame_tells_which_is_the_scenes():
    """Leaves before a wall, in two cells of five. ω changes by a tenth from frame to frame."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(30):
        matrix, depth = matrix_of(camera(rng.uniform(150, 350))), rough_depth(rng)
        velocity = random_velocity(rng, "mixed")
        field = field_of(matrix, velocity, EXPOSURE, depth, 0.3, rng)
        leaves = rng.random((ROWS, COLUMNS)) < 0.4
        theirs = field_of(matrix, random_velocity(rng, "mixed"), EXPOSURE, depth, 0.3, rng)
        field.axial_flow[:, leaves] = theirs.axial_flow[:, leaves]
        errors = [
            up_to_sign(solve(field, matrix, EXPOSURE, uncertainty=WEAK_PRIOR, previous=last).velocity.vector, velocity)
            - velocity
            for last in (None, 1.1 * velocity)
        ]
        found.append(np.linalg.norm(np.array(errors)[:, 3:], axis=1) < 0.05 * np.linalg.norm(velocity[3:]))
    alone, told = np.mean(found, axis=0)
    assert told > 0.9
    assert alone < 0.6


def test_two_of_the_starts_are_the_signs_of_a_roll_and_of_a_zoom():
    at_one_metre = matrix_of(camera()).velocity_to_flow(np.ones(ROWS * COLUMNS)).transpose(1, 2, 0)
    cells = Cells(np.ones_like(at_one_metre[:, 0]), np.ones_like(at_one_metre[:, 0]), np.ones(1), at_one_metre)
    _, roll, zoom = _patterns(cells, cells.q).transpose(1, 0, 2)
    for pattern, of_axis in ((roll, at_one_metre[:, 5]), (zoom, at_one_metre[:, 2])):
        cosines = (pattern * of_axis).sum(0) / np.linalg.norm(pattern, axis=0) / np.linalg.norm(of_axis, axis=0)
        np.testing.assert_allclose(cosines, cosines[0])
        assert abs(cosines[0]) == pytest.approx(1)


def test_without_texture_the_covariance_is_large_and_finite():
    matrix = matrix_of(camera())
    rng = np.random.default_rng(3)
    field = field_of(matrix, np.zeros(6), EXPOSURE, rough_depth(rng), 1e4)
    covariance = solve(field, matrix, EXPOSURE).velocity.covariance
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    assert np.sqrt(np.diag(covariance)[3:]).min() > 2.0  # rad/s
    assert covariance.max() <= 1e3, "filters refuse variances above 1e3"


def test_noise_without_motion_is_not_read_as_motion():
    """A sign chosen per cell would rectify the noise; q itself averages out."""
    rng = np.random.default_rng(4)
    matrix = matrix_of(camera())
    speeds = []
    for _ in range(20):
        field = field_of(matrix, np.zeros(6), EXPOSURE, rough_depth(rng), 1.0, rng)
        speeds.append(np.linalg.norm(solve(field, matrix, EXPOSURE).velocity.angular))
    one_px = 1.0 / (260 * EXPOSURE)
    assert np.median(speeds) < 0.25 * one_px


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), pattern=st.sampled_from(list(SCALES)))
def test_the_covariance_is_always_positive_definite(seed, pattern):
    rng = np.random.default_rng(seed)
    matrix = matrix_of(camera(rng.uniform(120, 400)))
    field = field_of(matrix, random_velocity(rng, pattern), EXPOSURE, rough_depth(rng), rng.uniform(0.01, 30), rng)
    uncertainty = Uncertainty(correlated_cells=50, flow_log_std=0.1, depth_log_std=0.5)
    covariance = solve(field, matrix, EXPOSURE, uncertainty=uncertainty).velocity.covariance
    np.testing.assert_allclose(covariance, covariance.T)
    assert (np.linalg.eigvalsh(covariance) > 0).all()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), lever_arm=st.floats(-1, 1))
def test_where_the_image_tells_a_lever_arm_changes_nothing(seed, lever_arm):
    rng = np.random.default_rng(seed)
    matrix, velocity = matrix_of(camera()), random_velocity(rng, "mixed")
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(rng))
    uncertainty = Uncertainty(Travel(100.0, lever_arm))
    solution = solve(field, matrix, EXPOSURE, uncertainty=uncertainty, previous=velocity)
    np.testing.assert_allclose(up_to_sign(solution.velocity.vector, velocity), velocity, atol=1e-5)


@pytest.mark.parametrize("noise", [0.5, 3.0])
def test_what_is_expected_of_v_is_no_measurement_of_it(noise):
    """A camera that travels at 3 m/s where 0.1 m/s are expected, or 3: v and its covariance are the same."""
    rng = np.random.default_rng(7)
    matrix, velocity = matrix_of(camera()), np.array([1.5, 0.5, 2.5, 0.1, -0.2, 0.3])
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(rng), noise, rng)
    slow, fast = (
        solve(field, matrix, EXPOSURE, uncertainty=Uncertainty(Travel(std, 0.0), correlated_cells=50)).velocity
        for std in (0.1, 3.0)
    )
    np.testing.assert_allclose(slow.linear, fast.linear, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(slow.covariance[:3, :3], fast.covariance[:3, :3], rtol=0.05, atol=0.002)
    error = up_to_sign(slow.vector, velocity)[:3] - velocity[:3]
    assert error @ np.linalg.solve(slow.covariance[:3, :3], error) < 11.3, "99 % of χ² with 3 degrees of freedom"


@pytest.mark.parametrize("lever_arm", [0.5, -0.3])
def test_nor_does_it_change_how_sure_the_answer_is(lever_arm):
    """The covariance is that of the camera's motion, whichever point's motion was solved for."""
    rng = np.random.default_rng(3)
    matrix, velocity = matrix_of(camera()), random_velocity(rng, "mixed")
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(rng), 0.5, rng)
    about_camera, about_pivot = (
        solve(field, matrix, EXPOSURE, uncertainty=Uncertainty(Travel(100.0, arm))).velocity for arm in (0.0, lever_arm)
    )
    np.testing.assert_allclose(about_pivot.covariance, about_camera.covariance, rtol=1e-3, atol=1e-9)


def test_where_the_image_tells_nothing_it_is_the_point_behind_the_camera_that_is_known_to_be_slow():
    """The camera is faster by lever arm × rotation, which is as unknown."""
    matrix, lever_arm = matrix_of(camera()), 2.0
    field = field_of(matrix, np.zeros(6), EXPOSURE, rough_depth(np.random.default_rng(3)), 1e6)
    std, rate = ALIGNMENT.travel_std, BLUR_SOLVER.angular_prior_std
    found = solve(field, matrix, EXPOSURE, uncertainty=Uncertainty(Travel(0.1, lever_arm))).velocity
    sideways = std**2 + (lever_arm * rate) ** 2
    np.testing.assert_allclose(np.diag(found.covariance)[:3], [sideways, sideways, std**2], rtol=0.01)


def before_a_wall(lever_arm: float, depth_log_std: float = 0.0, depth_error: float = 1.0):
    """ω by a camera that is turned about a point 0.3 m behind it, 1.5 m before a wall, and its covariance."""
    matrix, depth = matrix_of(camera()), np.full((ROWS, COLUMNS), 1.5)
    velocity = camera_from_pivot(0.3) @ np.array([0, 0, 0, 0.4, 2.0, 0.3])
    field = field_of(matrix, velocity, EXPOSURE, depth, 1.0, np.random.default_rng(4))
    uncertainty = Uncertainty(Travel(0.02, lever_arm), correlated_cells=50, depth_log_std=depth_log_std)
    result = solve(field, matrix, EXPOSURE, uncertainty=uncertainty, depth=depth_error * depth).velocity
    return up_to_sign(result.vector, velocity)[3:] - velocity[3:], result.covariance[3:, 3:]


def test_the_translation_of_a_camera_that_rotates_about_a_point_behind_it_is_not_taken_for_a_faster_rotation():
    error, _ = before_a_wall(0.3)
    assert np.abs(error).max() < 0.06
    error, _ = before_a_wall(0.0)
    assert 0.1 < error[1] < 2.0 * 0.3 / 1.5, "some of the slide shows as parallax"


def test_with_a_lever_arm_an_error_of_the_depth_is_one_of_the_rotation():
    error, sure = before_a_wall(0.3, depth_error=4.0)
    assert error @ np.linalg.solve(sure, error) > 7.8
    error, unsure = before_a_wall(0.3, depth_log_std=1.4, depth_error=4.0)
    assert error @ np.linalg.solve(unsure, error) < 7.8


def test_correlated_cells_and_shared_errors_widen_the_covariance():
    rng = np.random.default_rng(5)
    matrix = matrix_of(camera())
    velocity = np.array([0.5, 0, 0, 1.0, 2.0, 0])
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(rng), 0.5)

    def deviations(**shared):
        result = solve(field, matrix, EXPOSURE, uncertainty=Uncertainty(Travel(100.0, 0.0), **shared)).velocity
        return np.sqrt(np.diag(result.covariance))

    independent = deviations()
    np.testing.assert_allclose(deviations(correlated_cells=900) / independent, 10, rtol=1e-3)  # a ninth is used
    assert deviations(flow_log_std=0.1)[4] == pytest.approx(0.1 * 2.0, rel=0.05)
    of_log_normal = np.sqrt(np.exp(2 * 0.4**2) - 2 * np.exp(0.4**2 / 2) + 1)
    assert deviations(depth_log_std=0.4)[0] == pytest.approx(of_log_normal * 0.5, rel=0.05)
    calibrated = {"correlated_cells": 900, "flow_log_std": 0.1}
    half_as_sure = deviations(**calibrated, typical_relative_sigma=field.relative_sigma / 2)
    np.testing.assert_allclose(half_as_sure, 2 * deviations(**calibrated), rtol=1e-3)


def mean_nees_of_rotations(field_and_truth, **errors):
    """Mean of ω's squared error over its covariance, of 100 fields that `field_and_truth(rng, matrix)` makes."""
    rng, nees = np.random.default_rng(8), []
    for _ in range(100):
        matrix = matrix_of(camera(rng.uniform(150, 350)))
        field, velocity = field_and_truth(rng, matrix)
        result = solve(field, matrix, EXPOSURE, uncertainty=replace(WEAK_PRIOR, **errors), previous=velocity).velocity
        error = up_to_sign(result.vector, velocity)[3:] - velocity[3:]
        nees.append(error @ np.linalg.solve(result.covariance[3:, 3:], error))
    return np.mean(nees)


def test_a_rotation_that_changes_while_the_rows_are_read_is_in_the_covariance():
    change = np.array([0.3, 0.5, 0.4])

    def rolling(rng, matrix):
        """Of each row's own velocity: that of the middle row is the truth."""
        depth, velocity = rough_depth(rng), random_velocity(rng, "mixed")
        by_rows = np.r_[np.zeros(3), rng.normal(size=3) * change]
        flow = matrix.flow(velocity, depth.ravel()).T.reshape(2, ROWS, COLUMNS)
        place = (np.arange(ROWS) + 0.5) / ROWS - 0.5
        flow = flow + place[:, None] * matrix.flow(by_rows, depth.ravel()).T.reshape(2, ROWS, COLUMNS)
        field = field_of(matrix, velocity, EXPOSURE, depth, 0.1)
        axial = axial_from_signed(EXPOSURE * flow.reshape(2, -1)).reshape(2, ROWS, COLUMNS)
        return replace(field, axial_flow=axial.astype(field.axial_flow.dtype)), velocity

    assert mean_nees_of_rotations(rolling) > 12
    assert 2.5 < mean_nees_of_rotations(rolling, readout_change=change) < 4.5


def test_of_a_camera_that_travels_a_wrong_shape_of_the_networks_depth_is_in_the_covariance():
    travel = np.array([1.5, -0.5, 0.3])

    def before_a_wrong_map(rng, matrix):
        depth, velocity = rough_depth(rng), np.r_[travel, rng.normal(size=3)]
        y, x = np.mgrid[:ROWS, :COLUMNS]
        place = np.stack([(2 * x + 1) / COLUMNS - 1, (2 * y + 1) / ROWS - 1], -1).reshape(-1, 2)
        wrong = 1 + polynomials(place) @ (rng.normal(size=5) * 0.2)
        field = field_of(matrix, velocity, EXPOSURE, depth, 0.1)
        return replace(field, depth=depth / np.maximum(wrong, 0.2).reshape(depth.shape)), velocity

    assert mean_nees_of_rotations(before_a_wrong_map) > 12
    assert 0.5 < mean_nees_of_rotations(before_a_wrong_map, recent_travel=travel) < 4.5


def test_of_measured_depth_no_shape_is_in_doubt():
    matrix, velocity = matrix_of(camera()), np.array([1.5, -0.5, 0.3, 0.2, 0.4, 0.1])
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(np.random.default_rng(5)), 0.1)
    travelling = replace(WEAK_PRIOR, recent_travel=velocity[:3])
    by_network, by_sensor = (
        solve(field, matrix, EXPOSURE, uncertainty=travelling, depth=depth).velocity for depth in (None, field.depth)
    )
    assert by_network.terms[Term.DEPTH_SHAPE].any()
    assert Term.DEPTH_SHAPE not in by_sensor.terms


def test_one_independent_error_never_shrinks_another():
    """σ(v_x) grows with the error that all lengths share, also where the depth's scale is unknown."""
    matrix, velocity = matrix_of(camera()), np.array([1.0, 0, 0, 1.0, 2.0, 0])
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(np.random.default_rng(5)), 0.5)
    prior = Uncertainty(Travel(0.3, 0.15), correlated_cells=900, depth_log_std=0.5)
    deviations = [
        np.sqrt(
            np.diag(solve(field, matrix, EXPOSURE, uncertainty=replace(prior, flow_log_std=std)).velocity.covariance)
        )
        for std in (0.0, 0.12, 0.25, 0.5)
    ]
    assert (np.diff(deviations, axis=0) > 0).all()


def test_the_covariance_is_the_sum_of_its_terms_and_each_can_be_left_out():
    matrix, velocity = matrix_of(camera()), np.array([0.5, 0, 0, 1.0, 2.0, 0])
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(np.random.default_rng(5)), 0.5)
    errors = {"flow_log_std": 0.1, "exposure_log_std": 0.05, "depth_log_std": 0.3}
    found = solve(field, matrix, EXPOSURE, uncertainty=Uncertainty(Travel(100.0, 0.0), **errors)).velocity
    np.testing.assert_allclose(sum(found.terms.values()), found.covariance)
    for term, error in ((Term.SHARED_LENGTH, 0.1), (Term.EXPOSURE, 0.05)):
        left_out = found.covariance - found.covariance_without((term,))
        np.testing.assert_allclose(left_out, error**2 * np.outer(found.vector, found.vector), atol=1e-12)
    assert Term.DEPTH_SCALE not in found.without_term(Term.DEPTH_SCALE).terms


def test_the_jacobian_of_q_is_its_derivative():
    rng = np.random.default_rng(3)
    matrix, motion = rng.normal(0, 5, (2, 6, 40)), rng.normal(0, 1, 6)
    cells = Cells(np.zeros((2, 40)), rng.uniform(0.3, 2, (2, 40)), np.ones((2, 40)), matrix)
    axes = AxialAxes.of(cells.flow(motion), cells.sigma)
    along, across = axes.jacobian(matrix)
    for number, step in enumerate(1e-6 * np.eye(6)):
        change = axial_from_signed(cells.flow(motion + step)) - axial_from_signed(cells.flow(motion - step))
        numeric = axes.resolve(change / 2e-6)
        np.testing.assert_allclose(along[number], numeric[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(across[number], numeric[1], rtol=1e-5, atol=1e-5)


def test_with_measured_depth_lengths_weigh_less_than_orientations_and_unsure_cells_less_than_sure_ones():
    sigma = np.array([[0.5, 2.0], [0.5, 2.0]])
    weighed = Cells(np.zeros((2, 2)), sigma, np.ones((2, 2)), np.ones((2, 6, 2))).weighed_for_measured_depth()
    by_power = np.array([0.5**1.5, 2.0**1.5])  # about their geometric mean, 1 px
    np.testing.assert_allclose(weighed.sigma, [np.sqrt(2) * by_power, by_power / np.sqrt(2)])
    np.testing.assert_allclose(weighed.error * weighed.sigma, sigma, err_msg="the sigmas that were predicted")


def test_spectra_know_that_the_networks_lengths_may_be_wrong_and_where_they_are_clear_that_is_forgotten():
    matrix, velocity = matrix_of(camera()), np.array([0.5, 0, 0, 1.0, 2.0, 0])
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(np.random.default_rng(5)), 0.5)

    class Spectra:
        def __init__(self, log_likelihood_ratio):
            self.log_likelihood_ratio = log_likelihood_ratio

        def refine(self, motion, covariance):
            self.motion, self.covariance = motion, covariance
            return Refined(motion, covariance, self.log_likelihood_ratio)

    def solved(spectra, log_std=0.25):
        uncertainty = replace(WEAK_PRIOR, flow_log_std=log_std)
        return solve(field, matrix, EXPOSURE, uncertainty=uncertainty, spectra=spectra).velocity

    clear, silent, sure = Spectra(15), Spectra(-10), Spectra(15)
    by_clear, by_silent, _ = solved(clear), solved(silent), solved(sure, 0.0)
    of_length = 0.25**2 * np.outer(clear.motion, clear.motion)
    np.testing.assert_allclose(clear.covariance - sure.covariance, of_length, atol=1e-12)
    whole = 0.25**2 * np.outer(by_silent.vector, by_silent.vector)
    np.testing.assert_allclose(by_silent.terms[Term.SHARED_LENGTH], whole, rtol=1e-3)
    assert np.abs(by_clear.terms[Term.SHARED_LENGTH]).max() < 1e-3 * whole.max()


@pytest.mark.parametrize(("log_likelihood_ratio", "share"), [(-10, 0), (2.5, 0.5), (15, 1)])
def test_spectra_count_as_far_as_they_are_clear(log_likelihood_ratio, share):
    """Where they may be right or wrong, the answer lies between, and its covariance reaches both."""

    class Spectra:
        def refine(self, motion, covariance):
            return Refined(1.2 * motion, covariance / 4, log_likelihood_ratio)

    matrix, velocity = matrix_of(camera()), np.array([0.5, 0, 0, 1.0, 2.0, 0])
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(np.random.default_rng(5)), 0.5)
    alone, both = (
        solve(field, matrix, EXPOSURE, uncertainty=WEAK_PRIOR, spectra=spectra).velocity
        for spectra in (None, Spectra())
    )
    assert both.vector == pytest.approx((1 + 0.2 * share) * alone.vector, rel=1e-4, abs=1e-5)
    expected = (1 - 0.75 * share) * alone.covariance
    expected += share * (1 - share) * np.outer(0.2 * alone.vector, 0.2 * alone.vector)
    np.testing.assert_allclose(both.covariance, expected, rtol=1e-3, atol=1e-5)


def test_the_rotation_models_covariance_knows_what_it_neglects():
    """Translations of the expected size make ω wrong by more than noise explains; the covariance says by how much."""
    rng = np.random.default_rng(9)
    prior = Uncertainty(Travel(0.3, 0.0))
    errors = []
    for _ in range(300):
        matrix = matrix_of(camera(rng.uniform(150, 350)))
        velocity = np.r_[rng.normal(size=3) * 0.3, rng.normal(size=3) * 3]
        field = field_of(matrix, velocity, EXPOSURE, rough_depth(rng), 1.0, rng)
        result = solve(field, matrix, EXPOSURE, motion_model="rotation", uncertainty=prior).velocity
        error = up_to_sign(result.vector, velocity) - velocity
        errors.append(error @ np.linalg.solve(result.covariance, error))
    assert 5 < np.mean(errors) < 9, "of six unknowns"
    np.testing.assert_allclose(np.diag(result.covariance)[:3], 0.3**2, err_msg="v is as unknown as before")


def test_measured_depth_replaces_the_predicted_one_and_unknown_depth_is_left_out():
    rng = np.random.default_rng(6)
    matrix = matrix_of(camera())
    velocity = np.array([0.8, -0.3, 0.5, 0.3, 0.6, 0.2])
    true = rough_depth(rng)
    field = field_of(matrix, velocity, EXPOSURE, true)
    wrong = replace(field, depth=np.full_like(true, 0.1))
    measured = np.where(rng.random(true.shape) < 0.5, np.nan, true)
    result = solve(wrong, matrix, EXPOSURE, uncertainty=WEAK_PRIOR, depth=measured).velocity.vector
    np.testing.assert_allclose(up_to_sign(result, velocity), velocity, atol=1e-6)


def test_measured_depth_is_held_against_the_flow_as_smooth_as_that_is():
    """A near thing before a wall, whose flow changes over its edge as gradually as the smoothed inverse depth does."""
    rng = np.random.default_rng(9)
    matrix = matrix_of(camera())
    velocity = np.array([0.8, -0.3, 0.2, 0.3, 0.6, 0.2])
    measured = np.full((ROWS, COLUMNS), 3.0)
    measured[10:30, 20:45] = 0.7
    seen = replace(field_of(matrix, velocity, EXPOSURE, measured), smoothing=20.0).as_smooth(measured)
    field = field_of(matrix, velocity, EXPOSURE, seen, 0.1, rng)

    def error_of_v(smoothing: float) -> float:
        solution = solve(replace(field, smoothing=smoothing), matrix, EXPOSURE, uncertainty=WEAK_PRIOR, depth=measured)
        return np.linalg.norm(up_to_sign(solution.velocity.vector, velocity)[:3] - velocity[:3])

    assert error_of_v(20.0) < 0.3 * error_of_v(0.0)


def test_with_measured_depth_unsure_cells_weigh_less_than_their_sigma_says():
    """On a near thing without texture a network goes on with the flow of the wall behind it, unsure of it."""
    matrix = matrix_of(camera())
    velocity = np.array([1.0, 0, 0, 0, 0.4, 0])
    depth = np.full((ROWS, COLUMNS), 3.0)
    depth[:20] = depth[30:, 20:60] = 1.0
    blank = np.zeros_like(depth, bool)
    blank[30:, 20:60] = True
    right = field_of(matrix, velocity, EXPOSURE, depth)
    guessed = field_of(matrix, velocity, EXPOSURE, np.where(blank, 3.0, depth))
    off = np.abs(right.axial_flow - guessed.axial_flow).max()
    field = replace(guessed, depth=depth, sigma=np.where(blank, off, 0.2) * np.ones((2, 1, 1)))

    def error_of_v(measured: np.ndarray | None) -> float:
        solution = solve(field, matrix, EXPOSURE, uncertainty=WEAK_PRIOR, depth=measured)
        return np.linalg.norm(up_to_sign(solution.velocity.vector, velocity)[:3] - velocity[:3])

    assert error_of_v(depth) < 0.6 * error_of_v(None)


@pytest.mark.parametrize("exposure", [0.0, -0.01, np.nan, np.inf])
def test_an_impossible_exposure_is_refused(exposure):
    rng = np.random.default_rng(7)
    matrix = matrix_of(camera())
    with pytest.raises(InputError, match="exposure"):
        solve(field_of(matrix, np.ones(6), EXPOSURE, rough_depth(rng)), matrix, exposure)


def test_a_field_of_nan_is_refused_and_some_nan_are_left_out():
    rng = np.random.default_rng(8)
    matrix = matrix_of(camera())
    velocity = np.array([0.2, 0.1, 0.3, 1.0, -2.0, 0.5])
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(rng))
    field.axial_flow[:, :, :40] = np.nan
    result = solve(field, matrix, EXPOSURE, uncertainty=WEAK_PRIOR).velocity.vector
    np.testing.assert_allclose(up_to_sign(result, velocity), velocity, atol=1e-6)
    field.axial_flow[:] = np.nan
    with pytest.raises(InputError, match="usable"):
        solve(field, matrix, EXPOSURE)


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.inf, np.nan])
def test_cells_whose_sigma_is_none_are_left_out(sigma):
    matrix, velocity = matrix_of(camera()), np.array([0.2, 0.1, 0.3, 1.0, -2.0, 0.5])
    field = field_of(matrix, velocity, EXPOSURE, rough_depth(np.random.default_rng(8)))
    sigmas = field.sigma.copy()
    sigmas[0, :, :40] = sigma
    field.axial_flow[:, :, :40] = 50.0
    result = solve(replace(field, sigma=sigmas), matrix, EXPOSURE, uncertainty=WEAK_PRIOR).velocity
    np.testing.assert_allclose(up_to_sign(result.vector, velocity), velocity, atol=1e-6)
