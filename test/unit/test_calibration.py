"""Axes, clock offset, readout time and focal length are found from tracks and a gyroscope, with how sure they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from image_as_imu_ros.evaluation.calibration import epipolar
from image_as_imu_ros.evaluation.calibration.calibrate import CalibrationConfig, calibrate
from image_as_imu_ros.evaluation.calibration.epipolar import COUNT, Rates, Tracks, residuals
from image_as_imu_ros.evaluation.calibration.solve import solve
from image_as_imu_ros.geometry import so3

FOCAL, HEIGHT, WIDTH = 500.0, 480, 640  # px
OFFSET, READOUT = 0.004, 0.02  # s
AXES = so3.exp(np.array([0.02, -0.03, 0.05]))  # from the gyroscope's to the camera's
BIAS = np.array([0.01, -0.02, 0.005])  # rad/s
NOISE = 0.1  # px


def orientation(times: np.ndarray) -> np.ndarray:
    """(…, 3, 3) camera → world of a camera that is shaken about all axes."""
    pitch, yaw, roll = (amplitude * np.sin(rate * times + rate) for amplitude, rate in ((0.1, 5), (0.15, 3), (0.12, 7)))
    return (
        so3.exp(yaw[..., None] * [0, 1, 0])
        @ so3.exp(pitch[..., None] * [1, 0, 0])
        @ so3.exp(roll[..., None] * [0, 0, 1])
    )


def position(times: np.ndarray) -> np.ndarray:
    return np.stack([0.1 * np.sin(4 * times), 0.05 * np.cos(3 * times), 0.08 * np.sin(2 * times)], -1)


def seen(points: np.ndarray, middle: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """Rays (N, 2) as a camera with `factor` times the true focal length would have them, and rows, of points (N, 3)."""
    rows = np.zeros(len(points))
    rays = np.zeros((len(points), 2))
    for _ in range(4):  # a row is exposed when it is read, and what it shows depends on that
        times = middle + READOUT * rows
        local = np.einsum("nji,nj->ni", orientation(times), points - position(times))
        rays = local[:, :2] / local[:, 2:]
        rows = rays[:, 1] * FOCAL / HEIGHT
    return rays / factor, rows


@pytest.fixture(scope="module")
def tracked() -> tuple[Tracks, Rates]:
    """4 s at 30 Hz of points between 1 and 6 m, and a gyroscope at 400 Hz whose clock is ahead."""
    rng = np.random.default_rng(0)
    factor = 1.05  # the focal length that is believed is so much too long
    parts = []
    for number, start in enumerate(np.arange(0.2, 4.2, 1 / 30)):
        depth = rng.uniform(1, 6, 80)
        pixels = rng.uniform([-WIDTH / 2, -HEIGHT / 2], [WIDTH / 2, HEIGHT / 2], (80, 2))
        local = np.column_stack([pixels / FOCAL * depth[:, None], depth])
        points = local @ orientation(np.array(start)).T + position(np.array(start))
        views = [seen(points, middle, factor) for middle in (start, start + 1 / 30)]
        rays = np.stack([view[0] for view in views]) + rng.normal(0, NOISE / FOCAL, (2, 80, 2))
        times = np.repeat([[start], [start + 1 / 30]], 80, 1)
        parts.append((np.full(80, number), rays, times, np.stack([view[1] for view in views])))
    pair, rays, times, rows = (
        np.concatenate(arrays, axis=axis) for axis, arrays in zip((0, 1, 1, 1), zip(*parts, strict=True), strict=True)
    )
    tracks = Tracks(pair, rays, times, rows, FOCAL * factor)
    clock = np.arange(0, 4.6, 1 / 400)
    step = 1e-4
    rotated = orientation(clock - step).transpose(0, 2, 1) @ orientation(clock + step)
    rates = so3.log(rotated) / (2 * step) @ AXES + BIAS
    return tracks, Rates(clock + OFFSET, rates)


def start() -> np.ndarray:
    parameters = np.zeros(COUNT)
    parameters[epipolar.READOUT] = 0.01
    return parameters


def test_the_true_parameters_leave_the_noise_of_the_tracks(tracked):
    tracks, rates = tracked
    parameters = np.zeros(COUNT)
    parameters[epipolar.AXES] = so3.log(AXES)
    parameters[epipolar.BIAS] = BIAS
    parameters[epipolar.OFFSET] = OFFSET
    parameters[epipolar.READOUT] = READOUT
    parameters[epipolar.LOG_FOCAL] = np.log(1 / 1.05)
    left = residuals(parameters, tracks, rates, np.ones(len(tracks.pair)))
    assert np.sqrt(np.mean(left**2)) == pytest.approx(NOISE, rel=0.1)
    wrong = residuals(start(), tracks, rates, np.ones(len(tracks.pair)))
    assert np.sqrt(np.mean(wrong**2)) > 2 * NOISE


@pytest.mark.parametrize("moving", [0.1])
def test_all_are_found_and_their_standard_deviations_hold(tracked, moving):
    """A share of the tracks is on things that move by themselves, by some pixels."""
    tracks, rates = tracked
    stray = np.random.default_rng(1).random(len(tracks.pair)) < moving
    rays = tracks.rays.copy()
    rays[1, stray] += np.random.default_rng(2).normal(0, 0.004, (int(stray.sum()), 2))
    found = solve(replace(tracks, rays=rays), rates, start())
    error = found.parameters - np.r_[np.zeros(3), BIAS, OFFSET, READOUT, np.log(1 / 1.05)]
    error[epipolar.AXES] = so3.log(so3.exp(found.parameters[epipolar.AXES]) @ AXES.T)
    assert np.degrees(np.abs(error[epipolar.AXES])).max() < 0.5
    assert abs(error[epipolar.OFFSET]) < 0.3e-3
    assert abs(error[epipolar.READOUT]) < 0.5e-3
    assert abs(error[epipolar.LOG_FOCAL]) < 0.005
    assert (np.abs(error) < 3 * found.sigma).all()
    assert found.residual == pytest.approx(NOISE, rel=0.6)


def test_a_phone_in_a_car_comes_out_as_its_makers_say(recorded):
    """Fitted by its authors to static buildings alone: 30.6 ms of readout; focal lengths 574 to 559, sure to 2 %."""
    found = calibrate(recorded("phone_drive"), CalibrationConfig(stamp_reference="start"))
    assert found.axes == "x,y,z"
    assert found.askew_deg < 2
    assert found.offset == pytest.approx(0, abs=1e-3)
    assert found.readout == pytest.approx(0.0306, abs=1e-3)
    assert 559 * 0.99 < found.focal_length < 574.4 * 1.01
