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
from image_as_imu_ros.estimation.alignment import Alignment, Tracks, Travel, with_measured_tracks
from image_as_imu_ros.estimation.alignment.epipolar import EpipolarGeometry
from image_as_imu_ros.estimation.alignment.moving_parts import Answer, MovingParts
from image_as_imu_ros.estimation.constants import SIGN
from image_as_imu_ros.estimation.rejection import Reason, Rejection
from image_as_imu_ros.estimation.scene_depth import SceneDepth
from image_as_imu_ros.evaluation.engines import open_engine
from image_as_imu_ros.evaluation.envelope.cells import HAND
from image_as_imu_ros.evaluation.envelope.evaluation import evaluate_cell
from image_as_imu_ros.evaluation.envelope.rendering import render_cell

REJECTED = Alignment(None, 0.0, 0.0, Rejection(Reason.NO_MATCH, "nothing matches"))
BY_ITSELF = np.array([-1.0, 0.6, 0.0, 0.0, 0.0, 0.0])  # m/s, of the near part relative to the room


def room(near: int, moving: bool) -> tuple[Tracks, np.ndarray, np.ndarray]:
    """(tracks, measured inverse depth (N,), which are far) of a walk, with so many points at 0.6 m."""
    far, depth = scene(WALKING, relief=0.3, count=140)
    relative = WALKING - moving * BY_ITSELF
    scale = np.repeat([2.0 / 0.6, 1.0], 3)  # `scene` is 2 m away
    part, near_depth = scene(relative * scale, relief=0.02, count=near, seed=1)
    pixels = (np.concatenate(pair) for pair in ((far.now, part.now), (far.before, part.before)))
    return Tracks(CAMERA, *pixels), 1 / np.concatenate([depth, 0.3 * near_depth]), np.arange(140 + near) < 140


def answer(near, moving, travel=None, both=True) -> Alignment:
    tracks, whole, far = room(near, moving)
    larger = np.where(far, whole, np.nan) if both else None
    if travel is not None and travel.parts.expected:
        whole, larger = larger, whole
    epipolar = EpipolarGeometry.of(tracks, thorough=True)
    travel = travel or Travel.unknown(0.3, 0.0)
    return with_measured_tracks(REJECTED, tracks, epipolar, SECONDS, whole, larger, travel, 0.0)


def error(alignment) -> tuple[float, float]:
    """(m/s, NEES) of v."""
    apart = alignment.velocity.linear - WALKING[:3]
    return np.linalg.norm(apart), apart @ np.linalg.solve(alignment.velocity.covariance[:3, :3], apart)


def test_a_near_part_that_moves_by_itself_does_not_take_the_velocity_with_it():
    alone, both = answer(40, moving=True, both=False), answer(40, moving=True)
    assert error(alone)[0] > 1.0, "the answer of all of the scene is the part's"
    assert both.parts_move
    assert error(both)[0] < 0.1
    assert error(both)[1] < SIGN.contradiction


def test_a_near_part_that_rests_is_used():
    """It tells v better than anything else."""
    whole = answer(40, moving=False)
    assert not whole.parts_move
    assert error(whole)[1] < SIGN.contradiction
    tracks, inverse_depth, far = room(40, moving=False)
    tracks, inverse_depth = tracks.select(far), inverse_depth[far]
    epipolar = EpipolarGeometry.of(tracks, thorough=True)
    larger = with_measured_tracks(
        REJECTED, tracks, epipolar, SECONDS, inverse_depth, None, Travel.unknown(0.3, 0.0), 0.0
    )
    assert np.trace(whole.velocity.covariance[:3, :3]) < np.trace(larger.velocity.covariance[:3, :3])


def test_what_moved_in_the_frames_before_is_left_out_until_the_parts_agree_again():
    travel = Travel.unknown(0.3, 0.0)
    frames = []
    for moving in [True] * 8 + [False] * 40:
        alignment = answer(40, moving, travel)
        travel = alignment.travel
        frames.append(alignment.parts_move)
    assert all(frames[:9]), "what has just moved may move again"
    assert not any(frames[-10:])


@given(st.lists(st.floats(0, 1e6), max_size=30))
def test_one_frame_alone_is_not_enough_to_expect_more(squares):
    parts = MovingParts()
    for squared in squares:
        parts = parts.after(min(squared, 3.0))
    assert not parts.after(1e6).expected


@given(st.integers(0, 2**32 - 1))
def test_answers_of_a_scene_at_rest_differ_by_no_more_than_chance(seed):
    """Of a part and of all, by least squares: the difference has the covariance Cₗ − C, less than Cₗ."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((60, 6))
    rows[20:] *= 0.3
    values = rows @ np.ones(6) + random.standard_normal((500, 60))
    whole, larger = (np.linalg.inv(part.T @ part) for part in (rows, rows[20:]))
    by_all, by_larger = values @ rows @ whole, values[:, 20:] @ rows[20:] @ larger
    squares = [
        MovingParts().difference(Answer(one, whole), Answer(other, larger))
        for one, other in zip(by_all, by_larger, strict=True)
    ]
    assert np.mean(squares) < 3.0
    assert np.mean(np.array(squares) > SIGN.contradiction) <= 0.004


@pytest.mark.parametrize(("near_share", "larger_is"), [(0.3, 2.0), (0.7, 0.5)])
def test_the_larger_of_two_parts_is_kept_whichever_is_nearer(near_share, larger_is):
    depth = np.full((10, 20), 2.0)
    depth[:, : round(near_share * 20)] = 0.5
    depth *= np.random.default_rng(0).uniform(0.97, 1.03, depth.shape)
    depth[0, 0] = depth[-1, -1] = np.nan
    larger = SceneDepth(depth, True, 0.0, 1.0).larger_part().depth
    kept = np.isfinite(larger)
    assert kept.mean() == pytest.approx(max(near_share, 1 - near_share), abs=0.01)
    np.testing.assert_allclose(larger[kept], larger_is, rtol=0.04)


@pytest.mark.parametrize(
    "scene_depth",
    [
        SceneDepth(np.full((4, 4), 2.0), True, 0.0, 1.0),
        SceneDepth(np.linspace(2.0, 2.2, 16).reshape(4, 4), True, 0.0, 1.0),
        SceneDepth(np.geomspace(0.5, 5.0, 16).reshape(4, 4), False, 0.5, None),
        SceneDepth(np.where(np.eye(4) > 0, np.nan, np.nan), True, 0.0, 0.0),
        SceneDepth(None, False, 0.0, None),
    ],
    ids=["a wall", "a slanted wall", "a network's", "unknown", "none"],
)
def test_there_are_no_two_parts(scene_depth):
    assert scene_depth.larger_part() is None


def test_the_velocity_is_the_cameras_in_a_room_where_a_fifth_of_the_view_moves_by_itself():
    """Rendered, seen by the shipped model: the part is at 0.6 m, the walls are at 2 m and more."""
    rendered = render_cell(replace(HAND, moving_share=0.2, frames=14, seed=14))
    with closing(open_engine(EngineConfig(threads=1))) as engine:
        auto = evaluate_cell(rendered, engine, EstimatorConfig(), ("measured",))[0]
    assert auto.aligned > 0.9
    assert auto.rmse_linear < 0.4
    assert auto.nees_linear < 6
    assert auto.rmse_angular < 0.2
