"""Limits of the method, each held from both sides: halving or doubling one makes a test here fail."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from fields import COLUMNS, ROWS, camera, field_of, matrix_of
from test_alignment import ALIGNER, CAMERA, SECONDS, aligned, image_pair, rotation
from test_blur_spectrum import GRID, blurred
from test_sign import texture

from image_as_imu_ros import EstimatorConfig, Frame, InputError, MotionEstimator, Shutter
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.estimation.blur_solver import Uncertainty, solve
from image_as_imu_ros.estimation.blur_spectrum import BlurSpectra, Windows
from image_as_imu_ros.estimation.exposure import ExposureEstimator
from image_as_imu_ros.estimation.rejection import Reason
from image_as_imu_ros.estimation.sign import Grid, contradicts, photometric_log_odds, small_image
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import Term, Velocity

EXPOSURE = 0.015
FAR = np.full((ROWS, COLUMNS), 1e3)


class Panning:
    """Stands in for an engine: sees a pan at 1.2 rad/s in every image."""

    name = "panning"
    info = ModelInfo("panning", "test", width=320, height=224, flow_log_std=0.0)

    def infer(self, image):
        return field_of(matrix_of(CAMERA), np.array([0, 0, 0, 0, 1.2, 0]), EXPOSURE, FAR, 0.1)

    def close(self):
        pass


@pytest.fixture
def estimate():
    estimator = MotionEstimator(Panning(), EstimatorConfig(sign_resolution="axial"))
    found = estimator.update(Frame(np.full((224, 320), 9, np.uint8), 1, CAMERA, Shutter(EXPOSURE)))
    assert found is not None
    return found


def test_an_open_sign_matters_from_one_px_of_blur_on(estimate):
    assert replace(estimate, sign_resolved=False, mean_flow=1.3).ambiguous
    assert not replace(estimate, sign_resolved=False, mean_flow=0.7).ambiguous


def test_velocities_from_blur_need_an_exposure_known_to_40_percent(estimate):
    assert replace(estimate, exposure_log_std=0.3).as_single() is not None
    assert replace(estimate, exposure_log_std=0.55).as_single() is None


def test_an_exposure_that_nobody_knows_starts_at_10_ms():
    estimator = MotionEstimator(Panning(), EstimatorConfig(sign_resolution="centered", estimate_exposure=True))
    for number in (1, 2):
        estimator.update(Frame(np.full((224, 320), 9 * number, np.uint8), number * 33_000_000, CAMERA, Shutter()))
    last = estimator._last
    assert last is not None
    assert last.exposure == pytest.approx(0.010, rel=0.01)


@pytest.mark.parametrize(("known", "enough"), [(14, True), (10, False)])
def test_a_dozen_cells_are_a_measurement(known, enough):
    field = field_of(matrix_of(camera()), np.array([0, 0, 0, 0, 1.2, 0]), EXPOSURE, FAR, 0.1)
    used = field.axial_flow[:, 1::3, 1::3].reshape(2, -1).copy()
    used[:, known:] = np.nan
    field.axial_flow[:, 1::3, 1::3] = used.reshape(field.axial_flow[:, 1::3, 1::3].shape)
    prior = Uncertainty(Travel(0.3, 0.0))
    if enough:
        solve(field, matrix_of(camera()), EXPOSURE, uncertainty=prior)
    else:
        with pytest.raises(InputError, match="10 of"):
            solve(field, matrix_of(camera()), EXPOSURE, uncertainty=prior)


def test_blur_longer_than_18_px_is_looked_for_at_half_resolution_only():
    windows = Windows.of(CAMERA, 4)
    image = texture(0)[:224, :320]
    both, halved = (windows.spectra(image, blur, 1.0, None) for blur in (14.0, 24.0))
    assert both is not None
    assert halved is not None
    assert len(halved.weights) == len(windows.grids[1].corners) < len(both.weights)


def test_blur_longer_than_36_px_is_not_looked_for_nor_any_that_the_network_hardly_sees():
    windows, image = Windows.of(CAMERA, 4), texture(0)[:224, :320]
    cases = [(35.0, 1.0), (37.0, 1.0), (14.0, 1.39), (14.0, 1.41), (1.4, 1.0)]
    asked = [windows.spectra(image, blur, relative_sigma, None) is not None for blur, relative_sigma in cases]
    assert asked == [True, False, True, False, False]


def test_the_gain_of_the_lines_stays_between_a_tenth_and_one_and_a_half():
    motion, prior = rotation(0, 0.04, 0)[3:], np.eye(3)
    sharp = BlurSpectra.of(blurred(rotation(0, 0, 0)), GRID, None)
    assert sharp._compare(motion, motion, prior).gain == pytest.approx(0.1)
    smeared = BlurSpectra.of(blurred(rotation(0, 0.04, 0)), GRID, None)
    loud = replace(smeared, log_power=10 * smeared.log_power)
    assert loud._compare(motion, motion, prior).gain == pytest.approx(1.5)


@pytest.mark.parametrize(("share", "accepted"), [(0.42, True), (0.2, False)])
def test_three_tenths_of_an_image_must_have_been_seen_before(share, accepted):
    moved = (1 - share) * 320
    scene = cv2.resize(texture(4), (960, 672))
    before, now = (scene[100:324, start : start + 320] for start in (100, 100 + round(moved)))
    far = np.full((ROWS, COLUMNS), 1.0)
    slide = np.array([moved / CAMERA.fx / SECONDS, 0, 0, 0, 0, 0])
    options = {"depth": far, "motion_model": "full", "linear_velocity_std": 100.0}
    assert (aligned(now.copy(), before.copy(), slide, **options).rejection is None) == accepted


@pytest.mark.parametrize(("columns", "accepted"), [(10, True), (4, False)])
def test_a_hundred_points_of_known_depth_are_aligned(columns, accepted):
    depth = np.full((ROWS, COLUMNS), np.nan)
    depth[:, 30 : 30 + columns] = 5.0
    points = len(ALIGNER.levels[-1].rays[0]) * columns / COLUMNS
    assert (100 < points < 200) if accepted else points < 100
    velocity = rotation(0, 0.5, 0)
    alignment = aligned(*image_pair(velocity), velocity, depth=depth, motion_model="full")
    assert (alignment.rejection is None or alignment.rejection.reason != Reason.UNKNOWN_DEPTH) == accepted


@pytest.mark.parametrize(("contrast", "accepted"), [(3.0, True), (1.4, False)])
def test_two_levels_of_contrast_are_texture(contrast, accepted):
    velocity = rotation(0, 0.5, 0)
    pair = [image.astype(float) for image in image_pair(velocity)]
    scale = contrast / min(ALIGNER.pyramid(image.astype(np.uint8))[-1].std() for image in pair)
    faint = [np.clip(np.round(128 + scale * (image - image.mean())), 0, 255).astype(np.uint8) for image in pair]
    rejection = aligned(*faint, velocity).rejection
    assert (rejection is None or rejection.reason != Reason.NO_TEXTURE) == accepted


@pytest.mark.parametrize(("unique", "accepted"), [(0.05, True), (0.03, False)])
def test_a_pattern_that_hardly_repeats_is_aligned(unique, accepted):
    """A pattern with a period of 32 px, half of which the camera moves, and some texture that does not repeat."""
    columns, rows = np.meshgrid(np.arange(400), np.arange(224))
    rng, texture_of_its_own = np.random.default_rng(0), texture(5)[:224, :400].astype(float) - 128
    scene = 128 + 50 * np.sin(2 * np.pi * columns / 32) + 20 * np.sin(2 * np.pi * rows / 30)
    scene += unique * texture_of_its_own
    now, before = (
        np.clip(np.rint(scene[:, start : start + 320] + rng.normal(0, 4.0, (224, 320))), 0, 255).astype(np.uint8)
        for start in (56, 40)
    )
    slide = np.array([0.1 * 16 / CAMERA.fx / SECONDS, 0, 0, 0, 0, 0])
    alignment = aligned(now, before, slide, depth=np.full((ROWS, COLUMNS), 0.1), motion_model="full")
    assert (alignment.rejection is None) == accepted


@pytest.mark.parametrize(("share", "says"), [(0.3, True), (0.12, False)])
def test_a_fifth_of_the_cells_must_be_seen_by_both_to_tell_the_sign(share, says):
    grid = Grid.of(CAMERA, 4)
    moved = round((1 - share) * 320)
    scene = cv2.resize(texture(4), (960, 672))
    before, now = (small_image(scene[100:324, s : s + 320].copy(), grid) for s in (100, 100 + moved))
    velocity = np.array([moved / CAMERA.fx / SECONDS, 0, 0, 0, 0, 0])
    log_odds = photometric_log_odds(grid, velocity, np.ones((ROWS, COLUMNS)), now, before, SECONDS)
    assert (log_odds != 0) == says


@pytest.mark.parametrize(("squared", "contradiction"), [(22.0, True), (12.0, False)])
def test_blur_and_alignment_contradict_each_other_beyond_the_999_permille_quantile(squared, contradiction):
    """Errors at right angles to the blur, which no other length of it explains."""
    std = 0.2
    blur = Velocity(np.zeros(3), np.array([0, 6.0, 0]), {Term.DATA: std**2 * np.eye(6)})
    across = np.sqrt(2 * std**2 * squared)
    other = Velocity(np.zeros(3), np.array([across, 6.0, 0]), {Term.DATA: std**2 * np.eye(6)})
    assert contradicts(blur, other, 0.0) == contradiction


class TestExposure:
    def after_one(self, blur: float) -> float:
        estimator = ExposureEstimator(1.0)
        estimator.observe(blur, blur, 0.0)
        return estimator.estimate(1.0).log_std

    def test_blur_shorter_than_4_px_tells_nothing(self):
        assert self.after_one(5.0) < 0.9 * self.after_one(3.0)

    def test_one_frame_without_clear_spectra_tells_as_much_as_its_errors_allow(self):
        assert self.after_one(5.0) == pytest.approx(0.504, rel=0.1)
        assert self.after_one(9.0) == pytest.approx(0.400, rel=0.1)

    def test_it_forgets_as_auto_exposure_drifts(self):
        estimator = ExposureEstimator(1.0)
        for _ in range(400):
            estimator.observe(20.0, 20.0, 1.0)
        assert estimator.estimate(1.0).log_std == pytest.approx(0.0269, rel=0.1)
