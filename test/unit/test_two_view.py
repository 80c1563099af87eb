"""Tracks of a translating camera tell its motion and the scene's shape; a depth map is needed for the scale alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
from test_alignment import ALIGNER

from image_as_imu_ros.estimation.alignment import Alignment, Tracks, with_measured_tracks, with_tracks
from image_as_imu_ros.estimation.alignment.epipolar import epipolar_pose
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.shape import Shape
from image_as_imu_ros.estimation.alignment.tracking import OVERLAPPING
from image_as_imu_ros.estimation.alignment.two_view import TwoView, two_view
from image_as_imu_ros.estimation.alignment.two_view_problem import Problem
from image_as_imu_ros.estimation.constants import ALIGNMENT, STRUCTURE
from image_as_imu_ros.estimation.rejection import Reason, Rejection
from image_as_imu_ros.estimation.scene_depth import polynomials
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import Term

CAMERA = ALIGNER.levels[0].camera
SECONDS = 0.1
REST = Poses.of(np.zeros((1, 6)))
NETWORK, SENSOR = Shape(0.4, 0.4, 16.0), Shape(0.02, 0.02, 16.0)
WALKING = np.array([0.4, -0.2, 0.8, 0.3, -0.5, 0.2])
SIDEWAYS = np.array([0.8, 0.1, 0.0, 0.1, 0.4, -0.2])


def scene(velocity, *, seed=0, count=150, noise=0.1, relief=0.6, outliers=0.0, rough=0.0):
    """(tracks, map (N,) m) of points 1 to 4 m away, seen by a camera that moved with (6,) (v, ω).

    The points' inverse depth is (1 + `rough`·n) times the map's: a network foretells the mean of what it cannot see.
    """
    random = np.random.default_rng(seed)
    pixels = random.uniform((5, 5), (CAMERA.width - 5, CAMERA.height - 5), (3 * count, 2))
    of_map = 2.0 * np.exp(random.uniform(-relief, relief, len(pixels)))
    depth = of_map / (1 + np.clip(rough * random.standard_normal(len(pixels)), -0.7, None))
    pose = Poses.of(velocity[None] * SECONDS)
    rays = np.column_stack([CAMERA.rays(pixels), np.ones(len(pixels))])
    points = depth[:, None] * rays @ pose.rotation[0].T + pose.translation[0]
    before = CAMERA.project(points[:, :2] / points[:, 2:]) + noise * random.standard_normal(pixels.shape)
    wrong = random.random(len(pixels)) < outliers
    before[wrong] += random.uniform(-15, 15, (wrong.sum(), 2))
    seen = ((before >= 0) & (before < (CAMERA.width, CAMERA.height))).all(1) & (points[:, 2] > 0.2)
    return Tracks(CAMERA, pixels[seen][:count], before[seen][:count]), of_map[seen][:count]


def solved(tracks, depth, shape) -> TwoView:
    starts = [pose for pose in (REST, epipolar_pose(tracks, 1 / depth)) if pose is not None]
    return two_view(tracks, 1 / depth, Poses.concatenated(starts), shape, 3.0 * SECONDS)


def angle(a, b) -> float:
    """Between two vectors, °."""
    return np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))


@pytest.mark.parametrize(("velocity", "map_is"), [(WALKING, "flat"), (SIDEWAYS, "flat"), (WALKING, "of another room")])
def test_a_map_of_the_wrong_shape_still_gives_the_rotation_and_where_the_camera_goes(velocity, map_is):
    tracks, depth = scene(velocity)
    wrong = np.full_like(depth, 2.0) if map_is == "flat" else np.roll(depth, 50)
    motion = solved(tracks, wrong, NETWORK).motion / SECONDS
    assert angle(motion[:3], velocity[:3]) < 5
    np.testing.assert_allclose(motion[3:], velocity[3:], atol=0.05)
    assert np.linalg.norm(motion[:3]) == pytest.approx(np.linalg.norm(velocity[:3]), rel=0.15)


def test_smooth_errors_of_a_map_have_no_mean_and_nothing_in_common():
    """So that they change neither the scale nor each other."""
    middles = (np.arange(400) + 0.5) / 200 - 1
    place = np.stack(np.meshgrid(middles, middles), -1).reshape(-1, 2)
    values = polynomials(place)
    np.testing.assert_allclose(values.mean(0), 0, atol=1e-4)
    products = values.T @ values / len(values)
    np.testing.assert_allclose(products, np.diag([1 / 3, 1 / 3, 1 / 5, 1 / 4, 1 / 5]), atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_pose_by_epipolar_lines_is_as_long_as_the_depths_say(scale):
    tracks, depth = scene(WALKING, noise=0.02)
    pose = epipolar_pose(tracks, 1 / (scale * depth))
    expected = Poses.of(WALKING[None] * SECONDS)
    np.testing.assert_allclose(pose.translation, scale * expected.translation, atol=0.003)
    np.testing.assert_allclose(pose.rotation, expected.rotation, atol=0.003)


def of_log_normal(log_std: float) -> float:
    """E[(e^ε − 1)²], ε ~ N(0, log_std²)."""
    return np.exp(2 * log_std**2) - 2 * np.exp(log_std**2 / 2) + 1


def test_where_depth_is_a_networks_v_errs_by_its_scale_and_its_errors_by_that_too():
    tracks, depth = scene(WALKING)
    rejected = Alignment(None, 0.0, 0.0, Rejection(Reason.NO_MATCH, "nothing matches"))
    common = rejected, tracks, SECONDS, depth, np.arange(len(depth))
    usual, unsure = (with_tracks(*common, std, Travel(0.3, 0.0), 0.0).velocity for std in (0.0, 1.0))
    for velocity, log_std in ((usual, STRUCTURE.scale_std), (unsure, 1.0)):
        expected = of_log_normal(log_std) * np.outer(velocity.linear, velocity.linear)
        np.testing.assert_allclose(velocity.terms[Term.DEPTH_SCALE][:3, :3], expected)
        assert not velocity.terms[Term.DEPTH_SCALE][3:].any()
    larger = np.exp(2 * (1.0**2 - STRUCTURE.scale_std**2))
    of_data = (velocity.terms[Term.DATA][:3, :3] for velocity in (usual, unsure))
    np.testing.assert_allclose(larger * next(of_data), next(of_data))


def test_where_depth_is_measured_v_errs_by_what_the_sensor_may():
    tracks, depth = scene(WALKING)
    rejected = Alignment(None, 0.0, 0.0, Rejection(Reason.NO_MATCH, "nothing matches"))
    answer = with_measured_tracks(rejected, tracks, SECONDS, 1 / depth, None, False, Travel(0.3, 0.0), 0.0)
    linear = answer.velocity.linear
    expected = of_log_normal(ALIGNMENT.measured_depth_std) * np.outer(linear, linear)
    np.testing.assert_allclose(answer.velocity.terms[Term.DEPTH_SCALE][:3, :3], expected)


def test_a_map_of_the_right_shape_and_half_the_size_gives_half_the_velocity():
    tracks, depth = scene(WALKING)
    full, half = (solved(tracks, scale * depth, NETWORK).motion for scale in (1.0, 0.5))
    np.testing.assert_allclose(half[:3], full[:3] / 2, rtol=0.1)
    np.testing.assert_allclose(half[3:], full[3:], atol=0.003)


@pytest.mark.parametrize("velocity", [WALKING, SIDEWAYS])
def test_measured_depth_gives_the_velocity_though_a_third_of_the_tracks_is_wrong(velocity):
    tracks, depth = scene(velocity, outliers=0.33)
    fit = solved(tracks, depth, SENSOR)
    np.testing.assert_allclose(fit.motion / SECONDS, velocity, atol=0.04)
    assert fit.share < 0.85


@pytest.mark.parametrize(("velocity", "shape"), [(WALKING, NETWORK), (SIDEWAYS, NETWORK), (WALKING, SENSOR)])
def test_errors_are_inside_the_covariance(velocity, shape):
    squared = []
    for seed in range(40):
        fit = solved(*scene(velocity, seed=seed, rough=shape.rough), shape)
        error = fit.motion - velocity * SECONDS
        squared.append(error @ np.linalg.solve(fit.covariance, error))
    assert 0.1 < np.mean(squared) < 6, "six unknowns; tracks that share no error are surer than the covariance says"


def test_at_rest_a_camera_is_as_sure_as_its_tracks_are():
    """As a standstill it is worth what sharp images show: tracks of still corners err by hundredths of a pixel."""
    sigmas = []
    for noise in (0.1, 0.02):
        fit = solved(*scene(np.zeros(6), noise=noise), NETWORK)
        assert fit.motion @ np.linalg.solve(fit.covariance, fit.motion) < 6
        sigmas.append(np.sqrt(np.diag(fit.covariance)))
    np.testing.assert_allclose(sigmas[0] / sigmas[1], 5.0, rtol=0.2)


def test_errors_of_a_fast_rotation_are_in_the_axes_that_the_covariance_is_in():
    """From this frame to halfway it is 23° at 8 rad/s: with a covariance in this frame's axes NEES was 7.9, not 4.8."""
    shape, squared = Shape(0.1, 0.1, 1.0), {1.0: [], 8.0: []}
    for rate, of_rate in squared.items():
        velocity = np.array([0.6, -0.2, 0.8, 0.0, 0.0, 0.0])
        velocity[3:] = rate * np.array([0.4, -0.4, 0.8]) / np.linalg.norm([0.4, -0.4, 0.8])
        for seed in range(100):
            tracks, depth = scene(velocity, seed=seed, noise=0.3, rough=0.1)
            start = Poses.of(velocity[None] * SECONDS)
            fit = two_view(tracks, 1 / depth, start, shape, 1.0)
            error = fit.motion - velocity * SECONDS
            of_rate.append(error @ np.linalg.solve(fit.covariance, error))
    assert np.mean(squared[8.0]) < 1.3 * np.mean(squared[1.0])


