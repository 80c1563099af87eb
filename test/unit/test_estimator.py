"""Frames in, velocities out: order of steps, direction modes, history, and frames that cannot be used."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from fields import COLUMNS, ROWS, STRIDE, camera, field_of, matrix_of, rough_depth
from test_blur_spectrum import blurred
from test_sign import texture

from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.blur_solver import solve
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.estimation.constants import ESTIMATOR, SIGN
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.exposure import ExposureEstimator
from image_as_imu_ros.estimation.exposure_check import reason_to_hold_back
from image_as_imu_ros.estimation.frame import Frame, Shutter, StampReference
from image_as_imu_ros.estimation.map_shape import MapShape
from image_as_imu_ros.estimation.rejection import Reason, Rejection
from image_as_imu_ros.estimation.sign import alignment_log_odds
from image_as_imu_ros.estimation.velocity import Term, Velocity
from image_as_imu_ros.geometry.camera import Camera

EXPOSURE = 0.015
PERIOD = 33_000_000  # ns
CAMERA = camera()
FAR = np.full((ROWS, COLUMNS), 1e3)


class KnownMotion:
    """Stands in for an engine: sees exactly the axial field of the velocity that it is told."""

    name = "known motion"
    info = ModelInfo("known", "test", width=320, height=224, flow_log_std=0.0)

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
        rotation = cv2.Rodrigues(np.array([0, rate * i * PERIOD * 1e-9, 0]))[0]
        to_scene = middle @ CAMERA.matrix @ rotation @ np.linalg.inv(CAMERA.matrix)
        image = cv2.warpPerspective(scene, to_scene, (320, 224), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        frames.append(Frame(image, (i + 1) * PERIOD, CAMERA, Shutter(EXPOSURE)))
    return frames


def noisy(image: np.ndarray, seed: int = 0, std: float = 0.5) -> np.ndarray:
    """Take an image of the same scene again, by a sensor with a little noise."""
    return np.clip(np.round(image + np.random.default_rng(seed).normal(0, std, image.shape)), 0, 255).astype(np.uint8)


def test_the_sigma_of_depth_is_an_error_of_the_size_of_v_unless_depth_is_measured(engine):
    """In half of the frame the network is sure of its depth, in the other half it is not: cells err alike."""
    depth, velocity = rough_depth(np.random.default_rng(0)), np.array([0.4, -0.2, 0.3, 0.2, -0.5, 0.4])
    exact = field_of(matrix_of(CAMERA), velocity, EXPOSURE, depth, 0.1)

    def measured(depth_sigma: float, depth_image: np.ndarray | None = None):
        sigmas = np.where(np.arange(COLUMNS) < COLUMNS // 2, 0.0, depth_sigma) * np.ones_like(depth)
        engine.infer = lambda _: replace(exact, depth_sigma=sigmas)
        frame = Frame(np.zeros((224, 320), np.uint8), 1, CAMERA, Shutter(EXPOSURE), depth_image)
        return MotionEstimator(engine, EstimatorConfig(sign_resolution="axial")).update(frame).single

    sure, unsure = measured(0.0), measured(0.5)
    std = 0.5 / np.sqrt(2)
    of_log_normal = np.exp(2 * std**2) - 2 * np.exp(std**2 / 2) + 1
    expected = of_log_normal * np.outer(sure.linear, sure.linear)
    np.testing.assert_allclose(unsure.covariance[:3, :3] - sure.covariance[:3, :3], expected, rtol=5e-3)
    np.testing.assert_allclose(unsure.covariance[3:, 3:], sure.covariance[3:, 3:], rtol=1e-3)
    image = np.kron(depth, np.ones((STRIDE, STRIDE))).astype(np.float32)
    np.testing.assert_allclose(measured(0.5, image).covariance, measured(0.0, image).covariance)


def test_where_frames_have_shown_a_foreign_map_the_depths_scale_of_a_blur_is_less_sure_too(engine):
    velocity = np.array([0.4, -0.2, 0.3, 0.2, -0.5, 0.4])
    depth = rough_depth(np.random.default_rng(0))
    engine.infer = lambda _: field_of(matrix_of(CAMERA), velocity, EXPOSURE, depth, 0.1, depth_sigma=0.3)
    estimator = MotionEstimator(engine, EstimatorConfig(sign_resolution="axial"))
    frame = Frame(np.zeros((224, 320), np.uint8), 1, CAMERA, Shutter(EXPOSURE))
    for map_shape, log_std in ((MapShape(), 0.3), (MapShape(20.0, 5.0), 0.3 * 1.5 / 0.75)):
        estimator._sequence.travel = replace(estimator._sequence.travel, map_shape=map_shape)
        single = estimator.update(frame).single
        of_log_normal = np.exp(2 * log_std**2) - 2 * np.exp(log_std**2 / 2) + 1
        expected = of_log_normal * np.outer(single.linear, single.linear)
        np.testing.assert_allclose(single.terms[Term.DEPTH_SCALE][:3, :3], expected)
        frame = replace(frame, stamp=frame.stamp + PERIOD, image=noisy(frame.image, 1, 20.0))


@pytest.mark.parametrize("known", [0.0, 0.1])
def test_a_depth_image_with_little_depth_leaves_the_networks_in_its_place(engine, known):
    """It stops nothing, and what it knows is the scale of the network's."""
    depth, velocity = np.full((ROWS, COLUMNS), 2.0), np.array([0.4, -0.2, 0.3, 0.2, -0.5, 0.4])
    engine.infer = lambda _: field_of(matrix_of(CAMERA), velocity, EXPOSURE, depth, 0.1)

    def measured(image: np.ndarray | None):
        frame = Frame(np.zeros((224, 320), np.uint8), 1, CAMERA, Shutter(EXPOSURE), image)
        return MotionEstimator(engine, EstimatorConfig(sign_resolution="axial", linear_velocity_std=30)).update(frame)

    image = np.zeros((224, 320), np.float32)
    image[: round(224 * known)] = 3.0
    sparse, without, whole = measured(image), measured(None), measured(np.full((224, 320), 3.0, np.float32))
    assert sparse.depth_too_sparse
    assert not without.depth_too_sparse
    assert not whole.depth_too_sparse
    np.testing.assert_allclose(sparse.single.angular, without.single.angular, atol=1e-3)
    expected = whole if known else without
    np.testing.assert_allclose(sparse.single.linear, expected.single.linear, rtol=1e-2)


