"""The covariance of an alignment that jumps is inflated, and what follows shows whether it was right."""

import numpy as np
import pytest

from image_as_imu_ros.estimation.constants import SHARED, SIGN
from image_as_imu_ros.estimation.innovation import Forecast
from image_as_imu_ros.estimation.velocity import Term, Velocity

DT = 1 / 30
STEADY = np.array([0.1, 0.0, 0.2, 0.5, -1.0, 0.2])
JUMPED = STEADY + np.array([0.0, 0.0, 5.0, 0.0, 0.0, 0.0])
ROTATED = STEADY + np.array([0.0, 0.0, 0.0, 4.0, 0.0, 0.0])


def alignment(vector, std=0.05):
    return Velocity(vector[:3], vector[3:], {Term.DATA: std**2 * np.eye(6)})


def followed(forecast, vectors, seconds=DT):
    """(Forecast after alignments, and by what each was inflated: standard deviations (N, 6))."""
    inflations = []
    for vector in vectors:
        forecast, velocity = forecast.later(seconds), alignment(vector)
        inflation = forecast.inflation(velocity)
        forecast = forecast.updated(velocity, inflation)
        inflations.append(np.sqrt(np.diag(inflation)))
    return forecast, np.array(inflations)


@pytest.fixture
def forecast():
    first = alignment(STEADY)
    return followed(Forecast(first.vector, first.covariance), [STEADY] * 5)[0]


def test_a_camera_that_shakes_as_cameras_do_is_left_alone(forecast):
    times = DT * np.arange(90)
    shaking = STEADY + 2.0 * np.sin(2 * np.pi * 1.5 * times)[:, None] * [0.1, 0.1, 0.0, 1.0, 0.5, 0.3]
    assert not followed(forecast, shaking)[1].any()


@pytest.mark.parametrize("wrong", [JUMPED, ROTATED])
def test_a_jump_is_inflated_by_as_much_as_it_is(forecast, wrong):
    after, _ = followed(forecast, [wrong])
    error = wrong - STEADY
    covariance = alignment(wrong).covariance + forecast.later(DT).inflation(alignment(wrong))
    assert error @ np.linalg.solve(covariance, error) < 6
    assert np.linalg.norm(after.vector - STEADY) < 0.2 * np.linalg.norm(error)  # the forecast hardly follows
    assert not followed(after, [STEADY])[1].any()  # so that the next one, which is right, is left alone


def test_a_jump_that_lasts_is_believed_within_half_a_second(forecast):
    after, inflations = followed(forecast, [ROTATED] * 15)
    assert inflations[0].any()
    assert not inflations[-1].any()
    np.testing.assert_allclose(after.vector, ROTATED, atol=0.3)


def test_one_that_is_unsure_itself_needs_no_inflation(forecast):
    assert not forecast.later(DT).inflation(alignment(ROTATED, std=3.0)).any()


def test_after_a_pause_anything_may_have_changed(forecast):
    assert not followed(forecast, [ROTATED], seconds=0.5)[1].any()


def test_a_forecast_is_as_unsure_as_cameras_mostly_accelerate():
    """Q = (a·Δt)²·I"""
    forecast = Forecast(STEADY, 0.01 * np.eye(6))
    accelerations = np.repeat([SHARED.linear_acceleration_std, SHARED.angular_acceleration_std], 3)
    for seconds in (DT, 0.2):
        added = forecast.later(seconds).covariance - forecast.covariance
        np.testing.assert_allclose(added, np.diag((SIGN.usual_acceleration * accelerations * seconds) ** 2))