def test_a_covariance_of_small_motions_is_rotated_as_the_motion_errs_by_them():
    """Held against differences of the motion itself, v and ω together."""
    motion = np.array([0.03, -0.02, 0.05, 0.3, -0.2, 0.4])
    pose, step = Poses.of(motion[None]), 1e-6
    by_small = np.stack([(pose.moved(step * one[None]).motions()[0] - motion) / step for one in np.eye(6)], 1)
    covariance = np.diag([1.0, 0.01, 0.3, 0.02, 1.0, 0.1]) + 0.05
    found = pose.halfway(covariance[None])[0]
    np.testing.assert_allclose(found, by_small @ covariance @ by_small.T, atol=0.04)
    assert np.abs(found - covariance).max() > 0.2


def test_measured_depth_that_is_worse_than_believed_widens_the_covariance():
    squared, sizes = [], []
    for rough in (0.02, 0.15):
        of_one = []
        for seed in range(40):
            fit = solved(*scene(WALKING, seed=seed, rough=rough), replace(SENSOR, shared=1.0))
            error = fit.motion - WALKING * SECONDS
            of_one.append(error @ np.linalg.solve(fit.covariance, error))
            sizes.append(np.linalg.slogdet(fit.covariance)[1] / 12)
        squared.append(np.mean(of_one))
    assert np.mean(sizes[40:]) - np.mean(sizes[:40]) > np.log(1.5)
    assert max(squared) < 3 * 6, "six unknowns; each track has an error of its own"