def test_after_blurs_that_alignments_contradicted_the_next_is_believed_less(engine):
    """Also where there is no alignment to tell."""
    *frames, last = panning_frames(21)
    alone = replace(last, stamp=last.stamp + 700_000_000)

    def added(rate: float) -> float:
        engine.velocity, estimator = np.array([0, 0, 0, 0, rate, 0]), MotionEstimator(engine)
        for frame in frames:
            assert estimator.update(frame).measurement == "aligned" or frame is frames[0]
        return estimator.update(alone).single.terms[Term.CONTRADICTION][4, 4]

    assert added(1.2) == 0
    assert added(1.6) > 0


def test_what_the_blur_does_not_determine_is_refused(engine, monkeypatch):
    def singular(*args, **kwargs):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr("image_as_imu_ros.estimation.estimator.solve", singular)
    with pytest.raises(InputError, match="the blur does not determine the motion: Singular matrix"):
        MotionEstimator(engine).update(panning_frames(1)[0])


def test_streaks_that_the_network_reads_too_long_are_put_right_by_the_image(engine):
    angular = np.array([0.0, 2.0, 0.3])
    engine.info, engine.velocity = replace(engine.info, flow_log_std=0.25), 1.3 * np.r_[0, 0, 0, angular]
    estimator = MotionEstimator(engine, EstimatorConfig(sign_resolution="axial", motion_model="rotation"))
    estimate = estimator.update(Frame(blurred(np.r_[0, 0, 0, EXPOSURE * angular]), 1, CAMERA, Shutter(EXPOSURE)))
    assert estimate.log_likelihood_ratio > 6
    assert np.abs(estimate.velocity.angular) == pytest.approx(angular, abs=0.1)

    flat = estimator.update(Frame(np.full((224, 320), 128, np.uint8), 33_000_000, CAMERA, Shutter(EXPOSURE)))
    assert flat.log_likelihood_ratio < 0.5
    assert np.abs(flat.velocity.angular) == pytest.approx(1.3 * angular, abs=0.1)


@pytest.mark.parametrize("rate", [1.2, -1.2])
def test_a_pan_is_recovered_with_its_sign_from_the_second_frame_on(engine, rate):
    engine.velocity = np.array([0, 0, 0, 0, rate, 0])
    estimator = MotionEstimator(engine)
    estimates = [estimator.update(frame) for frame in panning_frames(4, rate)]
    assert not estimates[0].sign_resolved
    assert estimates[0].ambiguous
    for estimate in estimates[1:]:
        assert estimate.sign_resolved
        np.testing.assert_allclose(estimate.velocity.angular, [0, rate, 0], atol=1e-2)
        assert (np.linalg.eigvalsh(estimate.velocity.covariance) > 0).all()


def test_a_centred_sign_comes_one_frame_later_and_is_known_for_the_first_frame_too(engine):
    engine.velocity = np.array([0, 0, 0, 0, -1.2, 0])
    estimator = MotionEstimator(engine, EstimatorConfig(sign_resolution="centered"))
    frames = panning_frames(3, -1.2)
    answers = [estimator.update(frame) for frame in frames] + [estimator.flush()]
    assert answers[0] is None
    assert [answer.mid_exposure for answer in answers[1:]] == [frame.stamp for frame in frames]
    for answer in answers[1:]:
        assert answer.sign_resolved
        np.testing.assert_allclose(answer.velocity.angular, [0, -1.2, 0], atol=1e-2)
    assert estimator.flush() is None


def test_an_axial_sign_is_never_resolved_and_the_covariance_says_so(engine):
    engine.velocity = np.array([0, 0, 0, 0, -1.2, 0])
    estimator = MotionEstimator(engine, EstimatorConfig(sign_resolution="axial"))
    for frame in panning_frames(3, -1.2):
        estimate = estimator.update(frame)
        assert not estimate.sign_resolved
        assert estimate.velocity.angular[1] == pytest.approx(1.2, abs=1e-2)
        # Right or wrong by twice the velocity, each with a probability of a half.
        of_sign = 2 * np.outer(estimate.velocity.vector, estimate.velocity.vector)
        np.testing.assert_allclose(estimate.velocity.terms[Term.SIGN], of_sign)


