"""Where a translation explains the tracks as well as a rotation, neither is sure."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_two_view import SECONDS, scene

from image_as_imu_ros.estimation.alignment import Alignment, with_tracks
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.shape import Shape
from image_as_imu_ros.estimation.alignment.slides import Slide, find_slide, slide_probability, starting_poses
from image_as_imu_ros.estimation.alignment.tracking import Tracks
from image_as_imu_ros.estimation.alignment.two_view import two_view
from image_as_imu_ros.estimation.constants import STRUCTURE
from image_as_imu_ros.estimation.rejection import Reason, Rejection
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import Term, Velocity
from image_as_imu_ros.geometry.camera import Camera

RATE = np.array([0.0, 0.0, 0.0, 0.0, 0.1, 0.0])  # rad/s
NOISE = 0.1  # px


def rotated(focal: float) -> tuple[Tracks, np.ndarray]:
    """Tracks of a camera that rotated by RATE, and the depths of a map."""
    random, wide = np.random.default_rng(0), Camera(320, 224, focal, focal, 159.5, 111.5)
    pixels = random.uniform((5, 5), (315, 219), (150, 2))
    rays = np.column_stack([wide.rays(pixels), np.ones(len(pixels))]) @ Poses.of(RATE[None] * SECONDS).rotation[0].T
    before = wide.project(rays[:, :2] / rays[:, 2:]) + random.normal(0, NOISE, pixels.shape)
    return Tracks(wide, pixels, before), random.uniform(1.5, 2.5, len(pixels))


@pytest.mark.parametrize("slide", [[0.8, 0, 0, 0, 0, 0], [0.5, -0.4, 0.3, 0, 0, 0.2], [0, 0.7, 0, 0, 0, -0.2]])
@pytest.mark.parametrize("map_error", [0.0, 0.4])
def test_a_slide_is_found_whatever_the_shape_of_the_map(slide, map_error):
    """Depths that are wrong, tilted or not, move the tracks along their epipolar lines: the fit does not see them."""
    slide = np.array(slide, float)
    tracks, depth = scene(slide, relief=0.3, count=200, noise=0.02)
    tilted = depth * np.exp(map_error * (tracks.now[:, 0] / 160 - 1))
    found = find_slide(tracks, 1 / tilted).motion / SECONDS
    np.testing.assert_allclose(found[3:], slide[3:], atol=0.03)
    np.testing.assert_allclose(found[:3] / np.linalg.norm(found[:3]), slide[:3] / np.linalg.norm(slide[:3]), atol=0.03)
    assert np.linalg.norm(found[:3]) == pytest.approx(np.linalg.norm(slide[:3]), rel=0.02 + map_error / 2)


@pytest.mark.parametrize("spread", [0.0, 1e-9, 100.0])
def test_tracks_that_determine_no_slide_are_said_to(spread):
    """All at one place, or at rest to the last digit: a number that is none never reaches a covariance."""
    pixels = np.array([160.0, 100.0]) + spread * np.random.default_rng(0).uniform(-1, 1, (30, 2))
    camera = Camera(320, 224, 272.0, 272.0, 159.5, 111.5)
    for moved in (0.0, 1.0):
        try:
            slide = find_slide(Tracks(camera, pixels, pixels + moved), np.full(30, 0.5))
        except np.linalg.LinAlgError:
            continue
        assert np.isfinite(slide.motion).all()
        assert np.isfinite(slide.covariance).all()


def test_what_slides_need_across_grows_with_the_view():
    """A rotation bends the paths of points, by the square of the angle: only a wide view tells it from a slide."""
    (wide, depth), (narrow, _) = rotated(160.0), rotated(800.0)
    assert find_slide(wide, 1 / depth).std > 2 * NOISE
    assert find_slide(narrow, 1 / depth).std < 1.3 * NOISE


@pytest.mark.parametrize(("focal", "sure"), [(160.0, True), (800.0, False)])
def test_a_rotation_is_sure_where_no_slide_explains_it(focal, sure):
    tracks, depth = rotated(focal)
    slide = find_slide(tracks, 1 / depth)
    probability = slide_probability(slide, len(tracks), NOISE, 0.5, SECONDS)
    added = probability * slide.second_moment(RATE * SECONDS, 0.0)[4, 4] / SECONDS**2
    assert (math.sqrt(added) < 0.2 * RATE[4]) == sure
    assert (math.sqrt(added) > 0.4 * RATE[4]) == (not sure)


def test_a_slide_that_was_taken_for_a_rotation_is_within_the_covariance():
    """Past a wall: the map may bend as it likes, and a fit that says "rotation" may be wrong by all of it."""
    tracks, depth = scene(np.array([0.8, 0.0, 0.0, 0.0, 0.0, 0.0]), relief=0.05, count=200, noise=NOISE)
    slide = find_slide(tracks, 1 / depth)
    probability = slide_probability(slide, len(tracks), NOISE, 0.5, SECONDS)
    assert probability > 0.3
    moment = slide.second_moment(np.array([0, 0, 0, 0, 0.4, 0]) * SECONDS, 0.5) / SECONDS**2
    assert math.sqrt(moment[4, 4]) == pytest.approx(0.4, rel=0.1)
    assert math.sqrt(moment[0, 0]) == pytest.approx(math.hypot(0.8, 0.5 * 0.8), rel=0.1), "and the depth's scale"
    assert moment[4, 0] < 0, "too little translation to the right is too much rotation to the right"


@pytest.mark.parametrize("blur", [0.0, 8.0], ids=["sharp", "smeared"])
def test_whether_corners_or_intensities_measured_it_the_camera_may_have_slid(blur):
    """Where corners are smeared, the dense alignment is the answer: it cannot tell the two apart any better."""
    slid, rotated = np.array([0.8, 0, 0, 0, 0, 0]), np.array([0.0, 0, 0, 0, 0.38, 0])
    tracks, depth = scene(slid, relief=0.05, count=200, noise=NOISE)
    dense = Velocity(rotated[:3], rotated[3:], {Term.DATA: np.diag([0.3, 0.3, 0.3, 0.1, 0.1, 0.1]) ** 2})
    alignment = Alignment(dense, 0.9, 0.9, None)
    answer = with_tracks(alignment, tracks, SECONDS, depth, np.arange(len(depth)), 0.3, Travel(0.3, 0.0), blur)
    assert (answer.velocity.vector == dense.vector).all() == (blur > 0)
    error = answer.velocity.angular[1] - slid[4]
    assert error**2 < 9 * answer.velocity.covariance[4, 4]
    assert answer.travel.slides > 0.3


def test_of_two_answers_alike_the_one_whose_start_was_probable_counts_more():
    """Of a scene of little relief, and noise, each start finds an answer of its own: what was before them decides."""
    rotation = np.array([0, 0, 0, 0, 0.4, 0])
    tracks, depth = scene(rotation, relief=0.1, rough=0.3, noise=0.5, count=40)
    slide, velocity = find_slide(tracks, 1 / depth), Velocity(rotation[:3], rotation[3:], {})
    of_map, rates = Shape(STRUCTURE.smooth_std, STRUCTURE.rough_std, STRUCTURE.correlated_tracks), []
    for slides in (0.01, 0.5, 0.99):
        starts, probability = starting_poses(velocity, slide, slides, SECONDS)
        assert probability.tolist() == [1 - slides, slides]
        fit = two_view(tracks, 1 / depth, starts, of_map, 3.0 * SECONDS, probability)
        rates.append(fit.motion[4] / SECONDS)
    assert rates[0] > rates[1] + 0.01 > rates[2] + 0.02

    alignment = Alignment(replace(velocity, terms={Term.DATA: 0.01 * np.eye(6)}), 0.9, 0.9, None)
    common = alignment, tracks, SECONDS, depth, np.arange(len(depth)), 0.3
    rotated, open_ = (
        with_tracks(*common, replace(Travel(0.3, 0.0), slides=before), 0.0).velocity.angular[1] for before in (0.0, 0.5)
    )
    assert rotated > open_


@pytest.mark.parametrize("angular", [(0.0, 0.02, 0.0), (0.02, 0.0, 0.0), (0.01, -0.02, 0.5)])
def test_a_slide_like_a_rotation_moves_the_middle_of_a_scene_as_that_does(angular):
    motion = np.array([0.01, 0.02, 0.03, *angular])
    slide = Slide.like(motion, np.eye(6), 2.0)
    point = np.array([0.0, 0.0, 2.0])
    of_motion, of_slide = (
        (one.rotation[0] @ point + one.translation[0])[:2] for one in map(Poses.of, (motion[None], slide.motion[None]))
    )
    np.testing.assert_allclose(of_slide, of_motion, atol=0.05 * 2.0 * 0.02)
    assert slide.motion[3:5].tolist() == [0, 0]


@pytest.mark.parametrize("count", [0, 20])
def test_nor_can_intensities_alone_tell_a_slide_from_a_rotation(count):
    """Where corners are too few to tell, or there are none. A camera that rotated a moment ago hardly slides now."""
    tracks, _ = scene(np.array([0.8, 0, 0, 0, 0, 0]), relief=0.05, count=count, noise=NOISE)
    dense = Velocity(np.zeros(3), np.array([0.1, 0.4, 0.2]), {Term.DATA: 0.01 * np.eye(6)})
    probabilities = []
    for before in (0.5, 0.01):
        travel = replace(Travel(0.3, 0.0), slides=before)
        flat, cells = np.full((8, 8), 2.0), np.arange(count)
        answer = with_tracks(Alignment(dense, 0.9, 0.9, None), tracks, SECONDS, flat, cells, 0.3, travel, 0.0)
        assert (answer.velocity.vector == dense.vector).all()
        probabilities.append(answer.travel.slides)
        of_slide = answer.velocity.covariance - dense.covariance
        variances = answer.travel.slides * np.square([0.1, 0.4, 0.0])
        assert (np.diag(of_slide)[3:] >= variances).all()
        assert of_slide[4, 0] == pytest.approx(-answer.travel.slides * 0.4 * 2.0 * 0.4, rel=0.3), "to the right"
    assert probabilities[0] == 0.5
    assert 0.01 < probabilities[1] < 0.4
    rejected = Alignment(None, 0.0, 0.0, Rejection(Reason.NO_MATCH, "nothing matches"))
    assert with_tracks(rejected, tracks, SECONDS, flat, cells, 0.3, travel, 0.0) is rejected


def test_wrong_tracks_do_not_hide_a_slide():
    velocity = np.array([0.8, 0.0, 0.0, 0.0, 0.0, 0.0])
    tracks, depth = scene(velocity, relief=0.05, noise=NOISE, outliers=0.2)
    slide = find_slide(tracks, 1 / depth)
    np.testing.assert_allclose(slide.motion / SECONDS, velocity, atol=0.1)
    assert slide.std < 1.7 * NOISE


def slide_with(std: float) -> Slide:
    return Slide(np.zeros(6), np.zeros((6, 6)), std)


def test_a_camera_that_turned_a_moment_ago_hardly_slides_now():
    """A frame that tells nothing leaves it at that, for a while; one that tells, tells at once."""
    silent, turning = slide_with(NOISE), slide_with(10 * NOISE)
    assert slide_probability(silent, 100, NOISE, 0.0, 1 / 30) < 0.2
    assert slide_probability(silent, 100, NOISE, 0.0, 10.0) == pytest.approx(0.5)
    # Of two states that are left at a rate of 5/s, the other one has become as probable as this after 1/(2·5) s by 1/e.
    assert slide_probability(silent, 100, NOISE, 0.0, 0.1) == pytest.approx(0.5 * (1 - math.exp(-1)))
    assert slide_probability(turning, 100, NOISE, 0.5, 1 / 30) < 1e-6


@given(
    std=st.floats(0, 1e6), fitted=st.floats(STRUCTURE.least_std, 1e3), before=st.floats(0, 0.5), gap=st.floats(0, 1e3)
)
def test_a_slide_is_never_likelier_than_the_motion(std, fitted, before, gap):
    assert 0 <= slide_probability(slide_with(std), 150, fitted, before, gap) <= 0.5


@pytest.mark.parametrize("velocity", [np.zeros(6), np.array([0, 0, 1.0, 0, 0, 0])], ids=["at rest", "straight on"])
def test_no_translation_and_no_sideways_one_are_slides_too(velocity):
    tracks, depth = scene(velocity, noise=0.0)
    slide = find_slide(tracks, 1 / depth)
    np.testing.assert_allclose(slide.motion / SECONDS, velocity, atol=1e-3)
    assert np.isfinite(slide.covariance).all()


def test_tracks_that_do_not_move_at_all_are_a_slide_of_no_length():
    tracks, depth = scene(np.zeros(6))
    slide = find_slide(Tracks(tracks.camera, tracks.now, tracks.now), 1 / depth)
    np.testing.assert_allclose(slide.motion, 0, atol=1e-12)
    assert np.isfinite(slide.covariance).all()
