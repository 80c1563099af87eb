"""Where a translation explains the tracks as well as a rotation, neither is sure."""

import numpy as np
import pytest
from test_two_view import SECONDS, scene

from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.slides import slide_covariance
from image_as_imu_ros.estimation.alignment.tracking import Tracks
from image_as_imu_ros.estimation.config import STRUCTURE
from image_as_imu_ros.geometry.camera import Camera

RATE = np.array([0.0, 0.0, 0.0, 0.0, 1.2, 0.0])  # rad/s


def rotated(focal: float) -> tuple[Tracks, np.ndarray]:
    """Tracks of a camera that rotated by RATE, and the depths of a map."""
    random, wide = np.random.default_rng(0), Camera(320, 224, focal, focal, 159.5, 111.5)
    pixels = random.uniform((5, 5), (315, 219), (150, 2))
    rays = np.column_stack([wide.rays(pixels), np.ones(len(pixels))]) @ Poses.of(RATE[None] * SECONDS).rotation[0].T
    before = wide.project(rays[:, :2] / rays[:, 2:]) + random.normal(0, 0.05, pixels.shape)
    return Tracks(wide, pixels, before), random.uniform(1.5, 2.5, len(pixels))


def test_a_slide_that_was_taken_for_a_rotation_is_within_the_covariance():
    """Past a wall: the map may bend as it likes, and a fit that says "rotation" may be wrong by all of it."""
    slide = np.array([0.8, 0.0, 0.0, 0.0, 0.0, 0.0])
    tracks, depth = scene(slide, relief=0.05, count=200, noise=0.05)
    rotation = RATE / 3 * SECONDS
    covariance = slide_covariance(tracks, 1 / depth, rotation) / SECONDS**2
    p = STRUCTURE.slide_probability
    assert np.sqrt(covariance[4, 4]) == pytest.approx(0.4 * np.sqrt(p * (1 - p)), rel=0.1)
    assert np.sqrt(covariance[0, 0]) == pytest.approx(0.8 * np.sqrt(p * (1 - p)), rel=0.1)
    assert covariance[4, 0] < 0, "too little translation to the right is too much rotation to the right"


@pytest.mark.parametrize(("focal", "sure"), [(160.0, True), (800.0, False)])
def test_only_a_wide_view_tells_a_rotation_from_a_slide(focal, sure):
    tracks, depth = rotated(focal)
    added = slide_covariance(tracks, 1 / depth, RATE * SECONDS) / SECONDS**2
    assert (np.sqrt(added[4, 4]) < 0.2 * RATE[4]) == sure
    assert (np.sqrt(added[4, 4]) > 0.4 * RATE[4]) == (not sure)


def test_a_slide_that_was_found_adds_little_to_itself():
    slide = np.array([0.8, 0.1, 0.2, 0.0, 0.0, 0.0])
    tracks, depth = scene(slide, noise=0.02)
    added = slide_covariance(tracks, 1 / depth, slide * SECONDS) / SECONDS**2
    assert np.sqrt(np.diag(added)).max() < 0.02


def test_wrong_tracks_do_not_hide_a_slide():
    slide = np.array([0.8, 0.0, 0.0, 0.0, 0.0, 0.0])
    clean, depth = scene(slide, relief=0.05, noise=0.05)
    some_wrong, depth_of_some = scene(slide, relief=0.05, noise=0.05, outliers=0.2)
    motion = RATE / 3 * SECONDS
    expected = slide_covariance(clean, 1 / depth, motion)
    found = slide_covariance(some_wrong, 1 / depth_of_some, motion)
    np.testing.assert_allclose(np.sqrt(np.diag(found))[[0, 4]], np.sqrt(np.diag(expected))[[0, 4]], rtol=0.2)