@pytest.mark.parametrize("sign_resolution", ["causal", "centered"])
def test_auto_alternates_between_aligned_and_single_and_stamps_always_increase(engine, sign_resolution):
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    estimator = MotionEstimator(engine, EstimatorConfig(sign_resolution=sign_resolution))
    frames = panning_frames(7)
    for covered in (2, 5):
        frames[covered] = replace(frames[covered], image=np.full_like(frames[covered].image, 5))
    answers = [estimator.update(frame) for frame in frames] + [estimator.flush()]
    answers = [answer for answer in answers if answer is not None]
    assert [answer.mid_exposure for answer in answers] == [frame.stamp for frame in frames]
    kinds = ["single", "aligned", "single", "single", "aligned", "single", "single"]
    assert [answer.measurement for answer in answers] == kinds
    assert (np.diff([answer.stamp for answer in answers]) > 0).all()
    for answer in answers:
        assert answer.stamp == answer.mid_exposure - (PERIOD // 2 if answer.measurement == "aligned" else 0)
        if answer.measurement == "aligned":
            np.testing.assert_allclose(answer.velocity.angular, [0, 1.2, 0], atol=0.03)
        elif answer.dt:
            assert answer.alignment.rejection.reason == Reason.NO_TEXTURE


def test_from_mid_exposure_to_mid_exposure_it_is_longer_where_the_exposure_grows(engine):
    first, second = panning_frames(2)
    estimator = MotionEstimator(engine)
    for frame, exposure in ((first, 0.010), (second, 0.020)):
        shutter = Shutter(exposure, StampReference.START)
        estimate = estimator.update(replace(frame, shutter=shutter))
    assert estimate.dt == pytest.approx(1e-9 * PERIOD + (0.020 - 0.010) / 2)


def test_the_blur_of_a_frame_is_held_against_the_velocity_interpolated_at_it(engine, monkeypatch):
    """0.6 rad/s for one period, then 1.8 rad/s for two: 1.0 rad/s at the frame in between."""
    seen = []
    monkeypatch.setattr(ExposureEstimator, "observe", lambda _, *pixels, clear: seen.append(pixels))
    estimator, frames = MotionEstimator(engine, EstimatorConfig(motion_model="rotation")), panning_frames(9, 0.6)
    for number, rate, periods in ((0, 0.6, 1), (1, 1.0, 2), (7, 1.8, 4)):
        engine.velocity = np.array([0, 0, 0, 0, rate, 0])
        estimator.update(replace(frames[number], stamp=periods * PERIOD))
    ((blur, displacement, change),) = seen
    assert displacement == pytest.approx(blur, rel=0.02)
    assert change == pytest.approx(1.2 * displacement, rel=0.05)


def test_single_stays_with_the_frame_and_aligned_with_the_pair(engine):
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    frames = panning_frames(3)
    single = MotionEstimator(engine, EstimatorConfig(measurement="single"))
    assert [single.update(frame).stamp for frame in frames] == [frame.stamp for frame in frames]
    aligned = MotionEstimator(engine, EstimatorConfig(measurement="aligned"))
    assert aligned.update(frames[0]) is None
    estimate = aligned.update(frames[1])
    assert estimate.stamp == frames[1].stamp - PERIOD // 2
    assert estimate.as_single().stamp == frames[1].stamp
    late = replace(frames[2], stamp=frames[1].stamp + 1_000_000_000)
    assert aligned.update(late) is None
    assert "1.00 s old" in aligned.alignment.rejection.message


def test_alignment_settles_the_sign_of_the_blur(engine):
    for rate in (1.2, -1.2):
        engine.velocity = np.array([0, 0, 0, 0, rate, 0])
        estimator = MotionEstimator(engine, EstimatorConfig(measurement="single"))
        for frame in panning_frames(3, rate):
            estimate = estimator.update(frame)
        assert not estimate.alignment.rejection
        assert estimate.velocity.angular[1] == pytest.approx(rate, abs=0.01)
        assert estimate.sign_probability > 0.95


@pytest.mark.parametrize("rate", [6.0, -6.0])
def test_what_rotates_so_fast_does_not_reverse_from_one_frame_to_the_next(engine, rate):
    """Also where an image shows nothing."""
    engine.velocity, estimator = np.array([0, 0, 0, 0, rate, 0]), MotionEstimator(engine)
    first, second, third = panning_frames(3, rate)
    estimator.update(first)
    assert estimator.update(second).measurement == "aligned"
    estimate = estimator.update(replace(third, image=np.full_like(third.image, 5)))
    assert estimate.measurement == "single"
    assert estimate.sign_resolved
    np.testing.assert_allclose(estimate.velocity.angular, [0, rate, 0], atol=0.1)


@pytest.mark.parametrize("sign_resolution", ["causal", "centered"])
@pytest.mark.parametrize("rate", [1.2, -1.2])
def test_without_any_alignment_the_images_tell_the_sign_of_the_blur(engine, monkeypatch, rate, sign_resolution):
    """From the frame before; with the next one, that of the first frame too."""

    def singular(*_, **__):
        raise np.linalg.LinAlgError("Singular matrix")

    engine.velocity = np.array([0, 0, 0, 0, rate, 0])
    estimator = MotionEstimator(engine, EstimatorConfig(sign_resolution=sign_resolution))
    monkeypatch.setattr("image_as_imu_ros.estimation.alignment.Aligner.align", singular)
    monkeypatch.setattr("image_as_imu_ros.estimation.sequence_aligner.with_tracks", singular)
    estimates = [estimator.update(frame) for frame in panning_frames(4, rate)] + [estimator.flush()]
    estimates = [estimate for estimate in estimates if estimate is not None]
    for estimate in estimates[0 if sign_resolution == "centered" else 1 :]:
        assert estimate.measurement == "single"
        assert estimate.sign_resolved
        np.testing.assert_allclose(estimate.velocity.angular, [0, rate, 0], atol=1e-2)


def test_a_blur_and_the_alignment_that_tells_its_sign_are_half_a_period_apart(engine):
    """In which the camera may have accelerated."""
    engine.velocity, estimator = np.array([0, 0, 0, 0, 0.3, 0]), MotionEstimator(engine)
    for frame in panning_frames(2, 0.3):
        estimator.update(frame)
    last = estimator._last
    half_a_period, a_period = (
        alignment_log_odds(last.solution.velocity, last.accepted, share * PERIOD * 1e-9) for share in (0.5, 1)
    )
    assert abs(a_period) < 0.9 * abs(half_a_period) < SIGN.photometric_limit
    assert last.log_odds == pytest.approx(half_a_period)


def test_an_alignment_that_contradicts_the_blur_is_not_trusted(engine):
    """Dirt on the lens, or the robot's own arm: the picture stands still while the blur says otherwise."""
    engine.velocity = np.array([0, 0, 0, 0, 24.0, 0])
    estimator = MotionEstimator(engine)
    frame = panning_frames(1)[0]
    estimator.update(frame)
    estimate = estimator.update(replace(frame, stamp=frame.stamp + PERIOD, image=noisy(frame.image)))
    assert estimate.measurement == "single"
    assert estimate.alignment.rejection.reason == Reason.CONTRADICTS_BLUR


@pytest.mark.parametrize(("blur", "contradicts"), [(1.2, False), (3.0, True)])
def test_a_blur_and_an_alignment_that_differ_make_each_other_less_sure(engine, blur, contradicts):
    engine.velocity, estimator = np.array([0, 0, 0, 0, blur, 0]), MotionEstimator(engine)
    first, second = panning_frames(2)
    estimator.update(first)
    estimate = estimator.update(second)
    assert estimate.measurement == "aligned"
    for velocity in (estimate.velocity, estimate.single):
        added = np.sqrt(velocity.terms[Term.CONTRADICTION][4, 4])
        assert added > 0.7 * (blur - 1.2) if contradicts else added == 0


def test_a_blur_whose_exposure_is_a_guess_contradicts_nothing(engine):
    """It is a quarter of what alignment says, for the guess is four times as long as the exposure."""
    config = EstimatorConfig(estimate_exposure=True, motion_model="rotation")
    engine.velocity = np.array([0, 0, 0, 0, 6.0 * ESTIMATOR.first_exposure / EXPOSURE / 4, 0])
    estimator = MotionEstimator(engine, config)
    first, second = panning_frames(2, 6.0)
    estimator.update(replace(first, shutter=Shutter()))
    estimate = estimator.update(replace(second, shutter=Shutter()))
    assert estimate.measurement == "aligned"
    assert estimate.single.angular[1] == pytest.approx(6.0 / 4, rel=0.02)
    assert not estimate.velocity.terms[Term.CONTRADICTION].any()


def test_the_travel_of_late_is_v_and_not_the_rotation(engine):
    estimator = MotionEstimator(engine)
    for frame in panning_frames(2):
        estimator.update(frame)
    last = estimator._last
    travelling = Velocity(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]), {})
    moved = replace(last, alignment=replace(last.alignment, velocity=travelling, rejection=None))
    np.testing.assert_array_equal(moved.recent_travel, travelling.linear)
    rejected = replace(last.alignment, rejection=Rejection(Reason.NO_MATCH, ""))
    np.testing.assert_array_equal(replace(last, alignment=rejected).recent_travel, 0)


