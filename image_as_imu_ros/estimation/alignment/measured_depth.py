"""The answer where depth is measured: by all of the scene, or by its larger part alone where parts move by themselves.

Intensities and tracked corners answer twice each, see `moving_parts`. What either finds to move counts for both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from image_as_imu_ros.estimation.alignment.alignment import Alignment, agree, blur_shape_std, motion_terms
from image_as_imu_ros.estimation.alignment.epipolar import EpipolarGeometry
from image_as_imu_ros.estimation.alignment.moving_parts import Answer
from image_as_imu_ros.estimation.alignment.poses import Poses
from image_as_imu_ros.estimation.alignment.shape import Shape
from image_as_imu_ros.estimation.alignment.tracking import Tracks
from image_as_imu_ros.estimation.alignment.travel import Travel
from image_as_imu_ros.estimation.alignment.two_view import two_view
from image_as_imu_ros.estimation.constants import ALIGNMENT, SIGN, STRUCTURE, TRACKING
from image_as_imu_ros.estimation.velocity import Velocity, of_unknown_scale

_ERROR = ALIGNMENT.measured_depth_std


@dataclass(frozen=True)
class Choice:
    """Which of two answers is used.

    Attributes:
        velocity, other: what it says, and what the other one does; None where that is not to be used.
        travel: what is expected of v after it.
        parts_move: whether parts of the scene move by themselves, so that its larger part answers alone.
    """

    velocity: Velocity
    other: Velocity | None
    travel: Travel
    parts_move: bool

    def of(self, alignment: Alignment) -> Alignment:
        """Put it into an alignment."""
        return replace(
            alignment, velocity=self.velocity, travel=self.travel, parts_move=self.parts_move, other=self.other
        )


def choose(
    used: Answer, other: Answer | None, travel: Travel, seconds: float, blur_shape: float, parts_move: bool = False
) -> Choice:
    """Choose between two answers, and let the rotation lean on what is expected of v.

    Args:
        used: by all of the scene or, where parts are expected to move, by its larger part. other: by what
            `used` is not by; None if that is the same, or too little.
        travel: what is expected. blur_shape: standard deviation of each angle, rad.
        parts_move: whether it is known already that parts do.
    """
    learnt, parts_move = travel, parts_move or travel.parts.expected
    if other is not None:
        squared = travel.parts.difference(used, other)
        learnt = replace(travel, parts=travel.parts.after(squared))
        parts_move = parts_move or squared > SIGN.contradiction
        if parts_move and not travel.parts.expected:
            used, other = other, None
    learnt = learnt.after(used.motion, used.covariance, seconds, _ERROR)
    velocity = _velocity(used, learnt, seconds, blur_shape)
    of_other = None if other is None else _velocity(other, learnt, seconds, blur_shape)
    return Choice(velocity, of_other, learnt, parts_move)


def with_measured_tracks(
    alignment: Alignment,
    tracks: Tracks,
    epipolar: EpipolarGeometry | None,
    seconds: float,
    inverse_depth: np.ndarray,
    other_inverse_depth: np.ndarray | None,
    travel: Travel,
    blur: float,
) -> Alignment:
    """Measure the motion from tracked corners of known depth.

    Args:
        alignment: of the same two frames, where to start; it is the result if the tracks are too few, or disagree.
        tracks: (N) on the finest level. epipolar: their geometry, where to start, too.
        inverse_depth: (N,) 1/m of each, NaN where it is not known.
        other_inverse_depth: (N,) the same of the other depth that `Aligner.align` was given; None without one.
        travel: what is expected of v. blur: mean length, px at 320 px width, of the more blurred frame.
    """
    start = None if alignment.velocity is None else Poses.of(alignment.velocity.vector[None] * seconds)
    pose = None if epipolar is None else epipolar.pose(inverse_depth)
    starts = [one for one in (start, pose) if one is not None]
    if not starts:
        return alignment
    used, other = (
        None if depth is None else _of_tracks(tracks, depth, Poses.concatenated(starts), seconds)
        for depth in (inverse_depth, other_inverse_depth)
    )
    if used is None or (other is None and alignment.parts_move and not travel.parts.expected):
        return alignment
    blur_shape = blur_shape_std(tracks.camera, blur)
    choice = choose(used, other, travel, seconds, blur_shape, alignment.parts_move)
    if choice.parts_move and not alignment.parts_move:
        alignment = replace(alignment, velocity=alignment.other, parts_move=True)
    if alignment.travel is not None:
        parts = max(alignment.travel.parts, choice.travel.parts, key=lambda one: one.usual)
        alignment = replace(alignment, travel=replace(alignment.travel, parts=parts))
        choice = replace(choice, travel=replace(choice.travel, parts=parts))
    # Corners that are smeared: an alignment that they do not contradict is the better answer, unless it is the less
    # sure, because it follows what moves by itself.
    accepted = alignment.accepted
    if accepted is None or blur <= STRUCTURE.little_blur or not agree(choice.velocity, accepted):
        return choice.of(replace(alignment, rejection=None))
    return alignment if _surer(accepted, choice.velocity) else choice.of(replace(alignment, rejection=None))


def _velocity(answer: Answer, travel: Travel, seconds: float, blur_shape: float) -> Velocity:
    motion, covariance = travel.lean(answer.motion, answer.covariance, seconds, _ERROR)
    return Velocity.of(motion, motion_terms(covariance, motion, blur_shape), seconds)


def _of_tracks(tracks: Tracks, inverse_depth: np.ndarray, starts: Poses, seconds: float) -> Answer | None:
    """Solve for the motion of those of the tracks whose depth is known; None where they are too few, or disagree."""
    known = np.isfinite(inverse_depth)
    if known.sum() < STRUCTURE.least_tracks:
        return None
    of_sensor = Shape(_ERROR, _ERROR, (TRACKING.window / TRACKING.distance) ** 2)
    bound = ALIGNMENT.travel_std * seconds
    fit = two_view(tracks.select(known), inverse_depth[known], starts, of_sensor, bound)
    if not fit.share >= STRUCTURE.least_share:  # nor where it is not a number
        return None
    scaled, of_scale = of_unknown_scale(fit.motion, fit.covariance, _ERROR)
    return Answer(fit.motion, scaled + of_scale)


def _surer(one: Velocity, other: Velocity) -> bool:
    """Tell whether the covariance of one velocity has a smaller volume than another's."""
    return bool(np.linalg.slogdet(one.covariance)[1] < np.linalg.slogdet(other.covariance)[1])
