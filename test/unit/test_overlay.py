"""The overlay: right size and colours for every image, streaks where they belong."""

import numpy as np
import pytest

from image_as_imu_ros.engine import ModelInfo
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame, Shutter
from image_as_imu_ros.evaluation.overlay import draw_overlay
from image_as_imu_ros.geometry.camera import Camera

AMBER = np.array([30, 170, 255])


class Streaks:
    """Horizontal streaks of 12 px in all cells, of certain length and certain direction or not."""

    name = "streaks"

    def __init__(self, sigma: float) -> None:
        self.info = ModelInfo("streaks", "1", width=320, height=224)
        self.sigma = sigma

    def infer(self, image):
        q = np.stack([np.full((56, 80), 12.0), np.zeros((56, 80))])
        cells = np.ones((56, 80))
        return NetworkOutput(q, np.stack([0.1 * cells, self.sigma * cells]), 3 * cells, 0.1 * cells, 4)

    def close(self):
        pass


def overlay(image: np.ndarray, sigma: float = 0.1) -> np.ndarray:
    camera = Camera(image.shape[1], image.shape[0], image.shape[1], image.shape[1], image.shape[1] / 2, 50.0)
    estimator = MotionEstimator(Streaks(sigma), EstimatorConfig(sign_resolution="axial"))
    return draw_overlay(image, estimator.update(Frame(image, 1, camera, Shutter(0.01))))


def amber_pixels(picture: np.ndarray) -> np.ndarray:
    return (np.abs(picture.astype(int) - AMBER).max(axis=2) < 60).nonzero()


@pytest.mark.parametrize("shape", [(64, 64), (120, 160), (480, 640), (480, 640, 3), (1080, 1920, 3), (300, 100)])
def test_any_size_gray_or_colour(shape):
    picture = overlay(np.full(shape, 100, np.uint8))
    assert picture.shape == (*shape[:2], 3)
    assert picture.dtype == np.uint8


def test_colour_images_keep_their_colours():
    red = np.zeros((480, 640, 3), np.uint8)
    red[..., 0] = 200
    blue, green, red = np.median(overlay(red).reshape(-1, 3), axis=0)
    assert (blue, green) == (0, 0)
    assert red > 100


def test_the_given_image_is_left_alone():
    image = np.full((120, 160, 3), 80, np.uint8)
    overlay(image)
    assert (image == 80).all()


def test_streaks_have_their_true_length_and_lie_in_the_view():
    """12 px at 320 px width are 36 px at 960; the view is the middle 960 × 672 of 1200 × 672."""
    picture = overlay(np.zeros((672, 1200), np.uint8))[:600]
    rows, columns = amber_pixels(picture)
    assert columns.min() >= 120 - 30
    assert columns.max() <= 1080 + 30
    assert columns.min() <= 120 + 60
    assert columns.max() >= 1080 - 60
    fullest_row = np.sort(columns[rows == np.bincount(rows).argmax()])
    streaks = np.split(fullest_row, np.flatnonzero(np.diff(fullest_row) > 1) + 1)
    assert np.median([streak[-1] - streak[0] for streak in streaks]) == pytest.approx(36, abs=6)


def test_uncertain_streaks_fade():
    image = np.zeros((480, 640), np.uint8)
    assert len(amber_pixels(overlay(image, sigma=50.0))[0]) < 0.1 * len(amber_pixels(overlay(image))[0])