def usual_disagreement(engine, rate: float) -> float:
    """After a pan at 0.6 rad/s for one period and 1.8 rad/s for two, whose middle frame has a blur of `rate`."""
    estimator, frames = MotionEstimator(engine, EstimatorConfig(motion_model="rotation")), panning_frames(9, 0.6)
    for number, blur, periods in ((0, 0.6, 1), (1, rate, 2), (7, 1.8, 4)):
        engine.velocity = np.array([0, 0, 0, 0, blur, 0])
        estimate = estimator.update(replace(frames[number], stamp=periods * PERIOD))
        assert estimate.measurement == ("aligned" if number else "single")
    return estimator._last.earlier_disagreement


def test_what_blurs_are_usually_wrong_by_is_held_against_the_velocity_interpolated_at_them(engine):
    """1.0 rad/s, a third of the way from 0.6 to 1.8. However wrong one of them is, it counts as one."""
    least = 3 - 3 / SIGN.usual_frames  # χ² = 0
    assert usual_disagreement(engine, 1.0) == pytest.approx(least, abs=0.02)
    assert min(usual_disagreement(engine, 0.7), usual_disagreement(engine, 1.3)) > least + 0.02
    assert usual_disagreement(engine, 4.0) == pytest.approx(3 + (SIGN.contradiction - 3) / SIGN.usual_frames)


@pytest.mark.parametrize("readout", [0.0, 0.03])
@pytest.mark.parametrize("rate", [1.2, -1.2])
def test_the_fitted_flow_is_that_of_the_velocity_from_blur_whatever_its_sign(engine, rate, readout):
    engine.velocity, estimator = np.array([0, 0, 0, 2.0, rate, 0]), MotionEstimator(engine)
    for frame in panning_frames(2, rate):
        estimate = estimator.update(replace(frame, shutter=Shutter(EXPOSURE, readout_time=readout)))
        flow = EXPOSURE * matrix_of(CAMERA).flow(estimate.single.vector, estimate.network_output.depth.ravel())
        np.testing.assert_allclose(estimate.fitted_flow, flow.T.reshape(2, ROWS, COLUMNS), atol=1e-3)


def test_an_alignment_that_jumps_says_so_in_the_covariance_that_is_published(engine):
    rate = np.array([0, 0, 0, 0, 1.2, 0])
    engine.velocity, estimator, frames = rate, MotionEstimator(engine), panning_frames(10)
    for frame in frames[:5]:
        steady = estimator.update(frame)
    engine.velocity = 5 * rate
    jumped = estimator.update(replace(frames[9], stamp=frames[5].stamp))
    assert steady.measurement == jumped.measurement == "aligned"
    assert np.sqrt(steady.velocity.terms[Term.INNOVATION][4, 4]) < 1e-3
    assert jumped.velocity.angular[1] == pytest.approx(6.0, abs=0.2)
    assert jumped.velocity.terms[Term.INNOVATION][4, 4] > 0.3 * (6.0 - 1.2) ** 2


def swinging_frames(exposures: list[float], engine, estimator, given: float | None, stop: int | None = None):
    """Estimates of a camera that swings, up to 6 rad/s, while its exposure changes; the engine misreads lengths."""
    scene, rng = texture(3), np.random.default_rng(0)
    middle = np.array([[1, 0, 160], [0, 1, 112], [0, 0, 1]])
    times = np.arange(len(exposures)) * PERIOD * 1e-9
    for i, (t, exposure) in enumerate(zip(times, exposures, strict=True)):
        angle, rate = -0.6 * np.cos(10 * t), 6 * np.sin(10 * t)
        to_scene = middle @ CAMERA.matrix @ cv2.Rodrigues(np.array([0, angle, 0]))[0] @ np.linalg.inv(CAMERA.matrix)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        image = cv2.warpPerspective(scene, to_scene, (320, 224), flags=flags, borderMode=cv2.BORDER_REFLECT)
        engine.velocity = np.array([0, 0, 0, 0, rate, 0]) * exposure / EXPOSURE * np.exp(rng.normal(0, 0.15))
        yield estimator.update(Frame(image, (i + 1) * PERIOD, CAMERA, Shutter(given))), exposure, rate


