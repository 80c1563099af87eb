"""What an alignment teaches for the next frames, and what is left out of it."""

from dataclasses import replace

import numpy as np
import pytest
from test_estimator import KnownMotion, panning_frames

from image_as_imu_ros.estimation.alignment import Aligner
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.fixed_parts import FixedParts
from image_as_imu_ros.estimation.rejection import Reason, Rejection
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import Velocity

RATE = 0.4  # rad/s; 1.6 px of blur
LEARNT = Travel(0.3, 0.15, slides=0.123)


def after_one_frame(rate: float = RATE) -> tuple[MotionEstimator, list]:
    """An estimator that has seen the first of some frames, and the others."""
    engine, (first, *others) = KnownMotion(), panning_frames(3, rate)
    engine.velocity = np.array([0, 0, 0, 0, rate, 0])
    estimator = MotionEstimator(engine)
    estimator.update(first)
    return estimator, others


@pytest.fixture
def tracked(monkeypatch) -> dict:
    """The answer of the tracks, `change` of the alignment, and what they were given."""
    seen = {"change": lambda alignment: alignment}

    def with_tracks(alignment, tracks, seconds, **others):
        seen.update(others, tracks=tracks)
        return seen["change"](alignment)

    monkeypatch.setattr("image_as_imu_ros.estimation.sequence_aligner.with_tracks", with_tracks)
    return seen


@pytest.mark.parametrize("rejected", [False, True])
def test_what_is_learnt_of_travel_lasts_but_not_from_a_rejected_alignment(tracked, rejected):
    estimator, (second, _) = after_one_frame()
    rejection = Rejection(Reason.NO_MATCH, "the images do not match") if rejected else None
    tracked["change"] = lambda alignment: replace(alignment, travel=LEARNT, rejection=rejection)
    estimator.update(second)
    assert (estimator._sequence.travel == LEARNT) is not rejected


def test_an_answer_of_tracks_that_contradicts_the_blur_is_rejected(tracked):
    estimator, (second, _) = after_one_frame()
    rolling = Velocity(np.zeros(3), np.array([0.0, 0.0, 9.0]), {"data": 1e-4 * np.eye(6)})
    tracked["change"] = lambda alignment: replace(alignment, velocity=rolling)
    estimator.update(second)
    assert estimator.alignment.rejection.reason == Reason.CONTRADICTS_BLUR


def test_corners_of_parts_that_move_with_the_camera_are_left_out(tracked):
    estimator, (second, _) = after_one_frame()
    log_odds = np.full_like(estimator._sequence.fixed_parts.log_odds, -5.0)
    log_odds[:, : log_odds.shape[1] // 2] = 5.0
    estimator._sequence.fixed_parts = FixedParts(log_odds)
    estimator.update(second)
    assert len(tracked["tracks"]) == len(tracked["cells"]) > 10
    assert (tracked["cells"] % log_odds.shape[1] >= log_odds.shape[1] // 2).all()
    assert (tracked["tracks"].now[:, 0] > 160).all()


@pytest.mark.parametrize("rates", [(RATE, 2 * RATE), (2 * RATE, RATE)])
def test_blurs_of_different_shape_are_as_long_as_the_more_blurred_frames(monkeypatch, rates):
    estimator, (second, _) = after_one_frame(rates[0])
    estimator.engine.velocity = np.array([0, 0, 0, 0, rates[1], 0])
    seen, align = [], Aligner.align
    monkeypatch.setattr(Aligner, "align", lambda *given, **named: seen.append(named["blur"]) or align(*given, **named))
    first = estimator._last.blur
    estimator.update(second)
    assert seen[0] == max(first, estimator._last.blur) > min(first, estimator._last.blur)


@pytest.mark.parametrize(("rate", "kept"), [(RATE, 2), (4.0, 0)])
def test_smeared_images_are_no_later_frames_to_look_back_to(rate, kept):
    estimator, others = after_one_frame(rate)
    for frame in others:
        estimator.update(frame)
    assert len(estimator._sequence._history.frames) == kept
