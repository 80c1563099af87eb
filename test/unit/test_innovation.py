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
STD = 0.05  # m/s and rad/s, of an alignment


def alignment(vector, std=STD):
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
    assert followed(forecast, shaking)[1].max() < 0.4 * STD


@pytest.mark.parametrize(("beyond", "probability"), [(0.0, 0.5), (2 * np.log(3), 0.75), (1e6, 1.0)])
def test_at_the_contradiction_it_is_as_likely_wrong_as_right(beyond, probability):
    forecast = Forecast(np.zeros(6), 0.25 * np.eye(6))
    size = np.sqrt(SIGN.contradiction + beyond) * np.hypot(0.5, STD)
    inflation = forecast.inflation(alignment(np.array([0, 0, 0, 0, size, 0])))
    assert inflation[4, 4] == pytest.approx(probability * (1 + 1 / 3) * size**2)
    assert inflation[3, 3] == pytest.approx(probability / 3 * size**2)


@pytest.mark.parametrize("wrong", [JUMPED, ROTATED])
def test_a_jump_is_inflated_by_as_much_as_it_is(forecast, wrong):
    after, _ = followed(forecast, [wrong])
    error = wrong - STEADY
    covariance = alignment(wrong).covariance + forecast.later(DT).inflation(alignment(wrong))
    assert error @ np.linalg.solve(covariance, error) < 6
    assert np.linalg.norm(after.vector - STEADY) < 0.2 * np.linalg.norm(error)  # the forecast hardly follows
    assert followed(after, [STEADY])[1].max() < 0.1 * STD  # so that the next one, which is right, is left alone


def test_a_jump_that_lasts_is_believed_within_half_a_second(forecast):
    after, inflations = followed(forecast, [ROTATED] * 15)
    assert inflations[0].max() > np.linalg.norm(ROTATED - STEADY)
    assert inflations[-1].max() < 0.1 * STD
    np.testing.assert_allclose(after.vector, ROTATED, atol=0.3)


def test_one_that_is_unsure_itself_needs_no_inflation(forecast):
    assert np.sqrt(forecast.later(DT).inflation(alignment(ROTATED, std=3.0)).max()) < 0.1 * 3.0


def test_after_a_pause_anything_may_have_changed(forecast):
    assert followed(forecast, [ROTATED], seconds=0.5)[1].max() < 0.1


def test_a_forecast_is_as_unsure_as_cameras_mostly_accelerate():
    """Q = (a·Δt)²·I"""
    forecast = Forecast(STEADY, 0.01 * np.eye(6))
    accelerations = np.repeat([SHARED.linear_acceleration_std, SHARED.angular_acceleration_std], 3)
    for seconds in (DT, 0.2):
        added = forecast.later(seconds).covariance - forecast.covariance
        np.testing.assert_allclose(added, np.diag((SIGN.usual_acceleration * accelerations * seconds) ** 2))