def test_an_exposure_that_steps_is_followed_within_a_second(engine):
    estimator = MotionEstimator(engine, EstimatorConfig(estimate_exposure=True, motion_model="rotation"))
    exposures = [0.005] * 45 + [0.020] * 32
    answers = list(swinging_frames(exposures, engine, estimator, None))
    measured = [estimate.measured_exposure for estimate, *_ in answers if estimate and estimate.measured_exposure]
    assert measured[-33].seconds == pytest.approx(0.005, rel=0.1)
    assert measured[-1].seconds == pytest.approx(0.020, rel=0.1)
    assert measured[-1].log_std < 0.15
    assert answers[0][0] is None, "blur without time is no velocity"
    last, exposure, rate = answers[-1]
    assert last.exposure == pytest.approx(exposure, rel=0.15)
    assert last.single.angular[1] == pytest.approx(rate, rel=0.4)


@pytest.mark.parametrize("readout", [0.0, 0.03])
def test_behind_a_rolling_shutter_a_swinging_cameras_blur_is_less_sure(engine, readout):
    """Its rows see different velocities, by as much as ω changes while they are read."""
    estimator, swing = MotionEstimator(engine), 20 / CAMERA.fx / (3 * PERIOD * 1e-9)  # rad/s
    for number in range(8):
        engine.velocity = np.array([0, 0, 0, 0, swing * np.sin(number / 3), 0])
        image = np.roll(texture(3)[:224, :320], round(20 * np.cos(number / 3)), 1)
        shutter = Shutter(EXPOSURE, readout_time=readout)
        estimate = estimator.update(Frame(noisy(image, number), (number + 1) * PERIOD, CAMERA, shutter))
    assert estimate.alignment.accepted is not None
    term = estimate.single.terms.get(Term.READOUT)
    assert (term is not None) == (readout > 0)
    if readout:
        change = np.sqrt(estimator._last.acceleration.squared[4]) * readout
        assert 0.05 * change < np.sqrt(np.trace(term[3:, 3:])) < 2 * change


def swept_images(count: int, velocity: np.ndarray, distance: float, readout: float) -> list[np.ndarray]:
    """Pictures, through a shutter that rolls, of a wall that a camera sweeps along with (6,) (v, ω)."""
    columns, rows = np.meshgrid(np.arange(320.0), np.arange(224.0))
    rays = np.stack([(columns - CAMERA.cx) / CAMERA.fx, (rows - CAMERA.cy) / CAMERA.fy, np.ones_like(rows)])
    images = []
    for number in range(count):
        middle = (number - (count - 1) / 2) * PERIOD * 1e-9
        times = middle + readout * ((np.arange(224) + 0.5) / 224 - 0.5)
        rotations = np.array([cv2.Rodrigues(velocity[3:] * t)[0] for t in times])
        x, y, z = np.einsum("rij,jrc->irc", rotations, rays)
        position = np.multiply.outer(velocity[:3], times)[..., None]
        reach = (distance - position[2]) / z
        on_wall = np.stack([reach * x + position[0], reach * y + position[1]]) * CAMERA.fx / distance
        where = (on_wall + np.array([160, 112])[:, None, None]).astype(np.float32)
        images.append(cv2.remap(texture(3), *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))
    return images


@pytest.mark.parametrize("motion_model", ["full", "rotation"])
def test_a_camera_that_rotates_and_translates_behind_a_rolling_shutter_gives_the_right_exposure(engine, motion_model):
    """A fifth of the image motion is the slide's. Stamped at the start of an exposure that is only guessed at first."""
    readout, exposure, distance = 0.0245, 0.020, 1.5
    velocity = np.array([0.2 * 3.0 * distance, 0, 0, 0, 3.0, 0])
    depth = np.full((ROWS, COLUMNS), distance)
    engine.infer = lambda image: field_of(matrix_of(CAMERA), velocity, exposure, depth, 1.0)
    estimator = MotionEstimator(engine, EstimatorConfig(estimate_exposure=True, motion_model=motion_model))
    for number, image in enumerate(swept_images(9, velocity, distance, readout)):
        stamp = (number + 1) * PERIOD
        shutter = Shutter(None, StampReference.START, readout)
        estimate = estimator.update(Frame(image, stamp, CAMERA, shutter))
        if number:
            assert estimate.dt == pytest.approx(PERIOD * 1e-9)
    assert estimate.measured_exposure.seconds == pytest.approx(exposure, rel=0.05)


@pytest.mark.parametrize("estimated", [False, True], ids=["exposure given", "exposure estimated"])
@pytest.mark.parametrize("rate", [3.0, -3.0])
def test_a_nod_behind_a_rolling_shutter_is_as_fast_either_way(rate, estimated):
    """What moves down the image is read later: 30 ms of readout are 10 % at 3 rad/s. Blur shows it, too."""
    readout, velocity = 0.030, np.array([0, 0, 0, rate, 0, 0])
    factor = 1 / (1 - rate * CAMERA.fy * readout / CAMERA.height)  # as streaks look longer or shorter
    engine = KnownMotion()
    engine.velocity = factor * velocity
    estimator = MotionEstimator(engine, EstimatorConfig(motion_model="rotation", estimate_exposure=estimated))
    for number, image in enumerate(swept_images(9, velocity, 5.0, readout)):
        shutter = Shutter(None if estimated else EXPOSURE, readout_time=readout)
        estimate = estimator.update(Frame(image, (number + 1) * PERIOD, CAMERA, shutter))
    assert estimate.measurement == "aligned"
    assert estimate.measured_exposure.seconds == pytest.approx(EXPOSURE, rel=0.03)
    np.testing.assert_allclose(estimate.velocity.angular, [rate, 0, 0], atol=0.02 * abs(rate))
    np.testing.assert_allclose(estimate.single.angular, [rate, 0, 0], atol=0.03 * abs(rate))
    np.testing.assert_array_equal(estimate.alignment.velocity.angular, estimate.velocity.angular)
    assert abs(factor - 1) > 0.08


