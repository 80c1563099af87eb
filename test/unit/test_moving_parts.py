"""What moves by itself is near, and near points tell v almost alone: the larger part of the scene has its say, too."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_two_view import CAMERA, SECONDS, WALKING, scene

from image_as_imu_ros import EstimatorConfig
from image_as_imu_ros.engine.config import EngineConfig
from image_as_imu_ros.estimation.alignment import (
    Alignment,
    MovingParts,
    Tracks,
    with_measured_tracks,
)
from image_as_imu_ros.estimation.alignment.moving_parts import Answer, choose
from image_as_imu_ros.estimation.constants import SIGN
from image_as_imu_ros.estimation.rejection import Reason, Rejection
from image_as_imu_ros.estimation.scene_depth import SceneDepth
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import Term, Velocity
from image_as_imu_ros.evaluation.envelope.cells import HAND
from image_as_imu_ros.evaluation.envelope.evaluate_cell import evaluate_cell
from image_as_imu_ros.evaluation.envelope.rendering import render_cell
from image_as_imu_ros.evaluation.open_engine import open_engine

REJECTED = Alignment(None, 0.0, 0.0, Rejection(Reason.NO_MATCH, "nothing matches"))
BY_ITSELF = np.array([-1.0, 0.6, 0.0, 0.0, 0.0, 0.0])  # m/s, of the near part relative to the room
EYE = np.eye(6)


def room(near: int, moving: bool, far: int = 140, seed: int = 0) -> tuple[Tracks, np.ndarray, np.ndarray]:
    """(tracks, measured inverse depth (N,), which are far) of a walk, with so many points at 0.6 m."""
    walls, depth = scene(WALKING, relief=0.3, count=far, seed=2 * seed)
    relative = WALKING - moving * BY_ITSELF
    scale = np.repeat([2.0 / 0.6, 1.0], 3)  # `scene` is 2 m away
    part, near_depth = scene(relative * scale, relief=0.02, count=near, seed=2 * seed + 1)
    pixels = (np.concatenate(pair) for pair in ((walls.now, part.now), (walls.before, part.before)))
    return Tracks(CAMERA, *pixels), 1 / np.concatenate([depth, 0.3 * near_depth]), np.arange(far + near) < far


def answer(of_room, parts_move=False, both=True, alignment=REJECTED, blur=0.0) -> Alignment:
    tracks, whole, far = of_room
    larger = np.where(far, whole, np.nan) if both else None
    travel = Travel(0.3, 0.0)
    return with_measured_tracks(alignment, tracks, SECONDS, whole, larger, parts_move, travel, blur)


def error(alignment) -> tuple[float, float]:
    """(m/s, NEES) of v."""
    apart = alignment.velocity.linear - WALKING[:3]
    return np.linalg.norm(apart), apart @ np.linalg.solve(alignment.velocity.covariance[:3, :3], apart)


def of_intensities(velocity, std=0.02, **attributes) -> Alignment:
    """An alignment of intensities."""
    measured = Velocity(velocity[:3], velocity[3:], {Term.DATA: std**2 * EYE})
    return Alignment(measured, 0.9, 0.9, None, Travel(0.3, 0.0), **attributes)


@pytest.fixture
def followed() -> Alignment:
    """An alignment of intensities that has followed the near part."""
    return of_intensities(WALKING - BY_ITSELF, std=0.005, difference=1.0)


class TestCorners:
    def test_a_near_part_that_moves_by_itself_does_not_take_the_velocity_with_it(self, followed):
        start = replace(followed, rejection=REJECTED.rejection)
        alone, both = (answer(room(40, moving=True), both=both, alignment=start) for both in (False, True))
        assert error(alone)[0] > 1.0, "the answer of all of the scene is the part's"
        assert both.parts_move
        assert error(both)[0] < 0.1
        assert error(both)[1] < SIGN.contradiction

    def test_a_near_part_that_rests_is_used(self):
        """It tells v better than anything else."""
        tracks, inverse_depth, far = room(40, moving=False)
        whole, larger = answer((tracks, inverse_depth, far)), answer((tracks, inverse_depth, far), parts_move=True)
        assert not whole.parts_move
        assert error(whole)[1] < SIGN.contradiction
        assert np.trace(whole.velocity.covariance[:3, :3]) < np.trace(larger.velocity.covariance[:3, :3])

    def test_where_parts_are_expected_to_move_and_the_larger_one_shows_too_few_corners_nothing_is_measured(self):
        assert answer(room(100, moving=False, far=20), parts_move=True) is REJECTED
        assert answer(room(100, moving=False, far=20)).accepted is not None

    def test_what_intensities_found_to_move_is_left_out(self):
        found = of_intensities(WALKING, parts_move=True, difference=20.0)
        assert answer(room(40, moving=False), alignment=found).parts_move
        unsure = replace(found, rejection=REJECTED.rejection)
        assert not answer(room(40, moving=False), alignment=unsure).parts_move, "an alignment elsewhere proves nothing"

    def test_intensities_that_followed_the_part_do_not_count(self, followed):
        """Where corners are smeared they would, if they were surer."""
        measured = answer(room(40, moving=True), alignment=followed, blur=10.0)
        assert measured.parts_move
        assert error(measured)[0] < 0.1

    def test_the_larger_difference_is_learnt_from_if_its_alignment_counts(self):
        alignment = of_intensities(WALKING, difference=9.0)
        assert answer(room(40, moving=False), alignment=alignment).difference == 9.0
        assert answer(room(100, moving=False, far=20), alignment=alignment).difference == 9.0
        rejected = replace(alignment, rejection=REJECTED.rejection)
        assert answer(room(40, moving=False), alignment=rejected).difference < 9.0


class TestMovingParts:
    def test_what_moved_in_the_frames_before_is_left_out_until_the_parts_agree_again(self, followed):
        parts, expected = MovingParts(), []
        start = replace(followed, rejection=REJECTED.rejection)
        for number in range(70):
            alignment = answer(room(40, moving=number < 8, seed=number), parts.expected, alignment=start)
            parts = parts.after(alignment.difference)
            expected.append(parts.expected)
        assert all(expected[2:12]), "what has just moved may move again"
        assert not any(expected[-20:])

    @given(st.lists(st.floats(0, 3) | st.none(), max_size=30))
    def test_one_frame_alone_is_not_enough_to_expect_more(self, squares):
        parts = MovingParts()
        for squared in squares:
            parts = parts.after(squared)
        assert not parts.after(1e6).expected

    def test_it_is_forgotten_where_nothing_tells(self):
        """Where depth shows one part only, is not measured, or nothing is aligned."""
        parts, frames = MovingParts(), 0
        for _ in range(20):
            parts = parts.after(1e6)
        while parts.expected:
            parts, frames = parts.after(None), frames + 1
        assert 15 < frames < 90, "half a second to three, at 30 Hz"

    @given(st.integers(0, 2**32 - 1))
    def test_answers_of_a_scene_at_rest_differ_by_no_more_than_chance(self, seed):
        """Of a part and of all, by least squares: the difference has the covariance Cₗ − C, less than Cₗ."""
        random = np.random.default_rng(seed)
        rows = random.standard_normal((60, 6))
        rows[20:] *= 0.3
        values = rows @ np.ones(6) + random.standard_normal((500, 60))
        whole, larger = (np.linalg.inv(part.T @ part) for part in (rows, rows[20:]))
        by_all, by_larger = values @ rows @ whole, values[:, 20:] @ rows[20:] @ larger
        squares = [
            choose(Answer(one, whole), Answer(other, larger), False).difference
            for one, other in zip(by_all, by_larger, strict=True)
        ]
        assert np.mean(squares) < 3.0
        assert np.mean(np.array(squares) > SIGN.contradiction) < 0.01


class TestChoice:
    ONE, OTHER = Answer(np.zeros(6), EYE), Answer(np.full(6, 10.0), EYE)

    def test_answers_that_agree(self):
        assert choose(self.ONE, self.ONE, False).answer is self.ONE
        assert not choose(self.ONE, self.ONE, False).parts_move

    def test_answers_that_contradict_each_other(self):
        assert choose(self.ONE, self.OTHER, False).answer is self.OTHER

    def test_one_answer_alone(self):
        assert choose(self.ONE, None, False).answer is self.ONE
        assert choose(self.ONE, None, True) is None
        assert choose(None, self.OTHER, False) is None
        assert choose(None, self.OTHER, True).answer is self.OTHER

    def test_a_difference_that_is_not_a_number_is_none(self):
        spoilt = Answer(np.full(6, np.nan), EYE)
        assert choose(self.ONE, spoilt, False).difference is None
        assert choose(self.ONE, spoilt, False).answer is self.ONE


class TestLargerPart:
    @pytest.mark.parametrize(("near_share", "larger_is"), [(0.3, 2.0), (0.7, 0.5)])
    def test_the_larger_of_two_parts_is_kept_whichever_is_nearer(self, near_share, larger_is):
        depth = np.full((10, 20), 2.0)
        depth[:, : round(near_share * 20)] = 0.5
        depth *= np.random.default_rng(0).uniform(0.97, 1.03, depth.shape)
        depth[0, 0] = depth[-1, -1] = np.nan
        larger = SceneDepth(depth, True, 0.0, 1.0).larger_part
        kept = np.isfinite(larger)
        assert kept.mean() == pytest.approx(max(near_share, 1 - near_share), abs=0.01)
        np.testing.assert_allclose(larger[kept], larger_is, rtol=0.04)

    @pytest.mark.parametrize(
        "scene_depth",
        [
            SceneDepth(np.full((4, 4), 2.0), True, 0.0, 1.0),
            SceneDepth(np.linspace(2.0, 2.2, 16).reshape(4, 4), True, 0.0, 1.0),
            SceneDepth(np.geomspace(0.5, 5.0, 16).reshape(4, 4), False, 0.5, None),
            SceneDepth(np.full((4, 4), np.nan), True, 0.0, 0.0),
            SceneDepth(None, False, 0.0, None),
        ],
        ids=["a wall", "a slanted wall", "a network's", "unknown", "none"],
    )
    def test_there_are_no_two_parts(self, scene_depth):
        assert scene_depth.larger_part is None


def test_the_velocity_is_the_cameras_in_a_room_where_a_fifth_of_the_view_moves_by_itself():
    """Rendered, seen by the shipped model: the part is at 0.6 m, the walls are at 2 m and more."""
    rendered = render_cell(replace(HAND, moving_share=0.2, frames=14, seed=14))
    with closing(open_engine(EngineConfig(threads=1))) as engine:
        auto = evaluate_cell(rendered, engine, EstimatorConfig(), ("measured",))[0]
    assert auto.aligned > 0.9
    assert auto.rmse_linear < 0.4
    assert auto.nees_linear < 6
    assert auto.rmse_angular < 0.2
