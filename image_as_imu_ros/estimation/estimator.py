"""MotionEstimator: frames in, velocities out. The one place that knows the order of the steps."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field
from functools import cached_property
from pathlib import Path

import numpy as np

from image_as_imu_ros.engine import Engine, load_engine
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.alignment import Aligner, Alignment, starts_along
from image_as_imu_ros.estimation.blur_solver import MOTION_MODELS, Solution, Uncertainty, solve
from image_as_imu_ros.estimation.blur_spectrum import Windows
from image_as_imu_ros.estimation.exposure import ExposureEstimator, MeasuredExposure, blur_along
from image_as_imu_ros.estimation.frame import Frame
from image_as_imu_ros.estimation.sign import (
    SIGN_RESOLUTIONS,
    Grid,
    alignment_log_odds,
    continuity_log_odds,
    contradicts,
    photometric_log_odds,
    rate_log_odds,
    small_image,
)
from image_as_imu_ros.estimation.velocity import Velocity
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix
from image_as_imu_ros.geometry.view import View

MEASUREMENTS = ("single", "aligned", "auto")
FIRST_EXPOSURE = 0.01  # s, the guess where nothing is known

_SURE = 0.9  # probability from which the direction counts as resolved
_VISIBLE_BLUR = 1.0  # px at 320 px width

# Standard deviation of the log of an exposure that starts its own estimate: given, or guessed.
_GIVEN_LOG_STD = 0.3
_GUESSED_LOG_STD = 1.0
_KNOWN_LOG_STD = 0.4  # from which velocities can be computed with it

# The blur's length may be off by this factor, and by as much more as the exposure is uncertain.
_LENGTH_REACH = 2.8


@dataclass(frozen=True)
class Options:
    """How velocities are estimated.

    Attributes:
        measurement: "single": velocity at mid-exposure, from the blur of one frame. "aligned": mean velocity between
            two mid-exposures, from aligning the frame with the previous one; no answer where that fails. "auto":
            aligned where it can be trusted, else single.
        motion_model: "full" (v, ω) or "rotation" (ω only).
        direction: "causal" looks at the previous frame; "centered" at the next one too and answers one frame later;
            "axial" leaves the direction open (ω's largest component is positive).
        linear_prior_std: expected size of each component of the velocity of the point that the camera is turned about,
            m/s.
        lever_arm: how far behind the camera that point lies, m: about 0.15 for a hand; for a camera that looks ahead
            from a robot, how far it is in front of the robot's centre. The full motion model needs it.
        exposure_log_std: relative error of the exposure times given with the frames.
        estimate_exposure: measure the exposure time from blur and alignment, starting from that of the first frame.
        rate_hint_std: error of each component of the rates given with the frames, rad/s.
    """

    measurement: str = "auto"
    motion_model: str = "full"
    sign_resolution: str = "causal"
    linear_prior_std: float = 0.3
    lever_arm: float = 0.15
    exposure_log_std: float = 0.02
    estimate_exposure: bool = False
    rate_hint_std: float = 0.5

    def __post_init__(self) -> None:
        if self.measurement not in MEASUREMENTS:
            raise InputError(f"measurement is {self.measurement!r}, expected one of: {', '.join(MEASUREMENTS)}")
        if self.motion_model not in MOTION_MODELS:
            raise InputError(f"motion_model is {self.motion_model!r}, expected one of: {', '.join(MOTION_MODELS)}")
        if self.sign_resolution not in SIGN_RESOLUTIONS:
            raise InputError(
                f"sign_resolution is {self.sign_resolution!r}, expected one of: {', '.join(SIGN_RESOLUTIONS)}"
            )
        if not self.linear_prior_std > 0:
            raise InputError(f"linear_prior_std is {self.linear_prior_std} m/s; it must be positive")
        if not math.isfinite(self.lever_arm):
            raise InputError(f"lever_arm is {self.lever_arm} m; it must be finite")
        if not self.rate_hint_std > 0:
            raise InputError(f"rate_hint_std is {self.rate_hint_std} rad/s; it must be positive")
        if self.sign_resolution == "axial" and (self.measurement == "aligned" or self.estimate_exposure):
            asked = "measurement 'aligned'" if self.measurement == "aligned" else "an estimated exposure"
            raise InputError(f"{asked} needs the previous frame, which sign_resolution 'axial' does not look at")


@dataclass(frozen=True)
class MotionEstimate:
    """Velocity of the camera, measured with one frame.

    Attributes:
        measurement: "single" or "aligned", what `velocity` is. See `Options`.
        stamp: time of `velocity`, ns: mid-exposure, or halfway between two mid-exposures.
        velocity: in the camera's optical frame.
        resolved_direction: whether its direction is known.
        frame_stamp: mid-exposure of the frame, ns.
        single: velocity at mid-exposure from blur; its covariance includes the doubt about the direction.
        direction_probability: that the sign of `single` is right, 0.5 to 1.
        alignment: with the previous frame; None if there is none, or if directions are left open.
        gap: from the previous mid-exposure to this one, ns; 0 if there is no previous frame.
        mean_flow: mean predicted blur length, px at 320 px image width.
        residual: misfit of the blur in units of the predicted spread; about 1 if the scene is static and the model is
            right.
        inliers: fraction of grid cells that agree with the network's part of it.
        evidence: how clearly the image's spectra speak for `single`, as χ²; see `Solution`.
        exposure: s, that `single` was computed with. exposure_log_std: standard deviation of its log.
        measured_exposure: what blur and alignment say about the exposure time so far; None before they have met.
        field: what the network saw. fitted_flow: (2, h, w) the flow that `single` explains, input px.
        view: which part of the image the network saw.
        seconds: time spent per step: "prepare", "network", "solve", "align", "sign".
    """

    measurement: str
    stamp: int
    velocity: Velocity
    sign_resolved: bool
    frame_stamp: int
    single: Velocity
    sign_probability: float
    alignment: Alignment | None
    gap: int
    mean_flow: float
    residual: float
    inliers: float
    evidence: float
    exposure: float
    exposure_log_std: float
    measured_exposure: MeasuredExposure | None
    field: NetworkOutput
    fitted_flow: np.ndarray
    view: View
    seconds: dict[str, float]

    @property
    def ambiguous(self) -> bool:
        """Whether the camera visibly moved but nobody can say which way. Without visible blur it does not matter."""
        return not self.sign_resolved and self.mean_flow >= _VISIBLE_BLUR

    def as_single(self) -> MotionEstimate | None:
        """What the blur of this frame alone says; the previous frame only chose the sign.

        None as long as the exposure time is little more than a guess: blur is a turn, only time makes it a rate.
        """
        if self.exposure_log_std > _KNOWN_LOG_STD:
            return None
        return replace(
            self,
            measurement="single",
            stamp=self.frame_stamp,
            velocity=self.single,
            sign_resolved=self.sign_probability >= _SURE,
        )

    def as_aligned(self) -> MotionEstimate | None:
        """What alignment with the previous frame says; None where it cannot be trusted."""
        if self.alignment is None or self.alignment.doubt:
            return None
        return replace(
            self,
            measurement="aligned",
            stamp=self.frame_stamp - self.gap // 2,
            velocity=self.alignment.velocity,
            sign_resolved=True,
        )

    def with_known_sign(self) -> MotionEstimate:
        """The estimate for somebody who knows that its sign is right: no doubt about it in the covariance."""
        doubt = _doubt(self.single.vector, self.sign_probability)
        single = replace(self.single, covariance=self.single.covariance - doubt)
        return replace(
            self,
            velocity=single if self.measurement == "single" else self.velocity,
            sign_resolved=True,
            single=single,
            sign_probability=1.0,
        )


def _doubt(velocity: np.ndarray, probability: float) -> np.ndarray:
    """Second moment (6, 6) about a velocity (6,) of a mixture in which its reverse has the remaining probability."""
    return 4 * (1 - probability) * np.outer(velocity, velocity)


@dataclass(frozen=True)
class _Geometry:
    """What is computed once per camera."""

    camera: Camera
    view: View
    matrix: MotionFieldMatrix
    grid: Grid
    aligner: Aligner
    windows: Windows

    def flow(self, velocity: np.ndarray, depth: np.ndarray | None) -> np.ndarray:
        """Image motion (2, h, w), input px/s, of a camera that moves with (6,) (v, ω)."""
        flow = self.matrix.flow(velocity, None if depth is None else depth.ravel())
        return np.nan_to_num(flow).T.reshape(2, *self.grid.shape)


@dataclass
class _Seen:
    """A frame and what has been found out about it so far; kept for the next one.

    Attributes:
        clock: see `Frame`. gap: from the frame before, ns; 0 without one.
        image: the network's input.
        exposure: s. exposure_log_std: standard deviation of its log.
        depth: (h, w) m, NaN where unknown; None if nothing is known.
        depth_log_std: see `Uncertainty`.
        solution: velocity from blur, with an arbitrary sign. log_odds: speak for that sign.
        alignment, measured_exposure, seconds: see `MotionEstimate`.
    """

    stamp: int
    clock: int
    gap: int
    geometry: _Geometry
    image: np.ndarray
    exposure: float
    exposure_log_std: float
    field: NetworkOutput
    depth: np.ndarray | None
    depth_log_std: float
    solution: Solution
    alignment: Alignment | None = None
    log_odds: float = 0.0
    measured_exposure: MeasuredExposure | None = None
    seconds: dict[str, float] = dataclass_field(default_factory=dict)

    @cached_property
    def small(self) -> np.ndarray:
        """Luminance per grid cell."""
        return small_image(self.image, self.geometry.grid)

    @cached_property
    def pyramid(self) -> tuple[np.ndarray, ...]:
        return self.geometry.aligner.pyramid(self.image)

    @property
    def aligned_velocity(self) -> np.ndarray | None:
        """(6,) mean velocity since the previous frame, where it can be trusted."""
        return None if self.alignment is None or self.alignment.doubt else self.alignment.velocity.vector

    @property
    def last_velocity(self) -> np.ndarray | None:
        """(6,) the best that is known about the motion at this frame; None if its direction is open."""
        if self.aligned_velocity is not None:
            return self.aligned_velocity
        estimate = self.estimate()
        return estimate.velocity.vector if estimate.sign_resolved else None

    def estimate(self, further_log_odds: float = 0.0) -> MotionEstimate:
        """The single-frame estimate with its likelier sign, and a covariance that knows how likely."""
        log_odds = self.log_odds + further_log_odds
        single, fitted_flow = self.solution.velocity, self.solution.flow
        largest_turn = single.angular[np.argmax(np.abs(single.angular))]
        if log_odds < 0 or (log_odds == 0 and largest_turn < 0):
            single, fitted_flow = single.reversed(), -fitted_flow
        probability = 1 / (1 + math.exp(-abs(log_odds)))
        single = replace(single, covariance=single.covariance + _doubt(single.vector, probability))
        return MotionEstimate(
            measurement="single",
            stamp=self.stamp,
            velocity=single,
            sign_resolved=probability >= _SURE,
            frame_stamp=self.stamp,
            single=single,
            sign_probability=probability,
            alignment=self.alignment,
            gap=self.gap,
            mean_flow=float(np.hypot(*self.field.axial_flow).mean()) * self.geometry.view.px_at_320,
            residual=self.solution.residual,
            inliers=self.solution.inliers,
            evidence=self.solution.evidence,
            exposure=self.exposure,
            exposure_log_std=self.exposure_log_std,
            measured_exposure=self.measured_exposure,
            field=self.field,
            fitted_flow=fitted_flow,
            view=self.geometry.view,
            seconds=self.seconds,
        )


class MotionEstimator:
    """Turns a sequence of frames of one camera into velocities. Not thread-safe.

    The camera may change between frames. A stamp that jumps back starts a new sequence.

    Attributes:
        alignment: of the last two frames, also where it was not good enough to be published; None before.
    """

    def __init__(self, engine: Engine, options: Options | None = None) -> None:
        self.engine = engine
        self.options = options or Options()
        if self.options.motion_model == "full" and not engine.info.predicts_depth:
            raise InputError("this model predicts no depth: use motion_model 'rotation'")
        self._geometry: _Geometry | None = None
        self.reset()

    @classmethod
    def from_model(
        cls,
        model: str | Path,
        options: Options | None = None,
        *,
        engine: str = "auto",
        threads: int = 0,
        precision: str = "auto",
        dla_core: int = -1,
    ) -> MotionEstimator:
        """Load a model file and make an estimator of it. See `load_engine` for arguments and errors."""
        loaded = load_engine(model, engine, threads, precision, dla_core)
        try:
            return cls(loaded, options)
        except InputError:
            loaded.close()
            raise

    def reset(self) -> None:
        """Forget earlier frames."""
        self.alignment: Alignment | None = None
        self._last: _Seen | None = None
        self._exposure: ExposureEstimator | None = None

    @property
    def exposure(self) -> float | None:
        """With Options.estimate_exposure, what the next frame will be computed with, s; None before the first frame."""
        return self._exposure.estimate.seconds if self._exposure and self.options.estimate_exposure else None

    def update(self, frame: Frame) -> MotionEstimate | None:
        """Measure with a frame.

        Returns:
            The estimate for this frame; with `sign_resolution: centered` the one for the frame before. None if there is
            none: at the first frame when centered, with `measurement: aligned` wherever alignment is rejected, and
            where a velocity from blur is wanted but the exposure time is still to be estimated.

        Raises:
            InputError: the frame cannot be used. Earlier frames are not forgotten.
        """
        if frame.exposure is None and not self.options.estimate_exposure:
            raise InputError("exposure time is not known: give it with the frame, or let it be estimated")
        if self._last is not None and frame.clock == self._last.clock:
            raise InputError(f"image stamp {frame.clock} ns repeats: the frame is skipped")
        if self._last is not None and (frame.clock < self._last.clock or frame.stamp <= self._last.stamp):
            self.reset()
        started = time.perf_counter()
        geometry = self._geometry_for(frame.camera)
        image = geometry.view.prepare(frame.image, self.engine.info.colour)
        depth = None if frame.depth is None else geometry.view.sample_depth(frame.depth, self.engine.info.stride)
        prepared = time.perf_counter()
        field = self.engine.infer(image)
        inferred = time.perf_counter()
        seen = self._solve(frame, geometry, image, field, depth)
        solved = time.perf_counter()
        last = self._last
        if last is not None and self.options.sign_resolution != "axial":
            seen.alignment = self.alignment = self._align(seen, last)
        aligned = time.perf_counter()
        if frame.rate_hint is not None and self.options.sign_resolution != "axial":
            seen.log_odds = rate_log_odds(seen.solution.velocity, frame.rate_hint, self.options.rate_hint_std)
        if last is not None and self.options.sign_resolution != "axial":
            seen.log_odds += self._log_odds(seen, last)
            seen.measured_exposure = self._measure_exposure(seen, last)
        directed = time.perf_counter()
        seen.seconds.update(
            prepare=prepared - started,
            network=inferred - prepared,
            solve=solved - inferred,
            align=aligned - solved,
            sign=directed - aligned,
        )
        self._last = seen
        if self.options.sign_resolution != "centered":
            return self._choose(seen.estimate())
        return None if last is None else self._choose(_look_ahead(last, seen))

    def flush(self) -> MotionEstimate | None:
        """With `sign_resolution: centered`, the estimate of the last frame, for which no next frame will come."""
        last, self._last = self._last, None
        return (
            self._choose(last.estimate()) if last is not None and self.options.sign_resolution == "centered" else None
        )

    def _geometry_for(self, camera: Camera) -> _Geometry:
        if self._geometry is None or self._geometry.camera != camera:
            info = self.engine.info
            view = View.of(camera, info.width, info.height)
            grid = Grid.of(view.camera, info.stride)
            matrix = MotionFieldMatrix.at(view.camera, grid.pixels.T)
            self._geometry = _Geometry(
                camera, view, matrix, grid, Aligner.of(view.camera, info.stride), Windows.of(view.camera, info.stride)
            )
            self.reset()
        return self._geometry

    def _solve(
        self, frame: Frame, geometry: _Geometry, image: np.ndarray, field: NetworkOutput, depth: np.ndarray | None
    ) -> _Seen:
        """Blur → velocity up to sign."""
        info, options, last = self.engine.info, self.options, self._last
        exposure, exposure_log_std = self._exposure_of(frame)
        depth_log_std = field.depth_log_std if depth is None else 0.0
        blur = float(np.hypot(*field.axial_flow).mean())
        known_depth = field.depth if depth is None else depth
        solution = solve(
            field,
            geometry.matrix,
            exposure,
            motion_model=options.motion_model,
            depth=depth,
            previous=None if last is None else last.solution.velocity.vector,
            spectra=geometry.windows.spectra(image, blur, known_depth if options.motion_model == "full" else None),
            uncertainty=Uncertainty(
                linear_prior_std=options.linear_prior_std,
                lever_arm=options.lever_arm,
                correlated_cells=info.correlated_cells,
                flow_log_std=info.flow_log_std,
                typical_relative_sigma=info.typical_relative_sigma,
                exposure_log_std=exposure_log_std,
                depth_log_std=depth_log_std,
            ),
        )
        return _Seen(
            stamp=frame.stamp,
            clock=frame.clock,
            gap=self._gap(frame),
            geometry=geometry,
            image=image,
            exposure=exposure,
            exposure_log_std=exposure_log_std,
            field=field,
            depth=known_depth,
            depth_log_std=depth_log_std,
            solution=solution,
        )

    def _gap(self, frame: Frame) -> int:
        """Time between two mid-exposures, ns; 0 without a previous frame."""
        if self._last is None:
            return 0
        if self.options.estimate_exposure:
            return frame.clock - self._last.clock
        return frame.stamp - self._last.stamp

    def _exposure_of(self, frame: Frame) -> tuple[float, float]:
        """Exposure time, s, for this frame, and the standard deviation of its log."""
        if not self.options.estimate_exposure:
            return frame.exposure, self.options.exposure_log_std
        if self._exposure is None:
            guessed = frame.exposure is None
            start = (FIRST_EXPOSURE, _GUESSED_LOG_STD) if guessed else (frame.exposure, _GIVEN_LOG_STD)
            self._exposure = ExposureEstimator(*start)
        estimate = self._exposure.estimate
        return estimate.seconds, estimate.log_std

    def _align(self, seen: _Seen, last: _Seen) -> Alignment:
        reach = _LENGTH_REACH * math.exp(seen.exposure_log_std)
        blur, seconds = seen.solution.velocity, seen.gap * 1e-9
        alignment = seen.geometry.aligner.align(
            seen.pyramid,
            last.pyramid,
            seconds,
            starts_along(blur.vector, last.last_velocity, reach),
            seen.depth,
            motion_model=self.options.motion_model,
            linear_prior_std=self.options.linear_prior_std,
            lever_arm=self.options.lever_arm,
            depth_log_std=seen.depth_log_std,
        )
        if not alignment.doubt and contradicts(blur, alignment.velocity, seconds / 2):
            return replace(alignment, doubt="it contradicts the blur")
        return alignment

    def _log_odds(self, seen: _Seen, last: _Seen) -> float:
        """For the sign of the solution, from the previous frame."""
        velocity, seconds = seen.solution.velocity, seen.gap * 1e-9
        if seen.aligned_velocity is not None:
            return alignment_log_odds(velocity, seen.solution.shared_log_std, seen.alignment.velocity, seconds / 2)
        log_odds = photometric_log_odds(
            seen.geometry.grid, velocity.vector, seen.depth, seen.small, last.small, seconds
        )
        if last.last_velocity is not None:
            log_odds += continuity_log_odds(velocity.vector, velocity.covariance, last.last_velocity, seconds)
        return log_odds

    def _measure_exposure(self, seen: _Seen, last: _Seen) -> MeasuredExposure | None:
        """Hold the blur of the previous frame against the motion from the frame before it to this one."""
        if self._exposure is None:
            self._exposure = ExposureEstimator(1.0, _GUESSED_LOG_STD)
        before, now = (1.0, 1.0) if self.options.estimate_exposure else (last.exposure, seen.exposure)
        if seen.aligned_velocity is not None and last.aligned_velocity is not None:
            # Each is the velocity halfway between two frames: interpolated at the frame in the middle.
            share = last.gap / (last.gap + seen.gap)
            velocity = (1 - share) * last.aligned_velocity + share * seen.aligned_velocity
            change = seen.aligned_velocity - last.aligned_velocity
            depth = last.depth if self.options.motion_model == "full" else None
            rate, blur = blur_along(last.solution.flow, last.geometry.flow(velocity, depth))
            rate_change, _ = blur_along(last.solution.flow, last.geometry.flow(change, depth))
            scale = last.geometry.view.px_at_320
            pixels = scale * blur, scale * before * rate, scale * before * rate_change
            self._exposure.observe(*pixels, clear=last.solution.belief)
        elif last.measured_exposure is None:
            return None
        estimate = self._exposure.estimate
        return replace(estimate, seconds=now * estimate.seconds)

    def _choose(self, estimate: MotionEstimate) -> MotionEstimate | None:
        """The measurement that was asked for.

        Stamps increase strictly whatever they alternate between: halfway from the previous frame to this one is later
        than the one and earlier than the other.
        """
        single, aligned = estimate.as_single(), estimate.as_aligned()
        return {"single": single, "aligned": aligned, "auto": aligned or single}[self.options.measurement]


def _look_ahead(seen: _Seen, following: _Seen) -> MotionEstimate:
    """The estimate of a frame whose sign is judged by the next frame too."""
    if seen.geometry is not following.geometry:
        return seen.estimate()
    velocity, seconds = seen.solution.velocity, following.gap * 1e-9
    if following.aligned_velocity is not None:
        aligned = following.alignment.velocity
        return seen.estimate(alignment_log_odds(velocity, seen.solution.shared_log_std, aligned, seconds / 2))
    return seen.estimate(
        photometric_log_odds(seen.geometry.grid, velocity.vector, seen.depth, seen.small, following.small, -seconds)
    )