def test_a_camera_that_nods_and_rolls_behind_a_rolling_shutter_is_not_taken_to_roll_faster():
    """One side of the image goes down faster than the other: a factor for all of it left 0.14 rad/s of roll."""
    readout, velocity = 0.030, np.array([0, 0, 0, 2.0, 0, 2.0])
    engine = KnownMotion()
    engine.velocity = velocity
    estimator = MotionEstimator(engine, EstimatorConfig(motion_model="rotation"))
    for number, image in enumerate(swept_images(7, velocity, 5.0, readout)):
        shutter = Shutter(EXPOSURE, readout_time=readout)
        estimate = estimator.update(Frame(image, (number + 1) * PERIOD, CAMERA, shutter))
    assert estimate.measurement == "aligned"
    np.testing.assert_allclose(estimate.velocity.angular, velocity[3:], atol=0.02)


def test_a_rotation_alone_stays_one_behind_a_rolling_shutter_where_depth_is_measured(engine):
    readout, velocity, depth = 0.030, np.array([0, 0, 0, 2.0, 0, 2.0]), np.full((224, 320), 1.5, np.float32)
    engine.velocity, estimator = velocity, MotionEstimator(engine, EstimatorConfig(motion_model="rotation"))
    for number, image in enumerate(swept_images(2, velocity, 1.5, readout)):
        shutter = Shutter(EXPOSURE, readout_time=readout)
        estimate = estimator.update(Frame(image, (number + 1) * PERIOD, CAMERA, shutter, depth))
    assert estimate.measurement == "aligned"
    np.testing.assert_array_equal(estimate.velocity.linear, 0)


def test_a_wrong_exposure_is_noticed(engine):
    estimator = MotionEstimator(engine, EstimatorConfig(motion_model="rotation"))
    *_, (estimate, _, _) = swinging_frames([0.010] * 40, engine, estimator, given=0.018)
    assert estimate.exposure == 0.018
    assert estimate.measured_exposure.seconds == pytest.approx(0.010, rel=0.15)


@pytest.mark.parametrize("factor", [70, 100, 200])
def test_an_exposure_so_short_that_no_camera_rotates_so_fast_is_as_good_as_none(engine, factor):
    """Milliseconds read as tens of microseconds: blurs then say hundreds of rad/s."""
    estimator = MotionEstimator(engine, EstimatorConfig(motion_model="rotation"))
    answered = 0
    for estimate, *_ in swinging_frames([0.010] * 40, engine, estimator, given=0.010 / factor):
        if estimate is not None and not estimate.ambiguous:
            if estimate.measurement == "single":  # slow enough to be possible: held back once the exposure is measured
                assert estimate.measured_exposure is None or reason_to_hold_back(estimate, given=True)
                continue
            error = estimate.velocity.angular - [0, 6 * np.sin(10e-9 * (estimate.stamp - PERIOD)), 0]
            assert np.linalg.norm(error) < 0.3
            answered += 1
    assert answered > 30
    assert estimate.measured_exposure.seconds == pytest.approx(0.010, rel=0.2)


def test_without_an_exposure_a_frame_is_refused_unless_it_is_estimated(engine):
    frame = replace(panning_frames(1)[0], shutter=Shutter())
    with pytest.raises(InputError, match="not known"):
        MotionEstimator(engine).update(frame)
    assert MotionEstimator(engine, EstimatorConfig(estimate_exposure=True)).update(frame) is None


def test_the_uncertainty_of_the_exposure_is_in_the_covariance(engine):
    engine.velocity = np.array([0, 0, 0, 0, 2.0, 0])
    frame = panning_frames(1)[0]
    known = MotionEstimator(engine).update(frame)
    started = MotionEstimator(engine, EstimatorConfig(estimate_exposure=True)).update(frame)
    growth = started.with_known_sign().velocity.covariance - known.with_known_sign().velocity.covariance
    assert growth[4, 4] == pytest.approx((started.exposure_log_std**2 - 0.02**2) * 2.0**2, rel=0.1)


def test_a_static_camera_is_not_ambiguous(engine):
    estimate = MotionEstimator(engine).update(panning_frames(1)[0])
    assert estimate.mean_flow == pytest.approx(0, abs=1e-9)
    assert not estimate.ambiguous


def test_time_that_jumps_back_starts_anew_and_a_repeated_stamp_is_refused(engine):
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    estimator = MotionEstimator(engine)
    first, second, third = panning_frames(3)
    estimator.update(second)
    assert estimator.update(third).sign_resolved
    with pytest.raises(InputError, match="repeats"):
        estimator.update(third)
    with pytest.raises(InputError, match="to 400000 ns"):
        estimator.update(replace(third, stamp=third.stamp + 400_000))
    assert not estimator.update(first).sign_resolved, "nothing of the future may decide"
    assert estimator.update(second).sign_resolved


def test_a_frame_that_cannot_be_used_loses_nothing(engine):
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    estimator = MotionEstimator(engine)
    first, second, third = panning_frames(3)
    estimator.update(first)
    with pytest.raises(InputError, match="another"):
        estimator.update(
            Frame(second.image, second.stamp, CAMERA, Shutter(EXPOSURE), depth=np.ones((10, 10), np.float32))
        )
    with pytest.raises(InputError, match="camera_info"):
        estimator.update(Frame(second.image[::2], second.stamp, CAMERA, Shutter(EXPOSURE)))
    assert estimator.update(third).sign_resolved


