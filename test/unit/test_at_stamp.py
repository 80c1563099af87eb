"""What a mean over dt lacks of the velocity at its stamp."""

import numpy as np
import pytest

from image_as_imu_ros.estimation.at_stamp import Acceleration
from image_as_imu_ros.estimation.velocity import Term


def smooth_rates(seconds: float, cutoff: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Angular velocities (N, 3) rad/s each ms, whose power falls with f⁻⁴ beyond a cutoff, Hz: times and values."""
    count = round(1000 * seconds)
    frequency = np.fft.rfftfreq(count, 1e-3)
    noise = np.fft.rfft(np.random.default_rng(seed).normal(size=(count, 3)), axis=0)
    rates = np.fft.irfft(noise / (1 + (frequency[:, None] / cutoff) ** 2), count, axis=0)
    return np.arange(count) * 1e-3, rates / rates.std()


@pytest.mark.parametrize("dt", [0.03, 0.1, 0.2])
@pytest.mark.parametrize("cutoff", [2.0, 4.0])
def test_the_mean_over_dt_misses_the_rate_at_its_stamp_by_what_the_covariance_says(dt, cutoff):
    """σ is that of 4 Hz; a smoother motion is nearer to its mean."""
    _, rates = smooth_rates(120, cutoff, 0)
    step = round(1000 * dt)
    means = rates[: len(rates) // step * step].reshape(-1, step, 3).mean(1)
    middles = rates[step // 2 :: step][: len(means)]
    acceleration, squared = None, []
    for number, (mean, at_stamp) in enumerate(zip(means, middles, strict=True)):
        velocity, stamp = np.r_[np.zeros(3), mean], round((number + 0.5) * dt * 1e9)
        if acceleration is None:
            acceleration = Acceleration.first(velocity, stamp, dt)
        else:
            acceleration = acceleration.followed_by(velocity, stamp)
        covariance = acceleration.terms(dt, 0.0, 0.0)[Term.ACCELERATION][3:, 3:]
        squared.append((at_stamp - mean) @ np.linalg.solve(covariance, at_stamp - mean))
    nees = np.mean(squared[5:])
    assert (1.5 if cutoff == 4 else 0.1) < nees < 8


def steady(dt: float) -> np.ndarray:
    """Covariance (6, 6) of what a mean over dt s lacks, after a while of constant velocity."""
    acceleration = Acceleration.first(np.arange(6.0), 0, dt)
    for number in range(1, 60):
        acceleration = acceleration.followed_by(np.arange(6.0), round(number * dt * 1e9))
    return acceleration.terms(dt, 0.0, 0.0)[Term.ACCELERATION]


def test_a_steady_motion_is_its_mean_but_for_a_tremor_that_no_frame_shows():
    assert steady(0.1)[:3, :3].max() < 1e-6
    assert np.sqrt(steady(1 / 30)[3:, 3:].max()) < 0.01, "rad/s: frames that come often see it"
    assert np.sqrt(np.diag(steady(0.2))[3:]) == pytest.approx(0.05, abs=0.02)


def test_a_tremor_at_the_rate_of_the_frames_is_within_the_covariance():
    """A car's springs, seen ten times a second: every mean is zero."""
    times = np.arange(0.05, 10, 0.1) + 0.1 * np.random.default_rng(0).uniform(size=100)
    rates = 0.06 * np.sin(2 * np.pi * 10 * times)
    assert 0.3 < np.mean(rates**2) / steady(0.1)[4, 4] < 4


def test_a_wrong_dt_scales_the_rate_and_a_wrong_stamp_takes_another_one():
    velocity = np.array([0.1, 0, 0, 0, 2.0, 0])
    acceleration = Acceleration(np.full(6, 9.0), velocity, 0)
    stamps = acceleration.terms(0.05, 0.001, 0.002)[Term.STAMPS]
    np.testing.assert_allclose(stamps, 0.02**2 * np.outer(velocity, velocity) + 0.006**2 * np.eye(6))


def test_half_of_an_acceleration_about_one_axis_is_expected_about_all_three():
    about_x = Acceleration(np.array([0, 0, 0, 9.0, 0, 0]), np.zeros(6), 0)
    np.testing.assert_allclose(about_x.change(2.0), 2.0**2 * np.diag([0, 0, 0, 6.0, 1.5, 1.5]))


def test_a_vehicle_that_is_seen_first_while_it_drives_did_not_start_within_one_frame():
    driving = Acceleration.first(np.array([0, 0, 20.0, 0, 0, 0]), 0, 1 / 30).change(1.0)
    assert np.sqrt(driving[2, 2]) <= 15.0, "m/s², no camera accelerates harder"
