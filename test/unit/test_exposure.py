"""Blur over aligned rate is the exposure: rough frame by frame, good as a running estimate, and it knows how good."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_as_imu_ros.estimation.constants import EXPOSURE
from image_as_imu_ros.estimation.exposure import ExposureEstimator, blur_along

SECOND = 30  # frames
NOMINAL = 0.01  # s


def watch(estimator, exposure, frames, seed=0, length_std=0.2, outliers=0.0, speed=1200.0, nominal=NOMINAL):
    """Feed frames of a moving camera, speed in px/s, whose blur lengths are read with a relative error."""
    rng = np.random.default_rng(seed)
    for number in range(frames):
        rate = speed * (0.6 + 0.4 * math.sin(number / 3))
        blur = exposure * rate * math.exp(rng.normal(0, length_std))
        if rng.random() < outliers:
            blur *= rng.choice([0.1, 5.0])
        displacement = nominal * rate
        estimator.observe(blur, displacement, 0.05 * displacement)
    return estimator.estimate(nominal)


@settings(max_examples=25, deadline=None)
@given(exposure=st.floats(0.008, 0.03), wrong=st.sampled_from([0.3, 0.6, 1.0, 2.0, 3.0]), seed=st.integers(0, 10_000))
def test_a_second_of_motion_is_enough(exposure, wrong, seed):
    estimate = watch(ExposureEstimator(1.0), exposure, SECOND, seed, nominal=wrong * exposure)
    error = math.log(estimate.seconds / exposure)
    assert abs(error) < 0.2  # five standard deviations
    assert abs(error) < 4 * estimate.log_std
    assert estimate.log_std < 0.15


@pytest.mark.parametrize(("before", "after"), [(0.005, 0.020), (0.020, 0.005), (0.010, 0.014)])
def test_a_step_of_auto_exposure_is_followed_within_a_second(before, after):
    estimator = ExposureEstimator(1.0)
    assert watch(estimator, before, 4 * SECOND, speed=2500).seconds == pytest.approx(before, rel=0.1)
    assert watch(estimator, after, SECOND, seed=1, speed=2500).seconds == pytest.approx(after, rel=0.1)


def test_outliers_do_little_harm():
    estimate = watch(ExposureEstimator(1.0), 0.015, 3 * SECOND, outliers=0.2)
    assert estimate.seconds == pytest.approx(0.015, rel=0.1)


def test_a_camera_that_hardly_moves_teaches_nothing():
    estimator = ExposureEstimator(1.0)
    known = watch(estimator, 0.015, 2 * SECOND)
    for _ in range(10 * SECOND):
        estimator.observe(0.4, 0.3, 0.2)
    assert estimator.estimate(NOMINAL) == known


def test_a_sharp_image_of_a_camera_that_moves_tells_of_a_short_exposure():
    estimator = ExposureEstimator(1.0)
    for _ in range(3):
        estimator.observe(0.5 * EXPOSURE.least_blur, 10 * EXPOSURE.least_blur, 0.0)
    assert estimator.estimate(NOMINAL).seconds < 0.2 * NOMINAL


def after_one_frame(**observed) -> float:
    """Standard deviation of the log after a clear frame of 10 px."""
    estimator = ExposureEstimator(1.0)
    estimator.observe(10.0, 10.0, **({"change": 0.0} | observed))
    return estimator.estimate(NOMINAL).log_std


def test_a_frame_tells_less_where_the_rate_changed_and_more_where_spectra_show_the_length():
    assert after_one_frame(change=10.0) > 1.1 * after_one_frame()
    assert after_one_frame(clear=1.0) < 0.8 * after_one_frame()


def test_auto_exposure_may_drift_by_so_much_per_frame(monkeypatch):
    """Seen in frames that tell nothing, without the jumps that are expected besides."""
    alone = replace(EXPOSURE, jump=0.0, tail=0.0)
    monkeypatch.setattr("image_as_imu_ros.estimation.exposure.EXPOSURE", alone)
    estimator = ExposureEstimator(0.05)
    before = estimator.estimate(NOMINAL).log_std
    for _ in range(100):
        estimator.observe(10.0, 10.0, 1e9)
    grown = estimator.estimate(NOMINAL).log_std ** 2 - before**2
    assert grown == pytest.approx(100 * EXPOSURE.drift_std**2, rel=0.01)


def test_at_first_it_is_the_nominal_one_and_says_how_much():
    estimate = ExposureEstimator(0.3).estimate(0.012)
    assert estimate.seconds == pytest.approx(0.012, rel=0.05)
    assert estimate.log_std == pytest.approx(0.3, rel=0.5)


def test_blur_is_measured_along_the_motion_whatever_its_sign():
    motion = np.array([300.0, 400.0])[:, None, None] * np.ones((1, 3, 4))
    assert blur_along(0.01 * motion, motion) == pytest.approx((500, 5))
    assert blur_along(-0.01 * motion, motion) == pytest.approx((500, 5))
    across = np.array([-4.0, 3.0])[:, None, None] * np.ones((1, 3, 4))
    assert blur_along(across, motion) == pytest.approx((500, 0))
    assert blur_along(across, 0 * motion) == (0, 0)
