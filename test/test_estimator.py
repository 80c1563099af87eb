"""Frames in, velocities out: order of steps, direction modes, history, and frames that cannot be used."""

import cv2
import numpy as np
import pytest
from fields import COLUMNS, ROWS, STRIDE, camera, field_of, matrix_of
from test_direction import texture

from image_as_imu_ros.camera import Camera
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimator import Frame, MotionEstimator, Options, mid_exposure

EXPOSURE = 0.015
PERIOD = 33_000_000  # ns
CAMERA = camera()
FAR = np.full((ROWS, COLUMNS), 1e3)


class KnownMotion:
    """Stands in for an engine: sees exactly the axial field of the velocity that it is told."""

    name = "known motion"
    info = ModelInfo("known", "test", width=320, height=224, depth_log_std=0.0, flow_log_std=0.0)

    def __init__(self) -> None:
        self.velocity = np.zeros(6)

    def infer(self, image):
        assert image.shape == (224, 320)
        assert image.dtype == np.uint8
        return field_of(matrix_of(CAMERA), self.velocity, EXPOSURE, FAR, 0.1)

    def close(self):
        pass


@pytest.fixture
def engine():
    return KnownMotion()


def panning_frames(count: int, rate: float = 1.2, seed: int = 0) -> list[Frame]:
    """A far-away scene seen while panning with ω_y = rate, rad/s."""
    scene, middle = texture(seed), np.array([[1, 0, 160], [0, 1, 112], [0, 0, 1]])
    frames = []
    for i in range(count):
        turn = cv2.Rodrigues(np.array([0, rate * i * PERIOD * 1e-9, 0]))[0]
        to_scene = middle @ CAMERA.matrix @ turn @ np.linalg.inv(CAMERA.matrix)
        image = cv2.warpPerspective(scene, to_scene, (320, 224), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        frames.append(Frame(image, (i + 1) * PERIOD, CAMERA, EXPOSURE))
    return frames


@pytest.mark.parametrize("rate", [1.2, -1.2])
def test_a_pan_is_recovered_with_its_sign_from_the_second_frame_on(engine, rate):
    engine.velocity = np.array([0, 0, 0, 0, rate, 0])
    estimator = MotionEstimator(engine)
    estimates = [estimator.update(frame) for frame in panning_frames(4, rate)]
    assert not estimates[0].resolved_direction
    assert estimates[0].ambiguous
    for estimate in estimates[1:]:
        assert estimate.resolved_direction
        np.testing.assert_allclose(estimate.velocity.angular, [0, rate, 0], atol=1e-2)
        assert (np.linalg.eigvalsh(estimate.velocity.covariance) > 0).all()


def test_centred_direction_answers_one_frame_later_and_knows_the_first_frame_too(engine):
    engine.velocity = np.array([0, 0, 0, 0, -1.2, 0])
    estimator = MotionEstimator(engine, Options(direction="centered"))
    frames = panning_frames(3, -1.2)
    answers = [estimator.update(frame) for frame in frames] + [estimator.flush()]
    assert answers[0] is None
    assert [answer.frame_stamp for answer in answers[1:]] == [frame.stamp for frame in frames]
    for answer in answers[1:]:
        assert answer.resolved_direction
        np.testing.assert_allclose(answer.velocity.angular, [0, -1.2, 0], atol=1e-2)
    assert estimator.flush() is None


def test_axial_direction_is_never_resolved_and_says_so_in_its_covariance(engine):
    engine.velocity = np.array([0, 0, 0, 0, -1.2, 0])
    estimator = MotionEstimator(engine, Options(direction="axial"))
    for frame in panning_frames(3, -1.2):
        estimate = estimator.update(frame)
        assert not estimate.resolved_direction
        assert estimate.velocity.angular[1] == pytest.approx(1.2, abs=1e-2)
        assert estimate.velocity.covariance[4, 4] > 1.2**2


def test_a_still_camera_is_not_ambiguous(engine):
    estimate = MotionEstimator(engine).update(panning_frames(1)[0])
    assert estimate.mean_flow == pytest.approx(0, abs=1e-9)
    assert not estimate.ambiguous


def test_time_that_jumps_back_starts_anew_and_a_repeated_stamp_is_refused(engine):
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    estimator = MotionEstimator(engine)
    first, second, third = panning_frames(3)
    estimator.update(second)
    assert estimator.update(third).resolved_direction
    with pytest.raises(InputError, match="repeats"):
        estimator.update(third)
    assert not estimator.update(first).resolved_direction, "nothing of the future may decide"
    assert estimator.update(second).resolved_direction


def test_a_frame_that_cannot_be_used_loses_nothing(engine):
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    estimator = MotionEstimator(engine)
    first, second, third = panning_frames(3)
    estimator.update(first)
    with pytest.raises(InputError, match="another"):
        estimator.update(Frame(second.image, second.stamp, CAMERA, EXPOSURE, depth=np.ones((10, 10), np.float32)))
    with pytest.raises(InputError, match="camera_info"):
        estimator.update(Frame(second.image[::2], second.stamp, CAMERA, EXPOSURE))
    assert estimator.update(third).resolved_direction


def test_a_new_camera_is_taken_over(engine):
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    estimator = MotionEstimator(engine)
    frame = panning_frames(1)[0]
    estimator.update(frame)
    narrow = Camera(320, 224, 520, 520, 159.5, 111.5)
    estimate = estimator.update(Frame(frame.image, frame.stamp + PERIOD, narrow, EXPOSURE))
    assert np.abs(estimate.velocity.angular[1]) == pytest.approx(0.6, rel=0.2), "twice the focal length, half the turn"


def test_velocity_scales_with_exposure(engine):
    engine.velocity = np.array([0, 0, 0, 0, 1.0, 0])
    frame = panning_frames(1)[0]
    estimate = MotionEstimator(engine).update(Frame(frame.image, frame.stamp, CAMERA, EXPOSURE / 2))
    assert np.abs(estimate.velocity.angular[1]) == pytest.approx(2.0, abs=0.02)


def test_the_time_of_every_step_is_reported(engine):
    seconds = MotionEstimator(engine).update(panning_frames(1)[0]).seconds
    assert set(seconds) == {"prepare", "network", "solve", "align", "direction"}
    assert all(value > 0 for value in seconds.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exposure": 0.0}, "exposure time is 0.0"),
        ({"exposure": -0.01}, "exposure time is -0.01"),
        ({"exposure": float("nan")}, "exposure time is nan"),
        ({"exposure": 15.0}, "check the unit"),
        ({"stamp": 0}, "stamp is 0"),
        ({"image": np.zeros((224, 320), np.float32)}, "float32"),
        ({"image": np.zeros((224, 320, 4), np.uint8)}, r"\(224, 320, 4\)"),
    ],
)
def test_an_impossible_frame_is_refused_with_the_value(changes, message):
    good = {"image": np.zeros((224, 320), np.uint8), "stamp": 1, "camera": CAMERA, "exposure": EXPOSURE}
    with pytest.raises(InputError, match=message):
        Frame(**(good | changes))


@pytest.mark.parametrize(
    "options", [{"motion_model": "affine"}, {"direction": "up"}, {"linear_prior_std": 0}, {"linear_prior_std": np.nan}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        Options(**options)


@pytest.mark.parametrize(("reference", "shift"), [("start", 22_000_000), ("middle", 0), ("end", -22_000_000)])
def test_a_drivers_stamp_becomes_mid_exposure_of_the_middle_row(reference, shift):
    stamp = 1_700_000_000_123_456_789
    assert mid_exposure(stamp, 0.020, reference, readout_time=0.024) == stamp + shift
    with pytest.raises(InputError, match="stamp_reference"):
        mid_exposure(stamp, 0.020, "begin")


def test_the_grid_of_the_stand_in_is_the_models():
    assert (KnownMotion.info.height // STRIDE, KnownMotion.info.width // STRIDE) == (ROWS, COLUMNS)