def test_a_new_camera_is_taken_over(engine):
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    estimator = MotionEstimator(engine)
    frame = panning_frames(1)[0]
    estimator.update(frame)
    narrow = Camera(320, 224, 520, 520, 159.5, 111.5)
    estimate = estimator.update(Frame(frame.image, frame.stamp + PERIOD, narrow, Shutter(EXPOSURE)))
    assert np.abs(estimate.velocity.angular[1]) == pytest.approx(0.6, rel=0.25), "twice the focal length, half the turn"


def test_velocity_scales_with_exposure(engine):
    engine.velocity = np.array([0, 0, 0, 0, 1.0, 0])
    frame = panning_frames(1)[0]
    estimate = MotionEstimator(engine).update(Frame(frame.image, frame.stamp, CAMERA, Shutter(EXPOSURE / 2)))
    assert np.abs(estimate.velocity.angular[1]) == pytest.approx(2.0, abs=0.02)


def test_the_time_of_every_step_is_reported(engine):
    seconds = MotionEstimator(engine).update(panning_frames(1)[0]).seconds
    assert set(seconds) == {"prepare", "network", "solve", "align", "sign"}
    assert all(value > 0 for value in seconds.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stamp": 0}, "stamp is 0"),
        ({"image": np.zeros((224, 320), np.float32)}, "float32"),
        ({"image": np.zeros((224, 320, 4), np.uint8)}, r"\(224, 320, 4\)"),
    ],
)
def test_an_impossible_frame_is_refused_with_the_value(changes, message):
    good = {"image": np.zeros((224, 320), np.uint8), "stamp": 1, "camera": CAMERA, "shutter": Shutter(EXPOSURE)}
    with pytest.raises(InputError, match=message):
        Frame(**(good | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exposure": 0.0}, "exposure time is 0.0"),
        ({"exposure": -0.01}, "exposure time is -0.01"),
        ({"exposure": 1e-8}, "exposure time is 1e-08 s; expected 1e-06 to 1 s"),
        ({"exposure": float("nan")}, "exposure time is nan"),
        ({"exposure": 15.0}, "check the unit"),
        ({"readout_time": 25.0}, "check the unit"),
        ({"readout_time": -0.01}, "readout time is -0.01"),
        ({"readout_time": float("nan")}, "readout time is nan"),
    ],
)
def test_an_impossible_shutter_is_refused_with_the_value(changes, message):
    with pytest.raises(InputError, match=message):
        Shutter(**changes)


