"""Two frames of a known scene: the motion between them is found, with what it is worth, or refused with a reason."""

import cv2
import numpy as np
import pytest
from fields import COLUMNS, ROWS, STRIDE, camera
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sign import texture

from image_as_imu_ros.estimation.alignment import Aligner, starts_along
from image_as_imu_ros.estimation.alignment.alignment import blur_shape_std
from image_as_imu_ros.estimation.alignment.refinement import NUISANCES, Fit
from image_as_imu_ros.estimation.constants import SHARED
from image_as_imu_ros.estimation.prior import camera_from_pivot
from image_as_imu_ros.estimation.rejection import Reason
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import Term
from image_as_imu_ros.geometry.camera import Camera

CAMERA = camera()
ALIGNER = Aligner.of(CAMERA, STRIDE)
SECONDS = 1 / 30
DISTANCE = 1.5  # m, of the wall before the camera
NORMAL = np.array([0.3, -0.2, 1.0])  # of the wall, in the frame of the present picture
WALL_DEPTH = DISTANCE / (np.vstack([CAMERA.rays(np.indices((ROWS, COLUMNS))[::-1].reshape(2, -1).T * STRIDE + 1.5).T,
                                    np.ones(ROWS * COLUMNS)]).T @ NORMAL).reshape(ROWS, COLUMNS)  # fmt: skip


def image_pair(velocity: np.ndarray, seed: int = 0, seconds: float = SECONDS) -> tuple[np.ndarray, np.ndarray]:
    """(now, before), (224, 320) uint8, of a textured wall, by a camera that moved with (6,) (v, ω) in between.

    A point X of the present frame was at exp(ω·s/2)·(exp(ω·s/2)·X + v·s); on the wall, n·X = distance.
    """
    scene, to_scene = texture(seed), np.array([[1.0, 0, 160], [0, 1, 112], [0, 0, 1]])
    half = cv2.Rodrigues(velocity[3:] * seconds / 2)[0]
    translation = half @ velocity[:3] * seconds
    inverse = np.linalg.inv(CAMERA.matrix)
    to_before = CAMERA.matrix @ (half @ half + np.outer(translation, NORMAL) / DISTANCE) @ inverse
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return tuple(
        cv2.warpPerspective(scene, to_scene @ homography, (320, 224), flags=flags, borderMode=cv2.BORDER_REFLECT)
        for homography in (np.eye(3), np.linalg.inv(to_before))
    )


def aligned(now, before, blur, *, seconds=SECONDS, depth=None, motion_model="rotation", aligner=ALIGNER, **options):
    travel = Travel(options.pop("linear_velocity_std", 0.5), options.pop("lever_arm", 0.0))
    blur_px = options.pop("blur_px", 2.0)
    return aligner.align(
        aligner.pyramid(now),
        aligner.pyramid(before),
        seconds,
        starts_along(np.asarray(blur, float), None, 2.8),
        depth,
        motion_model=motion_model,
        travel=travel,
        blur=blur_px,
        **options,
    )


