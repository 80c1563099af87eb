"""Corners that are tracked give rotations to start from where no blur does."""

import numpy as np
import pytest
from fields import camera
from test_alignment import ALIGNER, SECONDS, aligned, image_pair, rotation
from test_sign import texture

from image_as_imu_ros import EstimatorConfig, Frame, MotionEstimator, Shutter
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.estimation.alignment import tracked_rotations
from image_as_imu_ros.estimation.alignment.tracking import track

CAMERA = ALIGNER.levels[0].camera
FAST = [(0.4, 3.0, -0.5), (-2.0, 1.0, 2.5), (0.0, -5.0, 0.0)]


def starts(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    return tracked_rotations(track(CAMERA, ALIGNER.pyramid(now)[0], ALIGNER.pyramid(before)[0]), SECONDS)


@pytest.mark.parametrize("angular", FAST)
def test_a_fast_rotation_without_any_blur_is_found(angular):
    now, before = image_pair(rotation(*angular))
    np.testing.assert_allclose(starts(now, before)[0], rotation(*angular), atol=0.3)
    assert aligned(now, before, rotation(0.01, 0, 0)).rejection is not None, "along the blur it is not"


def test_a_thing_that_moves_on_its_own_gets_a_rotation_of_its_own():
    now, before = image_pair(rotation(0, 2.0, 0))
    other = image_pair(rotation(0, -2.0, 0), seed=3)
    now[:, :120], before[:, :120] = other[0][:, :120], other[1][:, :120]
    found = starts(now, before)
    np.testing.assert_allclose(found[0], rotation(0, 2.0, 0), atol=0.3)
    np.testing.assert_allclose(found[1], rotation(0, -2.0, 0), atol=0.3)


@pytest.mark.parametrize("now", [np.full((224, 320), 90, np.uint8), texture(8)[:224, :320]])
def test_without_texture_or_without_anything_in_common_there_is_none(now):
    assert len(starts(now, image_pair(rotation(0, 0, 0))[1])) == 0


class Sharp:
    """Stands in for an engine: sees no blur, or as much as it is given, px."""

    name = "sharp"
    info = ModelInfo("sharp", "test", width=320, height=224, flow_log_std=0.0)

    def __init__(self, blur: float) -> None:
        self.blur = blur

    def infer(self, image):
        flow = np.zeros((2, 56, 80))
        flow[1] = self.blur  # a streak at 45°
        return NetworkOutput(flow, np.full_like(flow, 60.0), np.full((56, 80), 2.0), np.full((56, 80), 0.5), 4)

    def close(self):
        pass


@pytest.mark.parametrize(("blur", "found"), [(0.1, True), (14.0, False)])
def test_the_estimator_tracks_where_there_is_little_blur_and_alignment_along_it_fails(blur, found):
    now, before = image_pair(rotation(0.4, 3.0, -0.5))
    estimator = MotionEstimator(Sharp(blur), EstimatorConfig(motion_model="rotation"))
    shutter = Shutter(0.002)
    estimator.update(Frame(before, 1, camera(), shutter))
    estimate = estimator.update(Frame(now, 1 + round(SECONDS * 1e9), camera(), shutter))
    assert estimate is not None
    assert (estimate.measurement == "aligned") == found
    if found:
        np.testing.assert_allclose(estimate.velocity.angular, (0.4, 3.0, -0.5), atol=0.05)


@pytest.mark.parametrize("blur", [0.1, 8.0], ids=["by corners", "by intensities, as the corners are smeared"])
def test_an_alignment_is_corrected_for_the_readout_once(blur):
    """Points that moved down by D rows of 224 were seen D/224 · 20 ms later than their time from frame to frame."""
    now, before = image_pair(rotation(1.0, 0, 0))

    def measured(readout_time: float) -> np.ndarray:
        estimator = MotionEstimator(Sharp(blur), EstimatorConfig())
        for number, image in enumerate((before, now)):
            stamp = 1 + round(number * SECONDS * 1e9)
            estimate = estimator.update(Frame(image, stamp, camera(), Shutter(0.002, readout_time=readout_time)))
        assert estimate.measurement == "aligned"
        return estimate.velocity.angular

    rows = 1.0 * SECONDS * camera().fy
    assert measured(0.02)[0] / measured(0.0)[0] == pytest.approx(1 - 0.02 / SECONDS * rows / 224, rel=0.02)


def exposed(scene: np.ndarray, pattern: np.ndarray, seed: int) -> np.ndarray:
    """An image of a scene, by a sensor with a fixed pattern and a little noise of its own."""
    return np.clip(scene + pattern + np.random.default_rng(seed).normal(0, 0.7, scene.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("contrast", "angular", "measurement"),
    [(0.0, 0.0, "single"), (0.02, 0.5, "single"), (0.3, 0.5, "aligned"), (0.3, 0.0, "aligned"), (1.0, 0.0, "aligned")],
    ids=["all saturated", "the scene hardly shows", "a pale scene moves", "a pale scene at rest", "rest"],
)
def test_a_sensors_own_pattern_is_no_proof_of_rest(contrast, angular, measurement):
    pattern = np.random.default_rng(9).normal(0, 3.0, (224, 320))
    images = [
        exposed(118 + contrast * (image.astype(float) - 118), pattern, seed)
        for seed, image in enumerate(reversed(image_pair(rotation(0, angular, 0))))
    ]
    estimator = MotionEstimator(Sharp(0.1), EstimatorConfig())
    for number, image in enumerate(images):
        frame = Frame(image, 1 + round(number * SECONDS * 1e9), camera(), Shutter(0.002))
        estimate = estimator.update(frame)
    assert estimate.measurement == measurement
    if measurement == "aligned":
        np.testing.assert_allclose(estimate.velocity.angular, (0, angular, 0), atol=0.05)
