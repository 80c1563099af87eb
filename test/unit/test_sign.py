"""A neighbouring frame tells which way along the streaks the camera moved."""

import cv2
import numpy as np
import pytest
from fields import camera, rough_depth
from hypothesis import given, settings
from hypothesis import strategies as st

from image_as_imu_ros.estimation.constants import SIGN
from image_as_imu_ros.estimation.sign import (
    Grid,
    alignment_log_odds,
    continuity_log_odds,
    contradiction,
    contradicts,
    disagreement,
    photometric_log_odds,
    rate_log_odds,
    small_image,
)
from image_as_imu_ros.estimation.velocity import Term, Velocity

GRID = Grid.of(camera(), 4)
SECONDS = 1 / 30


def texture(seed: int) -> np.ndarray:
    """(448, 640) uint8 with detail at several scales."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.normal(size=(448 // s, 640 // s)).astype(np.float32), (640, 448), interpolation=cv2.INTER_CUBIC)
        for s in (8, 16, 64)
    ]
    return np.clip(128 + 35 * sum(layers), 0, 255).astype(np.uint8)


def rotated_pair(angular: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Small images (now, before) of a far-away scene, seen by a camera that turned with ω, rad/s, in between.

    The whole texture is the view before; a pure rotation moves it by the homography K·Rᵀ·K⁻¹.
    """
    wide = camera(520.0, width=640, height=448, cx=319.5, cy=223.5)
    before = texture(seed)
    rotation = cv2.Rodrigues(angular * SECONDS)[0]
    homography = wide.matrix @ rotation.T @ np.linalg.inv(wide.matrix)
    now = cv2.warpPerspective(before, homography, (640, 448), borderMode=cv2.BORDER_REFLECT)
    return tuple(
        small_image(cv2.resize(image, (320, 224), interpolation=cv2.INTER_AREA), GRID) for image in (now, before)
    )


angular_velocity = st.tuples(*[st.floats(-2.5, 2.5)] * 3).map(np.array).filter(lambda w: np.linalg.norm(w) > 0.4)


@settings(max_examples=40, deadline=None)
@given(angular=angular_velocity, seed=st.integers(0, 1000))
def test_the_true_sign_is_recognised_against_the_frame_before_and_after(angular, seed):
    now, before = rotated_pair(angular, seed)
    velocity = np.r_[0, 0, 0, angular]
    assert photometric_log_odds(GRID, velocity, None, now, before, SECONDS) > 1
    assert photometric_log_odds(GRID, velocity, None, before, now, -SECONDS) > 1


@settings(max_examples=20, deadline=None)
@given(angular=angular_velocity, gain=st.floats(0.5, 1.5), offset=st.floats(-20, 60))
def test_the_test_is_odd_in_velocity_and_blind_to_gain_and_offset(angular, gain, offset):
    now, before = rotated_pair(angular, 3)
    velocity = np.r_[0, 0, 0, angular]
    plain = photometric_log_odds(GRID, velocity, None, now, before, SECONDS)
    assert photometric_log_odds(GRID, -velocity, None, now, before, SECONDS) == pytest.approx(-plain)
    brighter = (gain * before + offset).astype(np.float32)
    brighter = np.maximum(brighter, 0)
    assert photometric_log_odds(GRID, velocity, None, now, brighter, SECONDS) == pytest.approx(plain, abs=0.5)


@pytest.mark.parametrize("lens", ["", "plumb_bob"])
def test_displaced_pixels_follow_static_points(lens):
    """Against projecting 3-D points, for small motions, with translation and depth."""
    distorted = camera(fy=340.0, distortion_model=lens, distortion=(-0.25, 0.05, 0.003, -0.002) if lens else ())
    grid, rng = Grid.of(distorted, 4), np.random.default_rng(0)
    depth = rough_depth(rng)
    velocity = np.array([0.4, -0.3, 0.5, 0.6, -0.8, 0.5])
    pixels = grid.displaced(velocity, 1 / depth, SECONDS)
    points = np.vstack([grid.rays, np.ones(grid.rays.shape[1])]) * depth.ravel()
    earlier = cv2.Rodrigues(velocity[3:] * SECONDS)[0] @ points + velocity[:3, None] * SECONDS
    expected = distorted.project((earlier[:2] / earlier[2]).T).T.reshape(2, 56, 80)
    np.testing.assert_allclose(pixels, expected, atol=0.3 if lens else 0.02)