def test_what_the_lens_or_a_lamp_makes_of_a_blank_wall_is_no_texture():
    """Its brightness stays where it is while the camera rotates: it seemed to be at rest, and was sure of it."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:224, :320]
    fall_off = np.cos(np.arctan(np.hypot(x - 159.5, y - 111.5) / CAMERA.fx)) ** 4
    lamp = 1 + 0.2 * (x + y) / 544
    for scene in (fall_off, lamp, fall_off * lamp):
        now, before = (np.rint(200 * scene + rng.normal(0, 1, scene.shape)).clip(0, 255).astype(np.uint8) for _ in "01")
        rejection = aligned(now, before, rotation(0, 1.0, 0)).rejection
        assert rejection is not None
        assert rejection.reason == Reason.NO_TEXTURE


def rotation(*angular: float) -> np.ndarray:
    return np.array([0, 0, 0, *angular])


angular_velocity = st.tuples(*[st.floats(-2.5, 2.5)] * 3).map(np.array).filter(lambda w: np.linalg.norm(w) > 0.3)


@settings(max_examples=25, deadline=None)
@given(
    angular=angular_velocity,
    seed=st.integers(0, 1000),
    length=st.sampled_from([-2.0, -1.0, -0.45, 0.45, 1.0, 2.0]),
    gain=st.floats(0.7, 1.3),
    offset=st.floats(-10, 20),
)
def test_a_rotation_is_found_to_a_fraction_of_a_pixel_from_a_blur_of_wrong_length_and_sign(
    angular, seed, length, gain, offset
):
    now, before = image_pair(rotation(*angular), seed)
    before = np.clip(gain * before + offset, 0, 255).astype(np.uint8)
    alignment = aligned(now, before, length * rotation(*angular))
    assert not alignment.rejection
    assert CAMERA.fx * SECONDS * np.abs(alignment.velocity.angular - angular).max() < 0.15
    assert (alignment.velocity.linear == 0).all()


def test_the_time_between_scales_the_rate():
    now, before = image_pair(rotation(0.3, 1.0, -0.5))
    fast, smooth = (aligned(now, before, rotation(0.3, 1.0, -0.5), seconds=s) for s in (SECONDS, 3 * SECONDS))
    np.testing.assert_allclose(smooth.velocity.angular, fast.velocity.angular / 3, rtol=0.02)


def test_rotation_and_translation_are_found_where_depth_is_known():
    velocity = np.array([0.5, -0.4, 0.6, 0.4, -0.8, 0.7])
    alignment = aligned(*image_pair(velocity), velocity, depth=WALL_DEPTH, motion_model="full", linear_velocity_std=5.0)
    assert not alignment.rejection
    np.testing.assert_allclose(alignment.velocity.vector, velocity, atol=0.06)


def scatter(velocity: np.ndarray) -> float:
    """Mean of eᵀC⁻¹e over errors e that noise in images makes, C by the data."""
    pair, errors, covariances = image_pair(velocity), [], []
    for seed in range(25):
        noise = np.random.default_rng(seed)
        noisy = (np.clip(np.rint(one + noise.normal(0, 6, one.shape)), 0, 255).astype(np.uint8) for one in pair)
        found = aligned(*noisy, velocity, depth=WALL_DEPTH, motion_model="full", linear_velocity_std=5.0).velocity
        errors.append(found.vector)
        covariances.append(found.terms[Term.DATA])
    return np.trace(np.linalg.solve(np.mean(covariances, 0), np.cov(np.transpose(errors))))


def test_errors_of_a_fast_rotation_are_in_the_axes_that_the_covariance_is_in():
    """From this frame to halfway it is 11° at 12 rad/s: in this frame's axes it was 1.7 times as much, not 1.25."""
    travel, axis = np.array([0.5, -0.4, 1.5]), np.array([0.5, 0.3, 0.8]) / np.linalg.norm([0.5, 0.3, 0.8])
    assert scatter(np.r_[travel, 12 * axis]) < 1.5 * scatter(np.r_[travel, axis])


def test_a_translation_that_the_rotation_model_leaves_out_is_inside_its_covariance():
    velocity = np.array([0.4, 0.0, 0.0, 0.0, 0.8, 0.0])
    alignment = aligned(*image_pair(velocity), rotation(0, 0.8, 0), depth=WALL_DEPTH)
    error = np.r_[np.zeros(3), alignment.velocity.angular] - velocity
    assert abs(error[4]) > 0.1, "the shift looks like a turn"
    assert error @ np.linalg.solve(alignment.velocity.covariance, error) < 12.6, "95 % of χ² with 6 degrees of freedom"
    np.testing.assert_allclose(np.diag(alignment.velocity.covariance)[:3], 0.25)


def test_the_translation_of_a_camera_that_rotates_about_a_point_behind_it_is_not_taken_for_a_faster_rotation():
    """Seen through a long lens, a slide before a wall and a turn are all but the same. The point is known to 0.1 m."""
    velocity = camera_from_pivot(0.3) @ rotation(0.2, 0.8, 0.1)
    pair = image_pair(velocity)
    options = {"depth": WALL_DEPTH, "motion_model": "full", "linear_velocity_std": 0.005}
    about_the_point = aligned(*pair, velocity, lever_arm=0.3, **options).velocity
    about_itself = aligned(*pair, velocity, **options).velocity
    np.testing.assert_allclose(about_the_point.vector, velocity, atol=0.03)
    assert about_itself.angular[1] > about_the_point.angular[1] + 0.01


