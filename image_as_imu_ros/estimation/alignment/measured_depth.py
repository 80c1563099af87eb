"""The answer where depth is measured: by all of the scene, or by its larger part alone where parts move by themselves.

Intensities and tracked corners answer twice each, see `moving_parts`. What intensities find to move, corners leave out;
where corners alone find something, intensities that have not do not count.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from image_as_imu_ros.estimation.alignment.alignment import Alignment, agree, blur_shape_std, motion_terms
from image_as_imu_ros.estimation.alignment.moving_parts import Answer, choose
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.shape import Shape
from image_as_imu_ros.estimation.alignment.slides import find_slide, starting_poses
from image_as_imu_ros.estimation.alignment.tracking import OVERLAPPING, Tracks
from image_as_imu_ros.estimation.alignment.two_view import two_view
from image_as_imu_ros.estimation.constants import ALIGNMENT, STRUCTURE
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import Term, Velocity, of_unknown_scale

_ERROR = ALIGNMENT.measured_depth_std


def of_intensities(
    rated: Alignment,
    whole: Answer | None,
    larger: Answer | None,
    parts_move: bool,
    travel: Travel,
    seconds: float,
    blur_shape: float,
) -> Alignment:
    """Choose between two answers, and update the rotation by the prior on v.

    Args:
        rated: an alignment, whose velocity is to be added.
        whole, larger: by all of the scene and by its larger part; at least the one that `choose` takes.
        parts_move: whether parts of it are expected to move. travel: what is expected of v.
        blur_shape: standard deviation of each angle, rad.
    """
    choice = choose(whole, larger, parts_move)
    assert choice is not None
    posterior = travel.rotation_posterior(choice.answer.motion, choice.answer.covariance, seconds, _ERROR)
    terms = motion_terms(posterior.covariance, posterior.motion, blur_shape)
    velocity = Velocity.of(posterior.motion, terms, seconds)
    return replace(rated, velocity=velocity, difference=choice.difference, parts_move=choice.parts_move)


def with_measured_tracks(
    alignment: Alignment,
    tracks: Tracks,
    seconds: float,
    inverse_depth: np.ndarray,
    of_larger_part: np.ndarray | None,
    parts_move: bool,
    travel: Travel,
    blur: float,
) -> Alignment:
    """Measure the motion from tracked corners of known depth.

    Args:
        alignment: of the same two frames, where to start; it is the result if the tracks are too few, or disagree.
        tracks: (N) on the finest level. inverse_depth: (N,) 1/m of each, NaN where it is not known.
        of_larger_part: (N,) the same, NaN elsewhere; None if there are no two parts.
        parts_move: whether parts of the scene are expected to move. travel: what is expected of v.
        blur: mean length, px at 320 px width, of the more blurred frame.

    Raises:
        LinAlgError: the tracks determine no motion.
    """
    accepted = alignment.accepted
    parts_move = parts_move or (accepted is not None and alignment.parts_move)
    known = np.isfinite(inverse_depth)
    if known.sum() < STRUCTURE.least_tracks:
        return alignment
    slide = find_slide(tracks.select(known), inverse_depth[known])
    starts, _ = starting_poses(alignment.velocity, slide, 0.5, seconds)
    whole, larger = (
        None if depth is None else _of_tracks(tracks, depth, starts, seconds)
        for depth in (inverse_depth, of_larger_part)
    )
    choice = choose(whole, larger, parts_move)
    if choice is None:
        return alignment
    posterior = travel.rotation_posterior(choice.answer.motion, choice.answer.covariance, seconds, _ERROR)
    covariance, of_scale = of_unknown_scale(posterior.motion, posterior.covariance, _ERROR)
    terms = motion_terms(covariance, posterior.motion, blur_shape_std(tracks.camera, blur))
    measured = Velocity.of(posterior.motion, {**terms, Term.DEPTH_SCALE: of_scale}, seconds)
    # Corners that are smeared: an alignment that they do not contradict is the better answer, unless it is the less
    # sure, because it follows what moves by itself.
    of_both = choice.difference, None if accepted is None else alignment.difference
    difference = max((one for one in of_both if one is not None), default=None)
    dense = accepted if alignment.parts_move == choice.parts_move else None
    if dense is not None and blur > STRUCTURE.little_blur and agree(measured, dense) and _surer(dense, measured):
        return replace(alignment, difference=difference)
    return replace(
        alignment,
        velocity=measured,
        rejection=None,
        difference=difference,
        parts_move=choice.parts_move,
    )


def _of_tracks(tracks: Tracks, inverse_depth: np.ndarray, starts: Poses, seconds: float) -> Answer | None:
    """Solve for the motion of those of the tracks whose depth is known; None where they are too few, or disagree."""
    known = np.isfinite(inverse_depth)
    if known.sum() < STRUCTURE.least_tracks:
        return None
    of_sensor = Shape(_ERROR, _ERROR, OVERLAPPING)
    bound = ALIGNMENT.travel_std * seconds
    try:
        fit = two_view(tracks.select(known), inverse_depth[known], starts, of_sensor, bound)
    except np.linalg.LinAlgError:
        return None
    return Answer(fit.motion, fit.covariance) if fit.share >= STRUCTURE.least_share else None


def _surer(one: Velocity, other: Velocity) -> bool:
    """Tell whether the covariance of one velocity has a smaller volume than another's."""
    return bool(np.linalg.slogdet(one.covariance)[1] < np.linalg.slogdet(other.covariance)[1])
