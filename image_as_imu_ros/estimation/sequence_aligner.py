"""Alignment of each frame with the one before it, and what that teaches for the frames to come."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from image_as_imu_ros.estimation.alignment import (
    Alignment,
    History,
    MovingParts,
    Tracks,
    starts_along,
    tracked_rotations,
    with_measured_tracks,
    with_tracks,
)
from image_as_imu_ros.estimation.config import EstimatorConfig, MotionModel
from image_as_imu_ros.estimation.constants import ESTIMATOR, SHARED
from image_as_imu_ros.estimation.fixed_parts import FixedParts
from image_as_imu_ros.estimation.observation import Observation
from image_as_imu_ros.estimation.rejection import Reason, Rejection
from image_as_imu_ros.estimation.sign import contradicts
from image_as_imu_ros.estimation.travel import Travel

# Alignments that another start may save.
_WORTH_TRACKING = (Reason.NO_MATCH, Reason.AMBIGUOUS, Reason.CONTRADICTS_BLUR)


class SequenceAligner:
    """Aligns the frames of one camera, one after another.

    Attributes:
        fixed_parts, moving_parts: what has been learnt of parts of the view that move with the camera, and of parts of
            the scene that move by themselves.
        travel: what is expected of v.
    """

    def __init__(self, config: EstimatorConfig, grid: tuple[int, int]) -> None:
        """Start a sequence, whose network has a grid of (h, w) cells."""
        self._config = config
        self._history = History()
        self.fixed_parts = FixedParts.unknown(*grid)
        self.moving_parts = MovingParts()
        self.travel = Travel(config.linear_velocity_std, config.lever_arm)

    def align(self, observation: Observation, last: Observation) -> Alignment:
        """Find the mean velocity since the previous frame."""
        reach = ESTIMATOR.length_reach * math.exp(observation.exposure_log_std)
        blur = observation.solution.start
        if observation.solution.impossible:
            blur = blur * min(1.0, observation.exposure / observation.dt)  # no exposure is longer than dt
        starts = starts_along(blur, last.last_velocity, reach)
        alignment = self._aligned(observation, last, starts)
        if observation.sharp and observation.dt <= SHARED.longest_dt:
            aligner, shown = observation.geometry.aligner, self.fixed_parts.elsewhere.ravel()
            tracks, cells = aligner.track(observation.images.pyramid, last.images.pyramid)
            tracks, cells = tracks.select(shown[cells]), cells[shown[cells]]
            pattern = aligner.fixed_pattern(observation.images.pyramid[0], tracks, shown)
            alignment = pattern or self._with_tracks(observation, last, alignment, tracks, cells)
        self._learn_from(alignment, observation, last)
        return alignment

    def _with_tracks(
        self, observation: Observation, last: Observation, alignment: Alignment, tracks: Tracks, cells: np.ndarray
    ) -> Alignment:
        """Use tracks (N) of corners in cells (N,): they may save an alignment, and tell the shape of the scene."""
        seconds, scene = observation.dt, observation.scene
        if alignment.rejection is not None and alignment.rejection.reason in _WORTH_TRACKING:
            starts = tracked_rotations(tracks, seconds)
            again = self._aligned(observation, last, starts) if len(starts) else alignment
            alignment = alignment if again.rejection else again
        if self._config.motion_model != MotionModel.FULL or scene.depth is None:
            return alignment
        blur = max(observation.blur, last.blur)
        try:
            if scene.measured:
                part = scene.larger_part
                tracked = with_measured_tracks(
                    alignment,
                    tracks,
                    seconds,
                    inverse_depth=1 / scene.depth.ravel()[cells],
                    of_larger_part=None if part is None else 1 / part.ravel()[cells],
                    parts_move=observation.parts_move,
                    travel=self.travel,
                    blur=blur,
                )
            else:
                tracked = with_tracks(
                    alignment,
                    tracks,
                    seconds,
                    depth=scene.depth,
                    cells=cells,
                    depth_log_std=scene.log_std,
                    travel=self.travel,
                    blur=blur,
                    far=self._history.far(*observation.history_arguments, seconds),
                )
        except np.linalg.LinAlgError:
            return alignment
        return alignment if tracked is alignment else _checked(tracked, observation)

    def _aligned(self, observation: Observation, last: Observation, starts: np.ndarray) -> Alignment:
        """Align intensities, from velocities (S, 6)."""
        full = self._config.motion_model == MotionModel.FULL
        try:
            alignment = observation.geometry.aligner.align(
                observation.images.pyramid,
                last.images.pyramid,
                observation.dt,
                starts,
                observation.scene.depth,
                motion_model=self._config.motion_model,
                travel=self.travel,
                blur=max(observation.blur, last.blur),
                depth_log_std=observation.scene.log_std,
                larger_part=observation.scene.larger_part if full else None,
                parts_move=observation.parts_move,
            )
        except np.linalg.LinAlgError:
            return Alignment(None, 0.0, 0.0, Rejection(Reason.NO_SOLUTION, "the images do not determine the motion"))
        return _checked(alignment, observation)

    def _learn_from(self, alignment: Alignment, observation: Observation, last: Observation) -> None:
        """Keep what an alignment tells for the frames to come."""
        accepted = alignment.accepted
        motion = None if accepted is None else accepted.vector * observation.dt
        self.moving_parts = self.moving_parts.after(None if accepted is None else alignment.difference)
        seen = observation.history_arguments
        self._history = self._history.after(*seen, observation.sharp, motion, alignment.correction)
        if motion is not None:
            self.travel = alignment.travel or self.travel
            images = observation.images.pyramid[0], last.images.pyramid[0]
            self.fixed_parts = self.fixed_parts.after(observation.geometry.aligner.levels[0], *images, motion[3:])


def _checked(alignment: Alignment, observation: Observation) -> Alignment:
    """Reject an alignment that contradicts the blur."""
    accepted = alignment.accepted
    if accepted is not None and contradicts(observation.solution.velocity, accepted, observation.dt / 2):
        return replace(alignment, rejection=Rejection(Reason.CONTRADICTS_BLUR, "it contradicts the blur"))
    return alignment
