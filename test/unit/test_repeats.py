"""A repeated image is refused and loses nothing; a camera at rest is no repeat."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
from test_estimator import PERIOD, KnownMotion, noisy, panning_frames

from image_as_imu_ros import EstimatorConfig, MotionEstimator
from image_as_imu_ros.estimation.repeats import Fingerprint, RepeatedImageError, RepeatWatch
from image_as_imu_ros.recordings.recording import Recording


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


def test_equal_images_repeat_and_a_little_noise_or_motion_makes_them_new():
    image = panning_frames(1)[0].image
    assert repeats(image, image)
    assert not repeats(noisy(image, std=0.3), image)
    barely_moved = image.copy()
    barely_moved[:, 1::2] += 1  # half a level
    assert not repeats(barely_moved, image)
    one_block = image.copy()
    one_block[:8, :8] += 1  # as another encoding might
    assert repeats(one_block, image)


def test_images_of_another_size_are_new():
    small, large = np.zeros((240, 320, 3), np.uint8), np.zeros((480, 640), np.uint8)
    assert not repeats(large, small, small)
    assert not repeats(large, large + 9, small)
    assert repeats(small[:20, :20], small[:20, :20])  # smaller than a patch


def repeats(image: np.ndarray, before: np.ndarray, other: np.ndarray | None = None) -> bool:
    return Fingerprint.of(image).repeats(Fingerprint.of(before), None if other is None else Fingerprint.of(other))


def encoded(image: np.ndarray, quality: int | None) -> np.ndarray:
    """What is left of an image after JPEG of a quality; None leaves it as it is."""
    if quality is None:
        return image
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def refused(images: Iterable[np.ndarray]) -> list[int]:
    """Numbers of the images that are taken for repeated ones."""
    watch, found = RepeatWatch(), []
    for number, image in enumerate(images):
        try:
            watch.keep(watch.check(image, number))
        except RepeatedImageError:
            found.append(number)
    return found


def images_of(path, colour: str = "gray") -> Iterator[np.ndarray]:
    with Recording(path) as recording:
        topic = recording.image_topic()
        for frame in recording.frames(topic, recording.camera_info_topic(topic)):
            yield frame.decode_image(colour)


@pytest.fixture(scope="module")
def real(desk_rpy_3s) -> list[np.ndarray]:
    return list(images_of(desk_rpy_3s))


@pytest.mark.parametrize("qualities", [(95, 93), (95, 90), (90, 80), (None, 80), (80, None), (60, 50)])
def test_15_hz_as_30_in_two_encodings(real, qualities):
    """All but the first one, which has no third image to be told by."""
    doubled = [encoded(image, quality) for image in real[:30] for quality in qualities]
    assert refused(doubled) == list(range(3, 60, 2))


def test_15_hz_as_30_in_colour(desk_rpy_3s):
    images = [image for image, _ in zip(images_of(desk_rpy_3s, "rgb"), range(10), strict=False)]
    assert refused(encoded(image, quality) for image in images for quality in (95, 90)) == list(range(3, 20, 2))


@pytest.mark.parametrize("qualities", [(None,), (90,), (60,), (95, 60)])
def test_no_frame_of_a_moving_camera_is_a_repeat_however_it_is_encoded(real, qualities):
    assert not refused(encoded(image, qualities[i % len(qualities)]) for i, image in enumerate(real))


@pytest.mark.parametrize(
    ("name", "repeated"), [("kitchen_a", 29), ("walk_a", 0), ("slider_hdr", 0), ("phone_drive", 0)]
)
def test_repeats_of_other_recordings(recorded, name, repeated):
    """kitchen_a holds 29 exact repeats; the sensor of slider_hdr adds one pattern to every image."""
    assert len(refused(images_of(recorded(name)))) == repeated


@pytest.mark.parametrize("quality", [None, 90, 50])
@pytest.mark.parametrize(("std", "pattern_std"), [(0.3, 0.0), (1.5, 0.0), (0.3, 2.0), (1.5, 2.0)])
def test_a_camera_at_rest_is_told_from_a_frozen_stream_by_its_noise(real, quality, std, pattern_std):
    """Also where there is little of it, most of it is lost to compression, or a pattern is the same in every image."""
    pattern = np.random.default_rng(99).normal(0, pattern_std, real[0].shape)
    scene = cv2.GaussianBlur(real[0], (0, 0), 1.0) + pattern
    assert not refused(encoded(noisy(scene, seed=i, std=std), quality) for i in range(8))


def test_a_camera_that_creeps_is_no_repeat(real):
    """By a tenth of a pixel per frame, there and back."""
    places = [0.0, 0.1, 0.2, 0.3, 0.2, 0.1, 0.0, 0.1]
    moved = [cv2.warpAffine(real[0], np.array([[1, 0, x], [0, 1, x / 2]]), (640, 480)) for x in places]
    assert not refused(noisy(image, seed=i, std=0.3) for i, image in enumerate(moved))


@pytest.mark.parametrize("step", [0.2, 0.4])
def test_a_camera_that_brakes_is_no_repeat(real, step):
    """The two last images share a scene that the one before them does not, but one is the other moved."""
    places = [0.0, 9.0, 18.0, 18.0 + step]
    moved = [cv2.warpAffine(real[0], np.array([[1, 0, x], [0, 1, x / 2]]), (640, 480)) for x in places]
    assert not refused(noisy(image, seed=i, std=0.3) for i, image in enumerate(moved))


@pytest.mark.parametrize(("size", "repeated"), [(60, False), (400, True)])
def test_where_hardly_anything_shows_details_two_encodings_are_not_told_from_two_images(real, size, repeated):
    images = [np.full_like(real[0], 128) for _ in range(2)]
    for image, scene in zip(images, (real[0], real[10]), strict=True):
        image[40 : 40 + size, 100 : 100 + size] = scene[40 : 40 + size, 100 : 100 + size]
    one, other = images
    assert repeats(encoded(cv2.add(one, 1), 90), encoded(one, 95), other) == repeated  # by a level, as encodings may


def test_a_camera_that_stops_at_once_loses_one_image_at_most(real):
    """Without noise to tell by, its first two images at rest look like one image that was encoded twice."""
    stopped = [*real[:4], *(encoded(real[4], quality) for quality in (95, 93, 90, 94, 92, 91, 89, 88))]
    assert refused(stopped) == [5]


def torn(now: np.ndarray, before: np.ndarray, rows: slice) -> np.ndarray:
    image = now.copy()
    image[rows] = before[rows]
    return image


@pytest.mark.parametrize("rows", [slice(0, 120), slice(300, None), slice(200, 330)])
def test_an_image_that_repeats_in_part_is_torn(real, rows):
    images = list(real[:8])
    images[4] = torn(real[4], real[3], rows)
    with pytest.raises(RepeatedImageError, match=r"% of the image equal the one .* torn"):
        watched(images)
    assert refused(images) == [4]


def test_when_the_rest_of_a_torn_image_comes_a_frame_later_the_whole_one_is_new(real):
    images = list(real[:8])
    images[4] = torn(real[4], real[3], slice(200, None))
    images[5] = torn(real[5], real[4], slice(0, 200))  # its upper part is that of the torn one
    assert refused(images) == [4]


@pytest.mark.parametrize("level", [0, 128, 255])
def test_bars_overlays_and_saturated_parts_are_not_torn(real, level):
    images = [image.copy() for image in real[:8]]
    for image in images:
        image[:120] = level
        image[400:] = real[0][400:]
    assert not refused(images)


def test_where_the_view_saturates_it_is_not_torn(real):
    images = [image.copy() for image in real[:8]]
    for image in images[3:]:
        image[:, :300] = 255  # a window comes into view
    assert not refused(images)


def test_a_part_that_freezes_costs_one_image_not_all_that_follow(real):
    """As where a picture is laid over the view."""
    images = [image.copy() for image in real[:10]]
    for image in images[4:]:
        image[:120] = real[3][:120]
    assert refused(images) == [4]


def watched(images: Iterable[np.ndarray]) -> None:
    watch = RepeatWatch()
    for number, image in enumerate(images):
        watch.keep(watch.check(image, (number + 1) * PERIOD))
