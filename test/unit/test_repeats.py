"""A repeated image is refused and loses nothing; a camera at rest is no repeat."""

from dataclasses import replace

import numpy as np
import pytest
from test_estimator import PERIOD, KnownMotion, noisy, panning_frames

from image_as_imu_ros import EstimatorConfig, MotionEstimator
from image_as_imu_ros.estimation.repeats import RepeatedImageError, repeats, some_pixels


@pytest.mark.parametrize("measurement", ["auto", "aligned"])
def test_a_repeated_image_is_refused_and_the_next_one_is_aligned_with_the_older_frame(measurement):
    engine = KnownMotion()
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    estimator = MotionEstimator(engine, EstimatorConfig(measurement=measurement))
    first, repeated, third = panning_frames(3)
    estimator.update(first)
    with pytest.raises(RepeatedImageError, match="equals the one"):
        estimator.update(replace(repeated, image=first.image))
    estimate = estimator.update(third)
    assert estimate.measurement == "aligned"
    assert estimate.dt == pytest.approx(2 * PERIOD * 1e-9)
    assert estimate.stamp == third.stamp - PERIOD
    np.testing.assert_allclose(estimate.velocity.angular, [0, 1.2, 0], atol=0.02)


def test_repeats_teach_nothing_about_the_exposure():
    engine = KnownMotion()
    engine.velocity = np.array([0, 0, 0, 0, 4.0, 0])

    def measured(repeated: bool):
        estimator = MotionEstimator(engine, EstimatorConfig(estimate_exposure=True))
        for frame in panning_frames(8, 4.0):
            estimate = estimator.update(frame)
            if repeated:
                with pytest.raises(RepeatedImageError):
                    estimator.update(replace(frame, stamp=frame.stamp + PERIOD // 2))
        return estimate.measured_exposure

    assert measured(True).seconds == pytest.approx(measured(False).seconds, rel=0.05)


def test_a_camera_at_rest_is_told_from_a_frozen_stream_by_its_noise():
    image = panning_frames(1)[0].image
    assert repeats(some_pixels(image), some_pixels(image))
    assert not repeats(some_pixels(image), some_pixels(noisy(image, std=0.3)))
    barely_moved = image.copy()
    barely_moved[:, 1::2] += 1  # half a level
    assert not repeats(some_pixels(image), some_pixels(barely_moved))
    one_block = image.copy()
    one_block[:8, :8] += 1  # as another encoding might
    assert repeats(some_pixels(image), some_pixels(one_block))


def test_images_of_another_size_are_new():
    assert not repeats(some_pixels(np.zeros((480, 640), np.uint8)), some_pixels(np.zeros((240, 320, 3), np.uint8)))