def rolled_image(start: float, rate: np.ndarray, change: np.ndarray, readout: float) -> np.ndarray:
    """(224, 320) uint8, taken at `start` s through a shutter that rolls, by a camera that turns faster and faster."""
    times = start + readout * ((np.arange(224) + 0.5) / 224 - 0.5)
    rotates = np.array([cv2.Rodrigues(rate * t + change * t**2 / 2)[0] for t in times])
    columns, rows = np.meshgrid(np.arange(320.0), np.arange(224.0))
    rays = np.stack([(columns - CAMERA.cx) / CAMERA.fx, (rows - CAMERA.cy) / CAMERA.fy, np.ones_like(rows)])
    x, y, z = np.einsum("rij,jrc->irc", rotates, rays)
    where = np.stack([CAMERA.fx * x / z + 160, CAMERA.fy * y / z + 112]).astype(np.float32)
    return cv2.remap(texture(3), *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize("seconds", [SECONDS, 6 * SECONDS])
def test_a_shutter_that_rolls_while_the_rotation_speeds_up_is_not_taken_for_a_roll(seconds):
    readout, mean = 0.02, np.array([0.0, 0.8, 0.0])
    change = np.array([0.0, 0.6 / seconds, 0.0])
    now, before = (rolled_image(at, mean, change, readout) for at in (seconds / 2, -seconds / 2))
    alignment = aligned(now, before, rotation(*mean), seconds=seconds)
    shear = readout * 0.6  # rad, of the bottom row against the top row: a third of it would look like a roll
    error = seconds * (alignment.velocity.angular - mean)
    assert not alignment.rejection
    assert np.abs(error).max() < 0.12 * shear
    assert error @ np.linalg.solve(seconds**2 * alignment.velocity.covariance[3:, 3:], error) < 7.8


@pytest.mark.parametrize("times", [1, 3, 6])
def test_depth_whose_tilt_may_be_wrong_is_put_right_in_part_and_widens_the_covariance(times):
    """Else part of what the shift does is taken for a turn: an error of the rate that no gap makes less."""
    velocity, seconds = np.array([0.3, 0.0, 0.0, 0.0, 0.3, 0.0]), times * SECONDS
    pair = image_pair(velocity, seconds=seconds)
    options = {"seconds": seconds, "motion_model": "full"}
    options["depth"] = WALL_DEPTH * np.exp(0.5 * np.linspace(-1, 1, COLUMNS))
    sure, unsure = (aligned(*pair, velocity, depth_log_std=std, **options).velocity for std in (0.0, 0.5))
    wrong, mended = (found.angular - velocity[3:] for found in (sure, unsure))
    assert np.linalg.norm(wrong) > 0.05
    assert times == 1 or np.linalg.norm(mended) < 0.7 * np.linalg.norm(wrong), "over one gap there is little parallax"
    assert mended @ np.linalg.solve(unsure.covariance[3:, 3:], mended) < 7.8
    assert times == 1 or wrong @ np.linalg.solve(sure.covariance[3:, 3:], wrong) > 7.8
    assert (np.abs(unsure.linear - velocity[:3]) < 2 * np.sqrt(np.diag(unsure.covariance)[:3])).all()


@pytest.mark.parametrize("dim", ["now", "before"])
def test_a_step_of_brightness_changes_neither_the_velocity_nor_its_covariance(dim):
    velocity, seconds = np.array([0.3, 0.0, 0.0, 0.0, 0.3, 0.0]), 3 * SECONDS
    now, before = image_pair(velocity, seconds=seconds)
    options = {"seconds": seconds, "motion_model": "full", "depth_log_std": 0.5}
    options["depth"] = WALL_DEPTH * np.exp(0.5 * np.linspace(-1, 1, COLUMNS))
    steady = aligned(now, before, velocity, **options).velocity
    pair = (now // 3, before) if dim == "now" else (now, before // 3)
    stepped = aligned(*pair, velocity, **options).velocity
    std, stepped_std = (np.sqrt(np.diag(v.covariance)) for v in (steady, stepped))
    assert (np.abs(stepped.vector - steady.vector) < 0.25 * std).all()
    assert (np.abs(np.log2(stepped_std / std)) < 0.9).all(), "grey values are rounded more coarsely, no more than that"


def test_points_of_unknown_depth_are_left_out():
    velocity = np.array([0.5, -0.4, 0.6, 0.4, -0.8, 0.7])
    depth = WALL_DEPTH.copy()
    depth[:, :30] = np.nan
    alignment = aligned(*image_pair(velocity), velocity, depth=depth, motion_model="full", linear_velocity_std=5.0)
    np.testing.assert_allclose(alignment.velocity.vector, velocity, atol=0.1)
    nothing = aligned(*image_pair(velocity), velocity, depth=np.full_like(depth, np.nan), motion_model="full")
    assert nothing.rejection.reason == Reason.UNKNOWN_DEPTH


def test_rays_are_undistorted():
    distorted = Camera(320, 224, 260.0, 260.0, 159.5, 111.5, "plumb_bob", (-0.3, 0.1, 0.0, 0.0, 0.0))
    pixels = np.indices((224, 320))[::-1].reshape(2, -1).T.astype(float)
    where = CAMERA.project(distorted.rays(pixels)).astype(np.float32).T.reshape(2, 224, 320)
    velocity = rotation(0.8, -1.2, 1.5)
    now, before = (cv2.remap(p, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT) for p in image_pair(velocity))
    exact = aligned(now, before, velocity, aligner=Aligner.of(distorted, STRIDE))
    np.testing.assert_allclose(exact.velocity.angular, velocity[3:], atol=0.05)
    ignored = aligned(now, before, velocity)
    assert np.linalg.norm(ignored.velocity.vector - velocity) > 2 * np.linalg.norm(exact.velocity.vector - velocity)


def test_a_thing_that_moves_on_its_own_does_not_pull():
    now, before = image_pair(rotation(0, 1.0, 0))
    now[60:160, 100:240] = before[60:160, 90:230]  # more than a fifth of the picture goes the other way
    alignment = aligned(now, before, rotation(0, 1.0, 0))
    np.testing.assert_allclose(alignment.velocity.angular, [0, 1.0, 0], atol=0.06)


def test_little_texture_gives_a_large_covariance():
    rng = np.random.default_rng(0)
    now, before = image_pair(rotation(0, 1.0, 0))
    strong = aligned(now, before, rotation(0, 1.0, 0))
    faded = [
        np.clip(128 + 0.12 * (p - 128.0) + rng.normal(0, 1, p.shape), 0, 255).astype(np.uint8) for p in (now, before)
    ]
    weak = aligned(*faded, rotation(0, 1.0, 0))
    assert weak.velocity.covariance[5, 5] > 3 * strong.velocity.covariance[5, 5]
    error = weak.velocity.angular - (0, 1.0, 0)
    assert error @ np.linalg.solve(weak.velocity.covariance[3:, 3:], error) < 7.8


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_errors_under_noise_stay_inside_the_covariance(seed):
    rng = np.random.default_rng(seed)
    angular = rng.uniform(-2, 2, 3)
    noisy = [
        np.clip(p + rng.normal(0, 12, p.shape), 0, 255).astype(np.uint8) for p in image_pair(rotation(*angular), seed)
    ]
    alignment = aligned(*noisy, rotation(*angular))
    error = alignment.velocity.angular - angular
    assert error @ np.linalg.solve(alignment.velocity.covariance[3:, 3:], error) < 16.3
    assert (np.linalg.eigvalsh(alignment.velocity.covariance) > 0).all()


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("lens cap", Reason.NO_TEXTURE),
        ("one colour", Reason.NO_TEXTURE),
        ("one image is dark", Reason.NO_TEXTURE),
        ("nothing in common", Reason.NO_MATCH),
        ("rotated out of sight", Reason.NO_MATCH),
        ("a second ago", Reason.OLD_FRAME),
    ],
)
def test_it_says_no_with_a_reason(case, reason):
    rng = np.random.default_rng(0)
    now, before = image_pair(rotation(0, 1.0, 0))
    seconds = SECONDS
    if case == "lens cap":
        now, before = (rng.normal(8, 3, (224, 320)).clip(0, 255).astype(np.uint8) for _ in range(2))
    elif case == "one colour":
        now = before = np.full((224, 320), 130, np.uint8)
    elif case == "one image is dark":
        before = np.zeros_like(before)
    elif case == "nothing in common":
        before = image_pair(rotation(0, 1.0, 0), seed=7)[0]
    elif case == "rotated out of sight":
        before = cv2.resize(texture(9)[:100, :140], (320, 224))
    else:
        seconds = 1.0
    assert aligned(now, before, rotation(0, 1.0, 0), seconds=seconds).rejection.reason == reason


