"""The prior on v that only the rotation leans on."""

from itertools import product

import numpy as np
import pytest

from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.constants import TRAVEL
from image_as_imu_ros.estimation.prior import Prior, pivot_from_camera
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import mixture

RANDOM = np.random.default_rng(0)
SIGMA = (lambda a: a @ a.T)(RANDOM.normal(size=(6, 6)))


def alike(linear_std: float, rotation_std: float, axis: int = 0) -> np.ndarray:
    """Covariance (6, 6) of a motion whose slide along x, or y, and rotation about y, or x, look alike."""
    covariance = np.diag(np.square(np.repeat([0.02, 0.02], 3)))
    slide, rotation = axis, 4 - axis
    covariance[slide, slide], covariance[rotation, rotation] = linear_std**2, rotation_std**2
    covariance[slide, rotation] = covariance[rotation, slide] = 0.99 * linear_std * rotation_std
    return covariance


def test_it_is_the_mixture_of_what_every_hypothesis_says():
    """Held against posteriors in information form, of one hypothesis after another."""
    lever_arm, scale, log_std = 0.15, 0.3, 0.4
    motion = RANDOM.normal(size=6)
    to_pivot = pivot_from_camera(lever_arm)
    by_arm = TRAVEL.lever_arm_std**2 * motion[3:] @ motion[3:]
    weights, means, covariances = [], [], []
    for of_axes in product(zip(TRAVEL.speeds, TRAVEL.probabilities, strict=True), repeat=3):
        variances = np.square([scale * speed * np.exp(log_std**2) for speed, _ in of_axes]) + by_arm
        information = np.linalg.inv(SIGMA) + to_pivot.T @ np.diag(1 / variances) @ to_pivot
        total = to_pivot @ SIGMA @ to_pivot.T + np.diag(variances)
        measured = to_pivot @ motion
        density = np.exp(-measured @ np.linalg.solve(total, measured) / 2) / np.sqrt(np.linalg.det(total))
        weights.append(density * np.prod([probability for _, probability in of_axes]))
        covariances.append(np.linalg.inv(information))
        means.append(covariances[-1] @ np.linalg.solve(SIGMA, motion))
    likely = np.array(weights) / sum(weights)
    mean, covariance = mixture(likely, np.array(means), np.array(covariances))
    posterior = Travel(scale, lever_arm).rotation_posterior(motion, SIGMA, 1.0, log_std)
    np.testing.assert_allclose(posterior.motion[3:], mean[3:])
    np.testing.assert_allclose(posterior.covariance[3:, 3:], covariance[3:, 3:])
    np.testing.assert_allclose(posterior.likeliest, mean)


def test_v_stays_as_measured_and_the_covariance_is_one():
    motion = RANDOM.normal(size=6)
    posterior = Travel(0.3, 0.15).rotation_posterior(motion, SIGMA, 1.0, 0.5)
    np.testing.assert_array_equal(posterior.motion[:3], motion[:3])
    np.testing.assert_array_equal(posterior.covariance[:3, :3], SIGMA[:3, :3])
    assert np.linalg.eigvalsh(posterior.covariance).min() > 0


def test_the_covariance_of_a_rotation_with_the_prior_is_that_of_its_errors(monkeypatch):
    """True motions from the prior, measured with errors from the likelihood."""
    monkeypatch.setattr("image_as_imu_ros.estimation.travel.TRAVEL", OneSize())
    rotations = RANDOM.normal(0, 0.3, (20_000, 3))
    true = np.hstack([RANDOM.normal(0, 0.3, (20_000, 3)), rotations])
    measured = true + RANDOM.multivariate_normal(np.zeros(6), SIGMA, len(true))
    travel = Travel(0.3, 0.0)
    errors = [travel.rotation_posterior(one, SIGMA, 1.0, 0.0).motion for one in measured] - true
    covariance = travel.rotation_posterior(measured[0], SIGMA, 1.0, 0.0).covariance
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    np.testing.assert_allclose(np.cov(errors.T) / scale, covariance / scale, atol=0.04)


class OneSize:
    """A Gaussian prior on v about the camera itself."""

    speeds, probabilities, lever_arm_std = (1.0,), (1.0,), 0.0


def test_a_hand_that_seems_to_slide_rotates():
    motion = np.array([0.2, 0, 0, 0, 0.2, 0])
    posterior = Travel(0.3, 0.0).rotation_posterior(motion, alike(1.0, 1.0), 1.0, 0.0)
    assert abs(posterior.motion[4]) < 0.1
    assert np.sqrt(posterior.covariance[4, 4]) < 0.6


def test_a_camera_that_is_slow_along_two_axes_may_be_fast_along_the_third():
    """A train's window: of v, two components are surely next to nothing, and the third is 1.5 ± 1 m/s."""
    motion = np.array([1.5, 0.01, 0.02, 0, 0, 0])
    posterior = Travel(0.3, 0.0).rotation_posterior(motion, alike(1.0, 0.4), 1.0, 0.0)
    std = np.sqrt(posterior.covariance[4, 4])
    assert abs(posterior.motion[4]) < 2 * std, "that it does not rotate is within 2 σ"
    assert std > 0.2


@pytest.mark.parametrize("axis", [0, 1])
def test_one_that_surely_travels_leans_on_nothing(axis):
    motion = np.zeros(6)
    motion[axis], motion[4 - axis] = 3.0, 0.2
    measured = alike(0.3, 0.1, axis)
    posterior = Travel(0.3, 0.0).rotation_posterior(motion, measured, 1.0, 0.0)
    np.testing.assert_allclose(posterior.motion, motion, atol=0.02)
    np.testing.assert_allclose(posterior.covariance, measured, atol=0.002)


def test_a_lever_arm_makes_a_rotation_that_moves_the_camera_no_travel():
    pivot = pivot_from_camera(0.5)
    swing = np.linalg.solve(np.vstack([pivot, np.eye(3, 6, 3)]), [0, 0, 0, 0, 2.0, 0])
    assert np.linalg.norm(swing[:3]) > 0.9
    posterior = Travel(0.3, 0.5).rotation_posterior(swing, alike(1.0, 1.0), 1.0, 0.0)
    np.testing.assert_allclose(posterior.motion, swing, atol=1e-9)


@pytest.mark.parametrize("lever_arm", [0.0, 0.3, -0.2])
def test_a_pose_displaces_the_pivot_as_the_small_motion_that_it_is(lever_arm):
    prior, motions = Prior(1.0, lever_arm), 1e-4 * RANDOM.normal(size=(5, 6))
    poses = Poses.of(motions)
    displaced = prior.displacement(poses.rotation, poses.translation)
    np.testing.assert_allclose(displaced, motions @ pivot_from_camera(lever_arm).T, atol=1e-7)


def test_the_faster_it_rotates_the_less_its_lever_arm_tells_about_v():
    """At rest 0.1 m/s tells a rotation of 0.03 rad/s; at 5 rad/s any arm between 5 and 25 cm explains as much."""

    def leans(rotation: float) -> float:
        motion = np.array([0.1, 0, 0, 0, 0, rotation])
        return abs(Travel(0.3, 0.0).rotation_posterior(motion, alike(0.2, 0.1), 1.0, 0.0).motion[4])

    assert leans(0.0) > 0.02
    assert leans(5.0) < 0.4 * leans(0.0)
