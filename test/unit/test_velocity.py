"""Errors of a translation that is not solved for, of an unknown scale, and of mixtures."""

import numpy as np
import pytest

from image_as_imu_ros.estimation.velocity import Term, Velocity, considered_translation, mixture, of_unknown_scale

DRAW = np.random.default_rng(0)
SIGMA = (lambda a: a @ a.T)(DRAW.normal(size=(6, 6)))


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
    np.testing.assert_allclose(found, found.T)


def test_between_two_velocities_errors_are_those_of_a_weighted_mean():
    first = Velocity(np.zeros(3), np.zeros(3), {Term.DATA: SIGMA, Term.SCALE: np.eye(6)})
    second = Velocity(np.ones(3), np.ones(3), {Term.DATA: 2 * SIGMA, Term.STAMPS: np.eye(6)})
    between = first.towards(second, 0.25)
    np.testing.assert_array_equal(between.vector, np.full(6, 0.25))
    expected = {Term.DATA: (0.75**2 + 2 * 0.25**2) * SIGMA, Term.SCALE: 0.75**2 * np.eye(6)}
    expected[Term.STAMPS] = 0.25**2 * np.eye(6)
    assert between.terms.keys() == expected.keys()
    for term, covariance in expected.items():
        np.testing.assert_allclose(between.terms[term], covariance)


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