@pytest.mark.parametrize("translation", [16, 32, 64, -32])
def test_a_pattern_that_repeats_is_not_trusted(translation):
    """A camera that slides along it by half a period or by whole ones, after which the pictures are equal."""
    columns, rows = np.meshgrid(np.arange(320), np.arange(224))

    def pattern(translation: float) -> np.ndarray:
        intensity = 128 + 60 * np.sin(2 * np.pi * (columns + translation) / 32) + 20 * np.sin(2 * np.pi * rows / 30)
        return np.rint(intensity).astype(np.uint8)

    rate = translation / CAMERA.fx / SECONDS
    near = np.full((ROWS, COLUMNS), 0.1)
    slide = np.array([0.1 * rate, 0, 0, 0, 0, 0])
    alignment = aligned(pattern(translation), pattern(0), slide, depth=near, motion_model="full")
    assert alignment.rejection.reason == Reason.AMBIGUOUS


def test_frames_up_to_the_longest_dt_are_compared():
    now, before = image_pair(rotation(0, 0.3, 0), seconds=SHARED.longest_dt)
    assert not aligned(now, before, rotation(0, 0.3, 0), seconds=SHARED.longest_dt).rejection


def test_colour_and_size_of_the_input_do_not_matter():
    now, before = image_pair(rotation(0.2, 1.0, -0.4))
    twice = Aligner.of(CAMERA.resize(640, 448), STRIDE)
    large = [cv2.cvtColor(cv2.resize(p, (640, 448)), cv2.COLOR_GRAY2RGB) for p in (now, before)]
    np.testing.assert_allclose(
        aligned(*large, rotation(0.2, 1.0, -0.4), aligner=twice).velocity.angular, [0.2, 1.0, -0.4], atol=0.03
    )