def test_what_a_track_errs_by_itself_only_overlapping_patches_share():
    """So the covariance of a rotation before a far scene, where no map matters, is in proportion to their number."""
    tracks, depth = scene(np.array([0, 0, 0, 0.3, -0.5, 0.2]))
    all_common, none = (
        two_view(tracks, np.full_like(depth, 1e-6), REST, NETWORK, 3.0 * SECONDS, common_std=std).covariance[3:, 3:]
        for std in (math.inf, 0.0)
    )
    np.testing.assert_allclose(np.diag(all_common) / np.diag(none), NETWORK.shared / OVERLAPPING, rtol=0.2)


def test_half_of_an_error_may_be_common():
    tracks, depth = scene(WALKING)
    problem = Problem.of(tracks, 1 / depth, NETWORK, 1.0, common_std=0.3)
    variances = np.array([[[0.25], [1.0]]])  # across, and along with what the map errs by
    np.testing.assert_allclose(
        problem.sharing(variances, np.array([0.5]))[0, :, 0],
        [(0.09 * 16 + 0.16 * OVERLAPPING) / 0.25, (0.84 * 16 + 0.16 * OVERLAPPING) / 1.0],
    )


@pytest.mark.parametrize("velocity", [WALKING, SIDEWAYS, 3 * WALKING])
def test_covariances_are_honest_where_corners_err_alone_and_maps_by_region(velocity):
    """A map that is too near or too far in each of 4 × 3 parts of the image, as a network's is expected to be."""
    squared, sizes = [], []
    for seed in range(40):
        random = np.random.default_rng(seed)
        tracks, depth = scene(velocity, seed=seed, relief=0.3)
        column, row = (tracks.now / (CAMERA.width, CAMERA.height) * (4, 3)).astype(int).T
        of_map = depth * np.exp(0.25 * random.standard_normal(12))[column + 4 * row]
        starts, of_network = Poses.of(velocity[None] * SECONDS), Shape(0.3, 0.25, 16.0)
        fits = [two_view(tracks, 1 / of_map, starts, of_network, 1.0, common_std=std) for std in (0.0, math.inf)]
        errors = [(fit.motion - velocity * SECONDS)[3:] for fit in fits]
        squared.append(errors[0] @ np.linalg.solve(fits[0].covariance[3:, 3:], errors[0]))
        sizes.append([error @ error for error in errors])
    alone, all_common = np.sqrt(np.mean(sizes, 0))
    assert 0.2 < np.mean(squared) < 3.5, "of three unknowns"
    assert alone < 1.01 * all_common, "what overlaps too little to share an error counts for more"