@pytest.mark.parametrize("angular", [(0, 0.6, 0), (0.6, 0, 0), (-0.4, 0.4, 1.0)])
def test_two_images_that_are_the_same_speak_for_neither_sign(angular):
    now, _ = rotated_pair(np.zeros(3), 5)
    assert abs(photometric_log_odds(GRID, np.r_[0, 0, 0, angular], None, now, now, SECONDS)) < 0.5


def test_images_that_overlap_by_little_do_not_tell():
    now, before = rotated_pair(np.array([0.0, 1.0, 0.0]), 0)
    told = []
    for rate in np.linspace(1, 40, 40):
        velocity = np.array([0, 0, 0, 0, rate, 0])
        overlaps = []
        for seconds in (SECONDS, -SECONDS):
            x, y = GRID.displaced(velocity, None, seconds)
            overlaps.append(((x >= 0) & (x <= 319) & (y >= 0) & (y <= 223)).mean())
        odds = photometric_log_odds(GRID, velocity, None, now, before, SECONDS)
        told.append((min(overlaps), odds != 0))
    assert all(tells for overlap, tells in told if overlap > SIGN.least_overlap + 0.03)
    assert not any(tells for overlap, tells in told if overlap < SIGN.least_overlap - 0.03)
    assert 5 < sum(tells for _, tells in told) < 35


@pytest.mark.parametrize("case", ["lens cap", "half a second", "nothing in common"])
def test_images_that_do_not_tell_give_even_odds(case):
    now, before = rotated_pair(np.array([0.0, 1.0, 0.0]), 0)
    velocity, seconds = np.array([0, 0, 0, 0, 1.0, 0]), SECONDS
    if case == "lens cap":
        now = np.zeros_like(now)
    elif case == "half a second":
        seconds = 0.6
    else:
        velocity = velocity * 40
    assert photometric_log_odds(GRID, velocity, None, now, before, seconds) == 0


def test_the_last_velocity_speaks_for_its_own_sign_and_less_so_with_time():
    velocity = np.array([0, 0, 0, 0.5, 3.0, 0.2])
    covariance = 0.01 * np.eye(6)
    soon = continuity_log_odds(velocity, covariance, velocity, 1 / 30)
    late = continuity_log_odds(velocity, covariance, velocity, 0.2)
    assert soon > late > 0
    assert continuity_log_odds(-velocity, covariance, velocity, 1 / 30) == pytest.approx(-soon)
    assert continuity_log_odds(velocity, covariance, velocity, 2.0) == 0


def test_the_last_velocity_errs_like_this_one_and_may_have_changed_since():
    """2·xᵀ·(C + D + A)⁻¹·y with D = C and what 60 rad/s² do in 1/30 s."""
    velocity = np.array([0, 0, 0, 0, 3.0, 0])
    log_odds = continuity_log_odds(velocity, np.eye(6), velocity, 1 / 30)
    assert log_odds == pytest.approx(2 * 3.0**2 / (1 + 1 + 2.0**2))


@given(angular=angular_velocity, noise=st.tuples(*[st.floats(-0.2, 0.2)] * 3).map(np.array))
def test_another_sensors_rate_speaks_for_its_own_sign(angular, noise):
    blur = Velocity(np.zeros(3), angular, {Term.DATA: 0.01 * np.eye(6)})
    for_it = rate_log_odds(blur, angular + noise, 0.2)
    assert for_it > 0
    assert rate_log_odds(blur, -angular - noise, 0.2) == pytest.approx(-for_it)
    assert rate_log_odds(blur.reversed(), angular + noise, 0.2) == pytest.approx(-for_it)


def test_another_sensors_rate_says_less_when_it_is_coarse_and_nothing_about_an_axis_at_right_angles():
    blur = Velocity(np.zeros(3), np.array([0.0, 0.5, 0.0]), {Term.DATA: 0.01 * np.eye(6)})
    assert rate_log_odds(blur, blur.angular, 0.3) > rate_log_odds(blur, blur.angular, 1.0) > 0
    assert rate_log_odds(blur, np.array([1.0, 0.0, 0.0]), 0.3) == 0
    assert rate_log_odds(blur, blur.angular, 0.3) == pytest.approx(2 * 0.5**2 / (0.01 + 0.3**2))