def test_starts_reach_as_far_as_the_blurs_length_may_be_wrong():
    blur = rotation(0, 2.0, 0)
    rates = starts_along(blur, None, 4.0)[:, 4]
    assert rates.max() == pytest.approx(8)
    assert rates.min() == pytest.approx(-8)
    assert 0 in rates
    assert np.abs(rates[rates != 0]).min() == pytest.approx(0.5)
    last = rotation(1.0, 0, 0)
    assert any((start == last).all() for start in starts_along(blur, last, 4.0))


def test_with_measured_depth_a_fast_translation_is_not_drawn_towards_rest():
    """1.5 m/s where 0.3 are expected: only a depth that may be wrong makes the prior on v matter."""
    velocity = np.array([1.5, 0.3, 0.0, 0.0, 0.3, 0.1])
    now, before = image_pair(velocity)
    options = {"depth": WALL_DEPTH, "motion_model": "full", "linear_velocity_std": 0.3}
    measured = aligned(now, before, velocity, **options).velocity
    np.testing.assert_allclose(measured.linear, velocity[:3], atol=0.1)
    error = measured.linear - velocity[:3]
    assert error @ np.linalg.solve(measured.covariance[:3, :3], error) < 11.3  # 99 % of χ²
    guessed = aligned(now, before, velocity, **options, depth_log_std=0.5).velocity
    assert np.linalg.norm(guessed.linear) < 0.9 * np.linalg.norm(measured.linear)


def test_two_blurs_differ_in_shape_by_a_share_of_their_length():
    now, before = image_pair(rotation(0.0, 0.5, 0.0))
    sharp, blurred = (
        aligned(now, before, rotation(0.0, 0.5, 0.0), blur_px=px).velocity.terms[Term.BLUR_SHAPE] for px in (0.5, 8.0)
    )
    np.testing.assert_allclose(np.diag(blurred)[3:], 16**2 * np.diag(sharp)[3:])
    displacement = np.sqrt(blurred[4, 4]) * SECONDS * CAMERA.fx
    assert displacement == pytest.approx(0.02 * 8)


def test_what_a_fit_knows_of_the_motion_it_knows_whatever_shear_gain_and_offset_are():
    root = np.random.default_rng(0).normal(size=(3 + NUISANCES, 20))
    normal, variance = root @ root.T, 2.5
    fit = Fit(normal[None], np.ones((1, 20)), np.zeros((1, 20)), np.array([variance]))
    covariance = variance * np.linalg.inv(normal)[:3, :3]
    np.testing.assert_allclose(np.linalg.inv(fit.information(0)), covariance)


def test_two_blurs_look_displaced_by_a_share_of_their_length_whatever_the_size_of_the_image():
    """2 % of 8 px at 320 px width."""
    for width in (160, 320, 640):
        wide = Camera(width, width, 0.8 * width, 0.8 * width, width / 2, width / 2)
        assert blur_shape_std(wide, 8.0) == pytest.approx(0.02 * 8 / 320 / 0.8)
