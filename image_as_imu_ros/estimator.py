"""MotionEstimator: frames in, velocities out. The one place that knows the order of the steps."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from image_as_imu_ros.camera import Camera
from image_as_imu_ros.direction import (
    DIRECTIONS,
    Grid,
    continuity_log_odds,
    photometric_log_odds,
    small_image,
)
from image_as_imu_ros.engine import Engine, load_engine
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.motion_field import MotionField, MotionFieldMatrix
from image_as_imu_ros.solver import MOTION_MODELS, Solution, Uncertainty, Velocity, solve
from image_as_imu_ros.view import View

STAMP_REFERENCES = ("start", "middle", "end")

_LONGEST_EXPOSURE = 1.0  # s; longer is a mistake of unit
_SURE = 0.9  # probability from which the direction counts as resolved
_VISIBLE_BLUR = 1.0  # px at 320 px width


@dataclass(frozen=True)
class Options:
    """How velocities are estimated.

    Attributes:
        motion_model: "full" (v, ω) or "rotation" (ω only).
        direction: "causal" looks at the previous frame; "centered" at the next one too and answers one frame later;
            "axial" leaves the direction open (ω's largest component is positive).
        linear_prior_std: expected size of each component of v, m/s.
        exposure_log_std: relative error of the exposure times given with the frames.
    """

    motion_model: str = "full"
    direction: str = "causal"
    linear_prior_std: float = 0.5
    exposure_log_std: float = 0.02

    def __post_init__(self) -> None:
        if self.motion_model not in MOTION_MODELS:
            raise InputError(f"motion_model is {self.motion_model!r}, expected one of: {', '.join(MOTION_MODELS)}")
        if self.direction not in DIRECTIONS:
            raise InputError(f"direction is {self.direction!r}, expected one of: {', '.join(DIRECTIONS)}")
        if not self.linear_prior_std > 0:
            raise InputError(f"linear_prior_std is {self.linear_prior_std} m/s; it must be positive")


@dataclass(frozen=True)
class Frame:
    """One camera image.

    Attributes:
        image: (H, W) luminance or (H, W, 3) RGB, uint8.
        stamp: mid-exposure of the middle row, nanoseconds. See `mid_exposure`.
        camera: intrinsics of this image.
        exposure: time that one row integrates light, s.
        depth: (H', W') m registered to the image, 0 or NaN where unknown; None to use the network's.
    """

    image: np.ndarray
    stamp: int
    camera: Camera
    exposure: float
    depth: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_exposure(self.exposure)
        if self.image.dtype != np.uint8 or self.image.ndim not in (2, 3) or self.image.shape[2:] not in ((), (3,)):
            raise InputError(
                f"image has shape {self.image.shape} and type {self.image.dtype}; expected (H, W) or (H, W, 3) uint8"
            )
        if self.stamp <= 0:
            raise InputError(f"image stamp is {self.stamp} ns; it must be positive (is the driver's clock running?)")


@dataclass(frozen=True)
class MotionEstimate:
    """Velocity of the camera at one frame's mid-exposure.

    Attributes:
        stamp: mid-exposure, nanoseconds.
        velocity: in the camera's optical frame; its covariance includes the doubt about the direction.
        resolved_direction: whether the direction is known.
        direction_probability: that the sign of `velocity` is right, 0.5 to 1.
        mean_flow: mean predicted blur length, px at 320 px image width.
        residual: misfit in units of the predicted spread; about 1 if the scene is static and the model is right.
        inliers: fraction of grid cells that agree with the velocity.
        exposure: s.
        field: what the network saw. fitted_flow: (2, h, w) the flow that `velocity` explains, input px.
        view: which part of the image the network saw.
        seconds: time spent per step: "prepare", "network", "solve", "direction".
    """

    stamp: int
    velocity: Velocity
    resolved_direction: bool
    direction_probability: float
    mean_flow: float
    residual: float
    inliers: float
    exposure: float
    field: MotionField
    fitted_flow: np.ndarray
    view: View
    seconds: dict[str, float]

    def with_known_direction(self) -> MotionEstimate:
        """The estimate for somebody who knows that its sign is right: no doubt about it in the covariance."""
        covariance = self.velocity.covariance - _doubt(self.velocity.vector, self.direction_probability)
        return replace(
            self,
            velocity=replace(self.velocity, covariance=covariance),
            direction_probability=1.0,
            resolved_direction=True,
        )

    @property
    def ambiguous(self) -> bool:
        """Whether the camera visibly moved but nobody can say which way. Without visible blur it does not matter."""
        return not self.resolved_direction and self.mean_flow >= _VISIBLE_BLUR

    def reversed(self) -> MotionEstimate:
        """The other velocity that explains the same blur."""
        return replace(self, velocity=self.velocity.reversed(), fitted_flow=-self.fitted_flow)


def _doubt(velocity: np.ndarray, probability: float) -> np.ndarray:
    """Second moment (6, 6) about a velocity (6,) of a mixture in which its reverse has the remaining probability."""
    return 4 * (1 - probability) * np.outer(velocity, velocity)


def check_exposure(exposure: float) -> None:
    """Raises InputError unless an exposure time, s, is a positive number of at most a second."""
    if not (math.isfinite(exposure) and 0 < exposure <= _LONGEST_EXPOSURE):
        raise InputError(
            f"exposure time is {exposure} s; expected more than 0 and at most {_LONGEST_EXPOSURE:g} s (check the unit)"
        )


def mid_exposure(stamp: int, exposure: float, reference: str, readout_time: float = 0.0) -> int:
    """Mid-exposure of the middle row, ns, from a driver's stamp.

    Args:
        stamp: ns.
        exposure: of one row, s.
        reference: what the stamp means: "start" or "end" of the whole frame's exposure, or its "middle".
        readout_time: from the first row's start to the last row's start, s; 0 for a global shutter.
    """
    if reference not in STAMP_REFERENCES:
        raise InputError(f"stamp_reference is {reference!r}, expected one of: {', '.join(STAMP_REFERENCES)}")
    half = round((exposure + readout_time) / 2 * 1e9)
    return stamp + {"start": half, "middle": 0, "end": -half}[reference]


@dataclass(frozen=True)
class _Geometry:
    """What is computed once per camera."""

    camera: Camera
    view: View
    matrix: MotionFieldMatrix
    grid: Grid


@dataclass(frozen=True)
class _Seen:
    """A solved frame, kept for its neighbours.

    `undecided` has an arbitrary sign and no doubt about it in its covariance; `log_odds` speaks for that sign.
    """

    geometry: _Geometry
    small: np.ndarray
    depth: np.ndarray | None
    undecided: MotionEstimate
    log_odds: float

    @cached_property
    def estimate(self) -> MotionEstimate:
        """The estimate with its likelier sign, and a covariance that knows how likely."""
        undecided, velocity = self.undecided, self.undecided.velocity.vector
        largest_turn = velocity[3 + np.argmax(np.abs(velocity[3:]))]
        turn_round = self.log_odds < 0 or (self.log_odds == 0 and largest_turn < 0)
        probability = 1 / (1 + math.exp(-abs(self.log_odds)))
        doubt = _doubt(velocity, probability)
        chosen = undecided.reversed() if turn_round else undecided
        return replace(
            chosen,
            velocity=replace(chosen.velocity, covariance=chosen.velocity.covariance + doubt),
            direction_probability=probability,
            resolved_direction=probability >= _SURE,
        )


class MotionEstimator:
    """Turns a sequence of frames of one camera into velocities. Not thread-safe.

    The camera may change between frames. A stamp that jumps back starts a new sequence.
    """

    def __init__(self, engine: Engine, options: Options | None = None) -> None:
        self.engine = engine
        self.options = options or Options()
        if self.options.motion_model == "full" and not engine.info.predicts_depth:
            raise InputError("this model predicts no depth: use motion_model 'rotation'")
        self._geometry: _Geometry | None = None
        self._last: _Seen | None = None

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
        self._last = None

    def update(self, frame: Frame) -> MotionEstimate | None:
        """Estimate the velocity at a frame.

        Returns:
            The estimate for this frame; with `direction: centered` the one for the frame before, or None at first.

        Raises:
            InputError: the frame cannot be used. Earlier frames are not forgotten.
        """
        if self._last is not None and frame.stamp == self._last.undecided.stamp:
            raise InputError(f"image stamp {frame.stamp} ns repeats: the frame is skipped")
        if self._last is not None and frame.stamp < self._last.undecided.stamp:
            self.reset()
        started = time.perf_counter()
        geometry = self._geometry_for(frame.camera)
        image = geometry.view.prepare(frame.image, self.engine.info.colour)
        depth = None if frame.depth is None else geometry.view.sample_depth(frame.depth, self.engine.info.stride)
        prepared = time.perf_counter()
        field = self.engine.infer(image)
        inferred = time.perf_counter()
        solution = self._solve(field, geometry, frame.exposure, depth)
        solved = time.perf_counter()
        seen = self._compare(frame, geometry, image, field, depth, solution)
        directed = time.perf_counter()
        seen.undecided.seconds.update(
            prepare=prepared - started,
            network=inferred - prepared,
            solve=solved - inferred,
            direction=directed - solved,
        )
        previous, self._last = self._last, seen
        if self.options.direction != "centered":
            return seen.estimate
        return None if previous is None else _look_ahead(previous, seen)

    def flush(self) -> MotionEstimate | None:
        """With `direction: centered`, the estimate of the last frame, for which no next frame will come."""
        last, self._last = self._last, None
        return last.estimate if last is not None and self.options.direction == "centered" else None

    def _geometry_for(self, camera: Camera) -> _Geometry:
        if self._geometry is None or self._geometry.camera != camera:
            info = self.engine.info
            view = View.of(camera, info.width, info.height)
            grid = Grid.of(view.camera, info.stride)
            self._geometry = _Geometry(camera, view, MotionFieldMatrix.at(view.camera, grid.pixels.T), grid)
            self.reset()
        return self._geometry

    def _solve(self, field: MotionField, geometry: _Geometry, exposure: float, depth: np.ndarray | None) -> Solution:
        info = self.engine.info
        return solve(
            field,
            geometry.matrix,
            exposure,
            motion_model=self.options.motion_model,
            depth=depth,
            previous=None if self._last is None else self._last.estimate.velocity.vector,
            uncertainty=Uncertainty(
                linear_prior_std=self.options.linear_prior_std,
                correlated_cells=info.correlated_cells,
                flow_log_std=math.hypot(info.flow_log_std, self.options.exposure_log_std),
                depth_log_std=info.depth_log_std if depth is None else 0.0,
            ),
        )

    def _compare(
        self,
        frame: Frame,
        geometry: _Geometry,
        image: np.ndarray,
        field: MotionField,
        depth: np.ndarray | None,
        solution: Solution,
    ) -> _Seen:
        """Hold a solved frame against the previous one."""
        velocity = solution.velocity.vector
        depth = field.depth if depth is None else depth
        small = small_image(image, geometry.grid)
        last = self._last
        log_odds = 0.0
        if last is not None and self.options.direction != "axial":
            seconds = (frame.stamp - last.undecided.stamp) * 1e-9
            log_odds = photometric_log_odds(geometry.grid, velocity, depth, small, last.small, seconds)
            if last.estimate.resolved_direction:
                previous = last.estimate.velocity.vector
                log_odds += continuity_log_odds(velocity, solution.velocity.covariance, previous, seconds)
        undecided = MotionEstimate(
            stamp=frame.stamp,
            velocity=solution.velocity,
            resolved_direction=False,
            direction_probability=0.5,
            mean_flow=float(np.hypot(*field.axial_flow).mean()) * geometry.view.px_at_320,
            residual=solution.residual,
            inliers=solution.inliers,
            exposure=frame.exposure,
            field=field,
            fitted_flow=solution.flow,
            view=geometry.view,
            seconds={},
        )
        return _Seen(geometry, small, depth, undecided, log_odds)


def _look_ahead(seen: _Seen, following: _Seen) -> MotionEstimate:
    """The estimate of a frame whose sign is judged by the next frame too."""
    if seen.geometry is not following.geometry:
        return seen.estimate
    seconds = (seen.undecided.stamp - following.undecided.stamp) * 1e-9
    velocity = seen.undecided.velocity.vector
    log_odds = photometric_log_odds(seen.geometry.grid, velocity, seen.depth, seen.small, following.small, seconds)
    return replace(seen, log_odds=seen.log_odds + log_odds).estimate