def test_another_sensors_rate_has_a_limited_vote():
    """Pictures that are clear can outvote a sensor that is stuck or mounted otherwise than was said."""
    blur = Velocity(np.zeros(3), np.array([0.0, 3.0, 0.0]), {Term.DATA: 1e-4 * np.eye(6)})
    assert rate_log_odds(blur, 100 * blur.angular, 0.01) == pytest.approx(7.0)


def velocity(*angular: float, std: float = 0.2, length_log_std: float = 0.0) -> Velocity:
    vector = np.r_[0, 0, 0, angular]
    terms = {Term.DATA: std**2 * np.eye(6), Term.SHARED_LENGTH: length_log_std**2 * np.outer(vector, vector)}
    return Velocity(vector[:3], vector[3:], terms)


def test_alignment_tells_the_sign_of_the_blur_however_uncertain_its_length():
    aligned = velocity(0.1, 1.4, 0, std=0.05)
    blur = velocity(0, 1.0, 0.1, length_log_std=0.8)
    assert alignment_log_odds(blur, aligned, 1 / 60) > 3
    assert alignment_log_odds(blur.reversed(), aligned, 1 / 60) < -3
    assert abs(alignment_log_odds(velocity(0.05, 0, 0), aligned, 1 / 60)) < 1
    sure, later = velocity(0, 1.0, 0.1), 1 / 20  # the log-odds are below their limit
    assert alignment_log_odds(blur, aligned, later) == pytest.approx(alignment_log_odds(sure, aligned, later))


def test_blur_contradicts_another_axis_and_standstill_but_not_another_length_or_sign():
    blur = velocity(0, 6.0, 0)
    for scale in (0.4, 1.0, 3.0, -1.0, -2.0):
        assert not contradicts(blur, velocity(0.2, 6.0 * scale, 0), 1 / 60)
    assert contradicts(blur, velocity(6.0, 1.5, 0), 1 / 60)
    assert contradicts(velocity(0, 24.0, 0), velocity(0, 0, 0), 1 / 60)
    assert not contradicts(velocity(0, 0.5, 0), velocity(0, 0, 0), 1 / 60)


def measured(angular, std: float) -> Velocity:
    return Velocity(np.zeros(3), np.array(angular, float), {Term.DATA: np.diag(np.repeat([0.3, std], 3) ** 2)})


def test_a_blur_and_an_alignment_that_agree_add_nothing_to_each_other():
    nothing = np.zeros((6, 6))
    for blur in ([0, 2.1, 0], [0, -2.1, 0]):  # whatever its sign
        agreeing = disagreement(measured(blur, 0.2), measured([0, 2.0, 0], 0.05), nothing)
        assert not contradiction(*agreeing).any()
    apart = measured([0, 3.0, 0], 0.2), measured([0, 2.0, 0], 0.05)
    assert contradiction(*disagreement(*apart, nothing))[4, 4] > 0.8
    assert not contradiction(*disagreement(*apart, np.eye(6))).any(), "the camera may have accelerated"


def test_a_part_of_the_view_that_goes_with_the_camera_leaves_both_unsure():
    """It holds the alignment back: at rest by the images, 2 rad/s by the blur. Neither is surely right."""
    blur, aligned, true = measured([0, 2.0, 0], 0.2), measured([0, 0.05, 0], 0.05), np.array([0.2, 2.1, -0.1])
    added = contradiction(*disagreement(blur, aligned, np.zeros((6, 6))))
    for found in (blur, aligned):
        error = found.angular - true
        assert error @ np.linalg.solve((found.covariance + added)[3:, 3:], error) < 3


@pytest.mark.parametrize(("quantiles", "share"), [(0.1, 0.0), (1.0, 0.0), (2.0, 0.5), (1e6, 1.0)])
def test_a_difference_beyond_what_chance_explains_is_an_error_of_either_about_every_axis(quantiles, share):
    difference = np.array([3.0, 0.0, 0.0, 0.0, 6.0, 0.0])
    every_axis = np.diag([3.0, 3.0, 3.0, 12.0, 12.0, 12.0])  # a third of |d|² of v, and of ω
    expected = share * (np.outer(difference, difference) + every_axis)
    np.testing.assert_allclose(contradiction(difference, quantiles * SIGN.disagreement), expected, rtol=1e-5)
