"""MotionEstimator: frames in, velocities out. The one place that knows the order of the steps."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from image_as_imu_ros.engine import Engine, load_engine
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation import compiled
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
from image_as_imu_ros.estimation.blur_solver import Solution, Uncertainty, solve
from image_as_imu_ros.estimation.config import EstimatorConfig, Measurement, MotionModel, SignResolution
from image_as_imu_ros.estimation.constants import ESTIMATOR, SHARED, STRUCTURE
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.exposure import MeasuredExposure
from image_as_imu_ros.estimation.exposure_times import ExposureTimes
from image_as_imu_ros.estimation.fixed_parts import FixedParts
from image_as_imu_ros.estimation.frame import Frame
from image_as_imu_ros.estimation.frame_times import FrameTime, FrameTimes
from image_as_imu_ros.estimation.inferred_frame import InferredFrame
from image_as_imu_ros.estimation.observation import Geometry, Images, Observation
from image_as_imu_ros.estimation.rejection import Reason, Rejection
from image_as_imu_ros.estimation.repeats import RepeatWatch
from image_as_imu_ros.estimation.scene_depth import SceneDepth
from image_as_imu_ros.estimation.scene_mask import read_mask
from image_as_imu_ros.estimation.sign import contradicts, rate_log_odds
from image_as_imu_ros.estimation.stopwatch import Stopwatch
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.geometry.camera import Camera

# Alignments that another start may save.
_WORTH_TRACKING = (Reason.NO_MATCH, Reason.AMBIGUOUS, Reason.CONTRADICTS_BLUR)


class MotionEstimator:
    """Turns a sequence of frames of one camera into velocities. Not thread-safe.

    The camera may change between frames: small changes of its intrinsics are followed; another size, lens or zoom
    starts a new sequence. So does a stamp that jumps back.

    Attributes:
        alignment: of the last two frames, as they show it (not corrected for the readout), also where it was rejected;
            None before.
        at_start: whether there was no frame before the last one, since a start or a reset.
    """

    def __init__(self, engine: Engine, config: EstimatorConfig | None = None) -> None:
        self.engine = engine
        self.config = config or EstimatorConfig()
        if self.config.motion_model == MotionModel.FULL and not engine.info.predicts_depth:
            raise InputError("this model predicts no depth: use motion_model 'rotation'")
        self._mask = read_mask(self.config.mask) if self.config.mask else None
        self._geometry: Geometry | None = None
        compiled.load()  # nothing is compiled while frames come
        self.reset()

    @classmethod
    def from_model(
        cls,
        model: str | Path,
        config: EstimatorConfig | None = None,
        *,
        engine: str = "auto",
        threads: int = 0,
        precision: str = "auto",
        dla_core: int = -1,
    ) -> MotionEstimator:
        """Load a model and make an estimator of it, INT8 where that is fast. Arguments and errors: `load_engine`."""
        loaded = load_engine(model, engine, threads, precision, dla_core, int8_where_fast=True)
        try:
            return cls(loaded, config)
        except InputError:
            loaded.close()
            raise

    def reset(self) -> None:
        """Forget earlier frames."""
        self.alignment: Alignment | None = None
        self._last: Observation | None = None
        self.at_start = True
        self._repeats = RepeatWatch()
        info = self.engine.info
        self._fixed_parts = FixedParts.unknown(info.height // info.stride, info.width // info.stride)
        self._moving_parts = MovingParts()
        self._travel = Travel(self.config.linear_velocity_std, self.config.lever_arm)
        self._history = History()
        self._times = FrameTimes()
        self._exposures = ExposureTimes(self.config)

    def update(self, frame: Frame | InferredFrame) -> MotionEstimate | None:
        """Measure with a frame. Inference is done here, if it was not before.

        Returns:
            The estimate for this frame; with `sign_resolution: centered` the one for the frame before. None if there is
            none: at the first frame when centered, with `measurement: aligned` wherever alignment is rejected, and
            where a velocity from blur is wanted but the exposure time is still to be estimated.

        Raises:
            InputError: the frame cannot be used; RepeatedImageError: it shows nothing new. Earlier frames are not
                forgotten.
        """
        inferred = frame if isinstance(frame, InferredFrame) else None
        frame = frame.frame if isinstance(frame, InferredFrame) else frame
        self._check_order(frame)
        steps, geometry = Stopwatch(), self._geometry_for(frame.camera)
        time_taken, last = self._times.take(frame.stamp), self._last
        self.at_start = last is None
        with steps.time("prepare"):
            new_image = self._repeats.check(frame.image, frame.stamp)
        inferred = inferred or InferredFrame.of(frame, self.engine)
        steps.add(inferred.seconds)
        with steps.time("prepare"):
            depth = None if frame.depth is None else geometry.view.sample_depth(frame.depth, self.engine.info.stride)
        with steps.time("solve"):
            observation = self._solve(frame, time_taken, Images(inferred.image, geometry), inferred.output, depth)
        with steps.time("align"):
            observation = self._align(observation, last)
        with steps.time("sign"):
            observation = self._resolve_sign(observation, last, frame)
        self._last = observation = replace(observation, seconds=steps.seconds)
        self._repeats.keep(new_image)
        if self.config.sign_resolution != SignResolution.CENTERED:
            return self._choose(observation.estimate())
        return None if last is None else self._choose(last.estimate_before(observation))

    def flush(self) -> MotionEstimate | None:
        """Return, with `sign_resolution: centered`, the estimate of the last frame, for which no next one will come."""
        last, self._last = self._last, None
        if last is None or self.config.sign_resolution != SignResolution.CENTERED:
            return None
        return self._choose(last.estimate())

    def _check_order(self, frame: Frame) -> None:
        """Start anew where time jumps back.

        Raises:
            InputError: the exposure time is not known, or the stamp repeats.
        """
        if frame.shutter.exposure is None and not self.config.estimate_exposure:
            raise InputError("exposure time is not known: give it with the frame, or let it be estimated")
        if self._last is None:
            return
        last = self._last.time.header_stamp
        if frame.stamp == last:
            raise InputError(f"image stamp {frame.stamp} ns repeats: the frame is skipped")
        if frame.stamp < last or self._exposures.mid_exposure(frame, frame.stamp) <= self._last.mid_exposure:
            self.reset()

    def _geometry_for(self, camera: Camera) -> Geometry:
        known = self._geometry
        if known is None or not known.holds_for(camera):
            info = self.engine.info
            self._geometry = Geometry.of(camera, info.width, info.height, info.stride, self._mask)
            if known is None or not known.camera.resembles(camera, ESTIMATOR.followed_change):
                self.reset()
        assert self._geometry is not None
        return self._geometry

    def _solve(
        self, frame: Frame, time_taken: FrameTime, images: Images, output: NetworkOutput, depth: np.ndarray | None
    ) -> Observation:
        """Turn blur into a velocity up to sign.

        Raises:
            InputError: the blur does not determine the motion.
        """
        exposure = self._exposures.of(frame)
        mid_exposure = self._exposures.mid_exposure(frame, frame.stamp + time_taken.correction)
        dt, dt_std = self._dt(time_taken, mid_exposure)
        output = output.within(images.geometry.scene & self._fixed_parts.elsewhere)
        scene = SceneDepth.of(output, depth)
        full = self.config.motion_model == MotionModel.FULL
        parts_move = full and self._moving_parts.expected and scene.larger_part is not None
        used_depth = scene.larger_part if parts_move else scene.depth
        try:
            solution = self._solution(images, output, scene, used_depth, exposure, frame.shutter.readout_time)
        except (InputError, np.linalg.LinAlgError) as error:
            self._moving_parts = MovingParts()  # the larger part alone may be what determines too little
            if isinstance(error, InputError):
                raise
            raise InputError(f"the blur does not determine the motion: {error}") from error
        if solution.impossible:  # the exposure is as good as unknown, until alignments tell it
            exposure = replace(exposure, log_std=ESTIMATOR.guessed_log_std)
            solution = solution.with_exposure_error(exposure.log_std)
        return Observation(
            time=time_taken,
            mid_exposure=mid_exposure,
            dt=dt,
            dt_std=dt_std,
            geometry=images.geometry,
            images=images,
            exposure=exposure.seconds,
            exposure_log_std=exposure.log_std,
            readout_time=frame.shutter.readout_time,
            network_output=output,
            scene=scene,
            parts_move=parts_move,
            solution=solution,
        )

    def _solution(
        self,
        images: Images,
        output: NetworkOutput,
        scene: SceneDepth,
        depth: np.ndarray | None,
        exposure: MeasuredExposure,
        readout_time: float,
    ) -> Solution:
        """Solve for the velocity, with what is known from earlier frames.

        Args:
            depth: (h, w) m of the scene, or of the part of it that is to be used.

        Raises:
            InputError, LinAlgError: the blur does not determine the motion.
        """
        info, last, geometry = self.engine.info, self._last, images.geometry
        uncertainty = Uncertainty(
            travel=self._travel,
            correlated_cells=info.correlated_cells,
            flow_log_std=info.flow_log_std,
            typical_relative_sigma=info.typical_relative_sigma,
            exposure_log_std=exposure.log_std,
            depth_log_std=scene.log_std * self._travel.map_shape.scale_std / STRUCTURE.scale_std,
            readout_change=np.zeros(3) if last is None else last.rotation_change(geometry.view.seen(readout_time)),
            recent_travel=np.zeros(3) if last is None else last.recent_travel,
        )
        spectra = geometry.windows.spectra(
            images.image,
            output.mean_flow,
            uncertainty.relative_error_of(output),
            depth if self.config.motion_model == MotionModel.FULL else None,
        )
        return solve(
            output if scene.measured else replace(output, depth=scene.depth),
            geometry.matrix,
            exposure.seconds,
            motion_model=self.config.motion_model,
            depth=depth if scene.measured else None,
            previous=None if last is None else last.solution.velocity.vector,
            spectra=spectra,
            uncertainty=uncertainty,
        )

    def _dt(self, time_taken: FrameTime, mid_exposure: int) -> tuple[float, float]:
        """Return the time since the previous mid-exposure and its standard deviation, s; 0 without a previous frame.

        While the exposure is estimated, header stamps tell it: it must not change because the estimate does.
        """
        last = self._last
        if last is None:
            return 0.0, 0.0
        dt, dt_std = time_taken.since(last.time)
        if not self.config.estimate_exposure:
            earlier, later = (
                mid - one.header_stamp - one.correction
                for mid, one in ((last.mid_exposure, last.time), (mid_exposure, time_taken))
            )
            dt += (later - earlier) * 1e-9
        return dt, dt_std

    def _align(self, observation: Observation, last: Observation | None) -> Observation:
        """Find the mean velocity since the previous frame."""
        if last is None or self.config.sign_resolution == SignResolution.AXIAL:
            return observation
        reach = ESTIMATOR.length_reach * math.exp(observation.exposure_log_std)
        blur = observation.solution.start
        if observation.solution.impossible:
            blur = blur * min(1.0, observation.exposure / observation.dt)  # no exposure is longer than dt
        starts = starts_along(blur, last.last_velocity, reach)
        alignment = self._aligned(observation, last, starts)
        if observation.sharp and observation.dt <= SHARED.longest_dt:
            tracks, cells = observation.geometry.aligner.track(observation.images.pyramid, last.images.pyramid)
            shown = self._fixed_parts.elsewhere.ravel()
            tracks, cells = tracks.select(shown[cells]), cells[shown[cells]]
            pattern = observation.geometry.aligner.fixed_pattern(observation.images.pyramid[0], tracks, shown)
            alignment = pattern or self._with_tracks(observation, last, alignment, tracks, cells)
        self._learn_from(alignment, observation, last)
        return observation.aligned_with(last, alignment)

    def _learn_from(self, alignment: Alignment, observation: Observation, last: Observation) -> None:
        """Keep what an alignment tells for the frames to come."""
        self.alignment = alignment
        accepted = alignment.accepted
        motion = None if accepted is None else accepted.vector * observation.dt
        self._moving_parts = self._moving_parts.after(None if accepted is None else alignment.difference)
        self._history = self._history.after(*observation.seen, observation.sharp, motion, alignment.correction)
        if motion is not None:
            self._travel = alignment.travel or self._travel
            images = observation.images.pyramid[0], last.images.pyramid[0]
            self._fixed_parts = self._fixed_parts.after(observation.geometry.aligner.levels[0], *images, motion[3:])

    def _with_tracks(
        self, observation: Observation, last: Observation, alignment: Alignment, tracks: Tracks, cells: np.ndarray
    ) -> Alignment:
        """Use tracks (N) of corners in cells (N,): they may save an alignment, and tell the shape of the scene."""
        seconds, scene = observation.dt, observation.scene
        if alignment.rejection is not None and alignment.rejection.reason in _WORTH_TRACKING:
            starts = tracked_rotations(tracks, seconds)
            again = self._aligned(observation, last, starts) if len(starts) else alignment
            alignment = alignment if again.rejection else again
        if self.config.motion_model != MotionModel.FULL or scene.depth is None:
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
                    travel=self._travel,
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
                    travel=self._travel,
                    blur=blur,
                    far=self._history.far(*observation.seen, seconds),
                )
        except np.linalg.LinAlgError:
            return alignment
        return alignment if tracked is alignment else self._checked(tracked, observation)

    def _aligned(self, observation: Observation, last: Observation, starts: np.ndarray) -> Alignment:
        """Align from velocities (S, 6)."""
        try:
            alignment = observation.geometry.aligner.align(
                observation.images.pyramid,
                last.images.pyramid,
                observation.dt,
                starts,
                observation.scene.depth,
                motion_model=self.config.motion_model,
                travel=self._travel,
                blur=max(observation.blur, last.blur),
                depth_log_std=observation.scene.log_std,
                larger_part=observation.scene.larger_part if self.config.motion_model == MotionModel.FULL else None,
                parts_move=observation.parts_move,
            )
        except np.linalg.LinAlgError:
            return Alignment(None, 0.0, 0.0, Rejection(Reason.NO_SOLUTION, "the images do not determine the motion"))
        return self._checked(alignment, observation)

    @staticmethod
    def _checked(alignment: Alignment, observation: Observation) -> Alignment:
        """Reject an alignment that contradicts the blur."""
        accepted = alignment.accepted
        if accepted is not None and contradicts(observation.solution.velocity, accepted, observation.dt / 2):
            return replace(alignment, rejection=Rejection(Reason.CONTRADICTS_BLUR, "it contradicts the blur"))
        return alignment

    def _resolve_sign(self, observation: Observation, last: Observation | None, frame: Frame) -> Observation:
        """Weigh what speaks for the sign of the solution, and measure the exposure."""
        if self.config.sign_resolution == SignResolution.AXIAL:
            return observation
        log_odds = 0.0
        if frame.rate_hint is not None:
            log_odds = rate_log_odds(observation.solution.velocity, frame.rate_hint, self.config.rate_hint_std)
        if last is None:
            return replace(observation, log_odds=log_odds)
        log_odds += observation.log_odds_after(last)
        return replace(observation, log_odds=log_odds, measured_exposure=self._exposures.measured(observation, last))

    def _choose(self, estimate: MotionEstimate) -> MotionEstimate | None:
        """Choose the measurement that was asked for.

        Stamps increase strictly whatever they alternate between: halfway from the previous frame to this one is later
        than the one and earlier than the other.
        """
        single, aligned = estimate.as_single(), estimate.as_aligned()
        return {
            Measurement.SINGLE: single,
            Measurement.ALIGNED: aligned,
            Measurement.AUTO: aligned or single,
        }[self.config.measurement]