def test_before_a_wall_a_rotation_and_a_slide_stay_coupled():
    slide = np.array([0.5, 0, 0, 0, 0, 0])
    tracks, depth = scene(slide, relief=0.0, noise=0.3)
    fit = solved(tracks, depth, NETWORK)
    sigma = np.sqrt(np.diag(fit.covariance)) / SECONDS
    assert sigma[0] > 0.1
    assert sigma[4] > 0.05
    correlation = fit.covariance[0, 4] / np.sqrt(fit.covariance[0, 0] * fit.covariance[4, 4])
    assert abs(correlation) > 0.9
    error = fit.motion / SECONDS - slide
    assert (np.abs(error) < 3 * sigma).all()


def test_where_the_camera_only_turns_relief_that_may_not_be_there_proves_less():
    ratios = []
    for seed in range(10):
        tracks, depth = scene(np.array([0, 0, 0, 0, 0.6, 0]), noise=0.3, seed=seed)
        network, sensor = (np.diag(solved(tracks, depth, shape).covariance)[:3] for shape in (NETWORK, SENSOR))
        ratios.append(np.sqrt(network / sensor))
    assert (np.mean(ratios, 0) > 1.1).all(), "of v: a sensor's relief is there"


@pytest.mark.parametrize("of_sensor", [False, True])
@pytest.mark.parametrize(("count", "measured"), [(20, False), (80, True)])
def test_a_handful_of_tracks_is_no_measurement(count, measured, of_sensor):
    tracks, _ = scene(WALKING, count=count)
    rejected = Alignment(None, 0.0, 0.0, Rejection(Reason.NO_MATCH, "nothing matches"))
    travel = Travel(0.3, 0.0)
    common, depth = (rejected, tracks, SECONDS), np.full(len(tracks), 2.0)
    if of_sensor:
        alignment = with_measured_tracks(*common, 1 / depth, None, False, travel, 0.0)
    else:
        alignment = with_tracks(*common, depth, np.arange(len(depth)), 0.5, travel, 0.0)
    assert (alignment.accepted is not None) == measured
