"""MotionEstimator: frames in, velocities out. The one place that knows the order of the steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from image_as_imu_ros.engine import Engine, load_engine
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation import compiled
from image_as_imu_ros.estimation.alignment import Alignment, MovingParts
from image_as_imu_ros.estimation.blur_solver import Solution, Uncertainty, solve
from image_as_imu_ros.estimation.config import EstimatorConfig, Measurement, MotionModel, SignResolution
from image_as_imu_ros.estimation.constants import ESTIMATOR, SHARED, STRUCTURE
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.exposure import MeasuredExposure
from image_as_imu_ros.estimation.exposure_times import ExposureTimes
from image_as_imu_ros.estimation.frame import Frame
from image_as_imu_ros.estimation.frame_times import FrameTime, FrameTimes
from image_as_imu_ros.estimation.inferred_frame import InferredFrame
from image_as_imu_ros.estimation.observation import Geometry, Images, Observation
from image_as_imu_ros.estimation.repeats import RepeatWatch
from image_as_imu_ros.estimation.scene_depth import SceneDepth
from image_as_imu_ros.estimation.scene_mask import read_mask
from image_as_imu_ros.estimation.sequence_aligner import SequenceAligner
from image_as_imu_ros.estimation.sign import rate_log_odds
from image_as_imu_ros.estimation.stopwatch import Stopwatch
from image_as_imu_ros.geometry.camera import Camera


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
        self._sequence = SequenceAligner(self.config, (info.height // info.stride, info.width // info.stride))
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
        steps = Stopwatch()
        geometry = self._geometry_for(frame.camera)
        time_taken = self._times.take(frame.stamp)
        last = self._last
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
            InputError: the exposure time is not known, or the stamp repeats, exactly or nearly.
        """
        if frame.shutter.exposure is None and not self.config.estimate_exposure:
            raise InputError("exposure time is not known: give it with the frame, or let it be estimated")
        if self._last is None:
            return
        since, shortest = frame.stamp - self._last.time.header_stamp, 1e9 * SHARED.shortest_dt
        if 0 <= since < shortest:
            raise InputError(f"image stamp {frame.stamp} ns repeats the last one, to {since} ns: the frame is skipped")
        if since < 0 or self._exposures.mid_exposure(frame, frame.stamp) < self._last.mid_exposure + shortest:
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
        output = output.within(images.geometry.scene & self._sequence.fixed_parts.elsewhere)
        scene = SceneDepth.of(output, depth)
        full = self.config.motion_model == MotionModel.FULL
        parts_move = full and self._sequence.moving_parts.expected and scene.larger_part is not None
        used_depth = scene.larger_part if parts_move else scene.depth
        try:
            solution = self._solution(images, output, scene, used_depth, exposure, frame.shutter.readout_time)
        except (InputError, np.linalg.LinAlgError) as error:
            self._sequence.moving_parts = MovingParts()  # the larger part alone may be what determines too little
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
        readout_of_crop = geometry.view.readout_of_crop(readout_time)
        uncertainty = Uncertainty(
            travel=self._sequence.travel,
            correlated_cells=info.correlated_cells,
            flow_log_std=info.flow_log_std,
            typical_relative_sigma=info.typical_relative_sigma,
            exposure_log_std=exposure.log_std,
            depth_log_std=scene.log_std * self._sequence.travel.map_shape.scale_std / STRUCTURE.scale_std,
            readout_change=np.zeros(3) if last is None else last.rotation_change(readout_of_crop),
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
        self.alignment = self._sequence.align(observation, last)
        return observation.aligned_with(last, self.alignment)

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