@pytest.mark.parametrize(
    "options",
    [
        {"motion_model": "affine"},
        {"sign_resolution": "up"},
        {"linear_velocity_std": 0},
        {"linear_velocity_std": np.nan},
        {"lever_arm": np.inf},
        {"measurement": "both"},
        {"sign_resolution": "axial", "measurement": "aligned"},
        {"sign_resolution": "axial", "estimate_exposure": True},
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        EstimatorConfig(**options)


@pytest.mark.parametrize(("reference", "offset"), [("start", 22_000_000), ("middle", 0), ("end", -22_000_000)])
def test_a_header_stamp_becomes_mid_exposure_of_the_middle_row(reference, offset):
    stamp = 1_700_000_000_123_456_789
    shutter = Shutter(stamp_reference=StampReference(reference), readout_time=0.024)
    assert shutter.mid_exposure(stamp, 0.020) == stamp + offset
    with pytest.raises(InputError, match="stamp_reference"):
        Shutter(stamp_reference="begin")


def test_the_grid_of_the_stand_in_is_the_models():
    assert (KnownMotion.info.height // STRIDE, KnownMotion.info.width // STRIDE) == (ROWS, COLUMNS)


@pytest.mark.parametrize("rate", [1.2, -1.2])
def test_another_sensors_rate_settles_the_sign_of_the_very_first_frame(engine, rate):
    engine.velocity = np.array([0, 0, 0, 0, rate, 0])
    first = replace(panning_frames(1, rate)[0], rate_hint=np.array([0.1, 0.7 * rate, -0.1]))
    estimate = MotionEstimator(engine, EstimatorConfig(rate_hint_std=0.3)).update(first)
    assert estimate.sign_resolved
    np.testing.assert_allclose(estimate.velocity.angular, [0, rate, 0], atol=1e-2)


def test_images_without_texture_take_the_sign_that_another_sensor_says(engine):
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    blank = np.full((224, 320), 90, np.uint8)
    blank = [replace(frame, image=noisy(blank, seed)) for seed, frame in enumerate(panning_frames(3))]
    alone, helped = MotionEstimator(engine), MotionEstimator(engine)
    assert not [alone.update(frame) for frame in blank][-1].sign_resolved
    hint = np.array([0, -1.0, 0])
    estimate = [helped.update(replace(frame, rate_hint=hint)) for frame in blank][-1]
    assert estimate.sign_resolved
    assert estimate.velocity.angular[1] < -1


def test_a_sign_that_is_not_known_is_no_evidence_for_the_next_one(engine):
    engine.velocity, estimator = np.array([0, 0, 0, 0, 6.0, 0]), MotionEstimator(engine)
    blank = np.full((224, 320), 90, np.uint8)
    for seed, frame in enumerate(panning_frames(3)):
        assert not estimator.update(replace(frame, image=noisy(blank, seed))).sign_resolved


def test_a_rate_hint_is_ignored_where_signs_are_left_open(engine):
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    frame = replace(panning_frames(1)[0], rate_hint=np.array([0, -1.2, 0]))
    assert not MotionEstimator(engine, EstimatorConfig(sign_resolution="axial")).update(frame).sign_resolved


def test_a_rate_hint_that_is_not_a_number_is_refused():
    with pytest.raises(InputError, match="rate_hint"):
        replace(panning_frames(1)[0], rate_hint=np.array([0, np.nan, 0]))


def test_intrinsics_that_move_a_little_keep_history_and_a_zoom_does_not(engine):
    """Autofocus and stabilised lenses change K from frame to frame."""
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    estimator = MotionEstimator(engine)
    first, second, third, fourth = panning_frames(4)
    estimator.update(first)
    moved = replace(CAMERA, fx=CAMERA.fx * (1 + 1e-5), cy=CAMERA.cy - 0.01)
    assert estimator.update(replace(second, camera=moved)).measurement == "aligned"
    breathing = replace(CAMERA, fx=CAMERA.fx * 1.002, fy=CAMERA.fy * 1.002)
    estimate = estimator.update(replace(third, camera=breathing))
    assert estimate.measurement == "aligned"
    assert estimate.view.source == breathing, "followed"
    zoomed = replace(CAMERA, fx=CAMERA.fx * 1.2, fy=CAMERA.fy * 1.2)
    assert estimator.update(replace(fourth, camera=zoomed)).measurement == "single"


def test_a_blur_is_solved_with_how_the_camera_has_just_travelled(engine, monkeypatch):
    engine.velocity = np.array([0, 0, 0, 0, 0.4, 0])
    estimator, frames, seen = MotionEstimator(engine), panning_frames(3, 0.4), []
    name = "image_as_imu_ros.estimation.estimator.solve"
    monkeypatch.setattr(name, lambda *given, **named: seen.append(named["uncertainty"]) or solve(*given, **named))
    for frame in frames:
        travel = np.zeros(3) if estimator._last is None else estimator._last.recent_travel
        estimator.update(frame)
        np.testing.assert_array_equal(seen[-1].recent_travel, travel)
    assert np.abs(travel).max() > 0


def test_two_images_that_determine_no_motion_are_a_rejection(engine, monkeypatch):
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    estimator = MotionEstimator(engine)
    first, second = panning_frames(2)
    estimator.update(first)

    def singular(*_, **__):
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(type(estimator._last.geometry.aligner), "align", singular)
    monkeypatch.setattr("image_as_imu_ros.estimation.sequence_aligner.with_tracks", singular)
    estimate = estimator.update(second)
    assert estimate.measurement == "single"
    assert estimate.alignment.rejection.reason == Reason.NO_SOLUTION


@pytest.mark.parametrize("speed", [1.0, 5.0])
def test_the_blur_of_a_slide_is_not_taken_for_a_rotation(engine, speed):
    """Faster than what is usually expected of v, past relief that is measured."""
    depth, slide = rough_depth(np.random.default_rng(0)), np.array([speed, 0, 0, 0, 0, 0])
    engine.infer = lambda _: field_of(matrix_of(CAMERA), slide, EXPOSURE, depth, 0.1)
    image = np.kron(depth, np.ones((STRIDE, STRIDE))).astype(np.float32)
    estimator = MotionEstimator(engine, EstimatorConfig(sign_resolution="axial"))
    for frame in panning_frames(2):
        single = estimator.update(replace(frame, depth=image)).single
    error = single.angular
    assert error @ np.linalg.solve(single.covariance[3:, 3:], error) < 11.3, "99 % of χ² with 3 degrees of freedom"
    assert np.linalg.norm(error) < 0.1 * speed


def test_covariances_are_exactly_symmetric_and_that_of_the_mean_is_smaller(engine):
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    estimator = MotionEstimator(engine)
    for frame in panning_frames(4):
        estimate = estimator.update(frame)
        covariance = estimate.velocity.covariance
        np.testing.assert_array_equal(covariance, covariance.T)
    of_mean = estimate.velocity.covariance_without({Term.ACCELERATION, Term.INNOVATION})
    assert np.linalg.eigvalsh(covariance - of_mean).max() > 0
    np.testing.assert_allclose(of_mean, estimate.alignment.velocity.covariance, atol=1e-9)


def test_a_blur_that_determines_no_motion_leaves_the_frame_before_as_it_was(engine, monkeypatch):
    engine.velocity = np.array([0, 0, 0, 0, 1.2, 0])
    estimator, (first, second, third) = MotionEstimator(engine), panning_frames(3)
    estimator.update(first)

    def singular(*_, **__):
        raise np.linalg.LinAlgError("Singular matrix")

    with monkeypatch.context() as patched:
        patched.setattr("image_as_imu_ros.estimation.estimator.solve", singular)
        with pytest.raises(InputError, match="does not determine the motion"):
            estimator.update(second)
    after = estimator.update(third)
    undisturbed = MotionEstimator(engine)
    undisturbed.update(first)
    np.testing.assert_array_equal(after.velocity.vector, undisturbed.update(third).velocity.vector)


@pytest.mark.parametrize("depth", ["one part", "a network's", "a larger part without texture"])
def test_parts_that_moved_do_not_lock_in_where_nothing_tells_any_more(engine, depth):
    engine.velocity = np.array([0, 0, 0, 0, 0.1, 0])
    estimator, seen = MotionEstimator(engine), []
    measured = np.full((224, 320), 50.0, np.float32)
    first, *frames = panning_frames(80, 0.1)
    estimator.update(first)
    for _ in range(20):
        estimator._sequence.moving_parts = estimator._sequence.moving_parts.after(1e6)
    for frame in frames:
        image = frame.image
        if depth == "a larger part without texture":
            image = image.copy()
            image[:, :190], measured[:, :190] = 128, 100.0
        estimator.update(replace(frame, image=image, depth=None if depth == "a network's" else measured))
        seen.append(estimator.alignment)
    assert not estimator._sequence.moving_parts.expected
    assert not any(alignment.parts_move for alignment in seen[-10:])
    assert all(alignment.accepted for alignment in seen[-10:])
    assert (seen[0].accepted is None) == (depth == "a larger part without texture")
