"""A prior that only the rotation leans on, and errors of a translation that is not solved for."""

import numpy as np
import pytest

from image_as_imu_ros.estimation.velocity import considered_translation, leaning_rotation, mixture, of_unknown_scale

DRAW = np.random.default_rng(0)
SIGMA = (lambda a: a @ a.T)(DRAW.normal(size=(6, 6)))
PRIOR = np.diag(np.repeat([1 / 0.3**2, 1e-6], 3))


def test_the_covariance_of_a_leaning_rotation_is_that_of_its_errors():
    """True motions from the prior, measured with errors from the likelihood."""
    prior = np.diag(np.repeat([1 / 0.3**2, 1 / 2.0**2], 3))
    true = DRAW.multivariate_normal(np.zeros(6), np.linalg.inv(prior), 40_000)
    measured = true + DRAW.multivariate_normal(np.zeros(6), SIGMA, len(true))
    errors = [leaning_rotation(one, SIGMA, prior)[0] for one in measured] - true
    _, covariance = leaning_rotation(measured[0], SIGMA, prior)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    np.testing.assert_allclose(np.cov(errors.T) / scale, covariance / scale, atol=0.03)


def test_the_translation_stays_as_measured_and_no_prior_changes_nothing():
    motion = DRAW.normal(size=6)
    leaning, covariance = leaning_rotation(motion, SIGMA, PRIOR)
    np.testing.assert_array_equal(leaning[:3], motion[:3])
    np.testing.assert_array_equal(covariance[:3, :3], SIGMA[:3, :3])
    assert np.linalg.eigvalsh(covariance).min() > 0
    same, unchanged = leaning_rotation(motion, SIGMA, np.zeros((6, 6)))
    np.testing.assert_allclose(same, motion)
    np.testing.assert_allclose(unchanged, SIGMA)


def test_a_translation_that_is_not_solved_for_errs_by_itself_and_by_what_it_does_to_the_rotation():
    sensitivity = DRAW.normal(size=(3, 3))
    translations = DRAW.normal(0, 0.3, (100_000, 3))
    errors = np.hstack([-translations, translations @ sensitivity.T])
    assert considered_translation(sensitivity, 0.3) == pytest.approx(np.cov(errors.T), abs=0.01)


def test_what_was_measured_in_unknown_units_errs_by_their_factor_errors_and_all():
    motion, log_std = np.array([0.3, -0.2, 1.0, 0.1, 0.2, -0.1]), 0.5
    true = DRAW.multivariate_normal(motion, 0.01 * SIGMA, 400_000)
    true[:, :3] *= np.exp(log_std * DRAW.normal(size=(len(true), 1)))
    errors = true - motion
    moment = errors.T @ errors / len(true)
    found = sum(of_unknown_scale(motion, 0.01 * SIGMA, log_std))
    np.testing.assert_allclose(found[:3, :3], moment[:3, :3], rtol=0.03, atol=0.003)
    np.testing.assert_allclose(found[3:], moment[3:], rtol=0.03, atol=0.003)


def test_a_mixture_is_as_wide_as_its_parts_and_what_lies_between_them():
    random = np.random.default_rng(0)
    means, weights = np.array([[0.0, 1.0], [4.0, -1.0]]), np.array([0.25, 0.75])
    covariances = np.array([np.diag([1.0, 2.0]), [[2.0, 0.5], [0.5, 1.0]]])
    samples = np.concatenate(
        [
            random.multivariate_normal(m, c, round(200_000 * w))
            for m, c, w in zip(means, covariances, weights, strict=True)
        ]
    )
    mean, covariance = mixture(weights, means, covariances)
    np.testing.assert_allclose(mean, samples.mean(0), atol=0.02)
    np.testing.assert_allclose(covariance, np.cov(samples.T), atol=0.05)
