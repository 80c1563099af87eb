"""A frame and what has been found out about it so far; kept for the next one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.estimation.alignment import Aligner, Alignment
from image_as_imu_ros.estimation.at_stamp import Acceleration
from image_as_imu_ros.estimation.blur_cells import thinned_grid
from image_as_imu_ros.estimation.blur_solver import Solution
from image_as_imu_ros.estimation.blur_spectrum import Windows
from image_as_imu_ros.estimation.config import Measurement
from image_as_imu_ros.estimation.constants import ESTIMATOR, SIGN, STRUCTURE
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.exposure import MeasuredExposure
from image_as_imu_ros.estimation.frame import halfway
from image_as_imu_ros.estimation.frame_times import FrameTime
from image_as_imu_ros.estimation.innovation import Forecast
from image_as_imu_ros.estimation.readout import without_readout
from image_as_imu_ros.estimation.scene_depth import SceneDepth
from image_as_imu_ros.estimation.scene_mask import scene_cells
from image_as_imu_ros.estimation.sign import (
    Grid,
    alignment_log_odds,
    continuity_log_odds,
    contradiction,
    disagreement,
    photometric_log_odds,
    small_image,
)
from image_as_imu_ros.estimation.velocity import Term, Velocity
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix
from image_as_imu_ros.geometry.view import View


@dataclass(frozen=True)
class Geometry:
    """What is computed once per camera.

    Attributes:
        scene: (h, w) bool, which cells of the network's grid see the scene.
    """

    camera: Camera
    view: View
    matrix: MotionFieldMatrix
    grid: Grid
    aligner: Aligner
    windows: Windows
    scene: np.ndarray

    @classmethod
    def of(cls, camera: Camera, width: int, height: int, stride: int, mask: np.ndarray | None = None) -> Geometry:
        """Prepare for images of `camera` and a network with inputs of width × height px and cells of `stride` px.

        Args:
            mask: (H, W) bool, where the images show the scene.

        Raises:
            InputError: the mask is not as large as the images.
        """
        view = View.of(camera, width, height)
        grid = Grid.of(view.camera, stride)
        matrix = MotionFieldMatrix.at(view.camera, grid.pixels.T)
        scene = scene_cells(mask, view, stride)
        aligner, windows = Aligner.of(view.camera, stride, scene), Windows.of(view.camera, stride, scene)
        return cls(camera, view, matrix, grid, aligner, windows, scene)

    def holds_for(self, camera: Camera) -> bool:
        """Tell whether a camera is this one, but for changes that nobody can see."""
        scale = self.view.camera.width / self.view.width
        return camera == self.camera or (
            camera.resembles(self.camera, 1.0) and scale * self.camera.largest_move(camera) < ESTIMATOR.unseen_change
        )

    def without_readout(
        self, velocity: Velocity, scene: SceneDepth, readout_time: float, *, sheared: bool, measured: bool
    ) -> Velocity:
        """Correct an apparent velocity for a rolling shutter, see `readout`."""
        _, index, row, _ = thinned_grid(*self.grid.shape)
        rows = self.view.source.height * self.view.camera.height / self.view.height
        return without_readout(
            velocity,
            self.matrix.select(index),
            None if scene.depth is None else scene.depth.ravel()[index],
            (2 * row + 1) / self.grid.shape[0] - 1,
            readout_time / rows,
            sheared=sheared,
            measured=measured,
        )

    def flow(self, velocity: np.ndarray, depth: np.ndarray | None) -> np.ndarray:
        """Predict the image motion (2, h, w), input px/s, of a camera that moves with (6,) (v, ω)."""
        flow = self.matrix.flow(velocity, None if depth is None else depth.ravel())
        return np.nan_to_num(flow).T.reshape(2, *self.grid.shape)


@dataclass(frozen=True)
class Images:
    """A network input, and smaller ones made of it when they are needed."""

    image: np.ndarray
    geometry: Geometry

    @cached_property
    def small(self) -> np.ndarray:
        """Luminance per grid cell."""
        return small_image(self.image, self.geometry.grid)

    @cached_property
    def pyramid(self) -> tuple[np.ndarray, ...]:
        """Undistorted luminance per level."""
        return self.geometry.aligner.pyramid(self.image)


@dataclass(frozen=True)
class Observation:
    """A frame and what has been found out about it so far.

    Attributes:
        time: when it was taken. mid_exposure: ns. dt: s, from the frame before; 0 without one. dt_std: of it, s.
        exposure: s. exposure_log_std: standard deviation of its log. readout_time: s.
        solution: velocity from blur, with an arbitrary sign. log_odds: speak for that sign.
        parts_move: whether parts of the scene are expected to move by themselves, so that its larger part alone counts.
        alignment: as the two images show it, as is blur; both are corrected for the readout at the end.
        measured_exposure, seconds: see `MotionEstimate`.
        acceleration: of late; None as long as nothing was aligned.
        forecast: of the velocity, after this alignment.
        innovation: covariance (6, 6) that is added because this alignment is not what was expected.
        earlier_disagreement: `usual_disagreement`, the frame before included.
    """

    time: FrameTime
    mid_exposure: int
    dt: float
    dt_std: float
    geometry: Geometry
    images: Images
    exposure: float
    exposure_log_std: float
    readout_time: float
    network_output: NetworkOutput
    scene: SceneDepth
    solution: Solution
    parts_move: bool = False
    alignment: Alignment | None = None
    acceleration: Acceleration | None = None
    forecast: Forecast | None = None
    innovation: np.ndarray = field(default_factory=lambda: np.zeros((6, 6)))
    earlier_disagreement: float = 3.0
    log_odds: float = 0.0
    measured_exposure: MeasuredExposure | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def aligned_with(self, last: Observation, alignment: Alignment) -> Observation:
        """Add what an alignment with the previous frame says."""
        acceleration, accepted, innovation = last.acceleration, alignment.accepted, self.innovation
        forecast = None if last.forecast is None else last.forecast.later(self.dt)
        if accepted is not None:
            if forecast is None:
                forecast = Forecast(accepted.vector, accepted.covariance)
            else:
                innovation = forecast.inflation(accepted)
                forecast = forecast.updated(accepted, innovation)
            stamp = halfway(self.mid_exposure, self.dt)
            if acceleration is None:
                acceleration = Acceleration.first(accepted.vector, stamp, self.dt)
            else:
                acceleration = acceleration.followed_by(accepted.vector, stamp)
        return replace(
            self,
            alignment=alignment,
            acceleration=acceleration,
            forecast=forecast,
            innovation=innovation,
            earlier_disagreement=last.usual_disagreement(self.dt, accepted),
        )

    @property
    def blur(self) -> float:
        """Mean predicted blur length, px at 320 px image width."""
        return self.network_output.mean_flow * self.geometry.view.px_at_320

    @property
    def sharp(self) -> bool:
        """Whether corners can be tracked in it."""
        return self.blur < STRUCTURE.longest_blur

    @property
    def history_arguments(self) -> tuple[Camera, int, np.ndarray]:
        """What `History` keeps of it: the finest level's camera, when it was taken, ns, and its luminance (H, W)."""
        return self.geometry.aligner.levels[0].camera, self.mid_exposure, self.images.pyramid[0]

    @property
    def accepted(self) -> Velocity | None:
        """Mean velocity since the previous frame; None without one, and where the alignment is rejected."""
        return self.alignment.accepted if self.alignment else None

    @property
    def aligned(self) -> Velocity | None:
        """What alignment says about the velocity at its stamp, halfway; None where it is rejected."""
        accepted = self.accepted
        if accepted is None or self.acceleration is None:
            return None
        terms = self.acceleration.terms(self.dt, self.dt_std, self.time.std)
        inflation = {Term.CONTRADICTION: self.contradiction, Term.INNOVATION: self.innovation}
        return self._for_readout(accepted.with_terms({**terms, **inflation}))

    def _for_readout(self, velocity: Velocity) -> Velocity:
        """Correct an alignment for the readout: points that moved by rows were seen earlier, or later, by as many."""
        if not self.readout_time:
            return velocity
        measured = self.scene.measured and bool(velocity.linear.any())
        return self.geometry.without_readout(velocity, self.scene, self.readout_time, sheared=True, measured=measured)

    @cached_property
    def disagreement(self) -> tuple[np.ndarray, float] | None:
        """How the blur differs from the alignment, see `sign.disagreement`; None where there are not both."""
        accepted = self.accepted
        if accepted is None or self.acceleration is None or not self.exposure_log_std < ESTIMATOR.known_log_std:
            return None
        return disagreement(self.solution.velocity, accepted, self.acceleration.change(self.dt / 2))

    @property
    def contradiction(self) -> np.ndarray:
        """Covariance (6, 6) that blur and alignment add to each other where they differ."""
        return np.zeros((6, 6)) if self.disagreement is None else contradiction(*self.disagreement)

    def usual_disagreement(self, dt: float, following: Velocity | None) -> float:
        """Update the running mean of χ² of late by this frame's: 3 where blurs are as wrong as they say.

        Its blur is held against what alignments before and after it say about its time, which is far surer than one of
        them alone.

        Args:
            dt: s, to the next frame. following: by the alignment of that, None where it was rejected.
        """
        accepted = self.accepted
        known = self.exposure_log_std < ESTIMATOR.known_log_std
        if accepted is None or following is None or self.acceleration is None or not known:
            return self.earlier_disagreement
        between = accepted.towards(following, self.dt / (self.dt + dt))
        departure = self.acceleration.terms(self.dt, 0.0, 0.0)[Term.ACCELERATION]
        _, squared = disagreement(self.solution.velocity, between, departure)
        squared = min(squared, SIGN.contradiction)
        return self.earlier_disagreement + (squared - self.earlier_disagreement) / SIGN.usual_frames

    @property
    def aligned_velocity(self) -> np.ndarray | None:
        """(6,) of `accepted`."""
        return None if self.accepted is None else self.accepted.vector

    def rotation_change(self, seconds: float) -> np.ndarray:
        """How much ω may change (3,) rad/s within some time, as it did of late; 0 where that is not known."""
        if self.acceleration is None:
            return np.zeros(3)
        return np.asarray(np.sqrt(np.diag(self.acceleration.change(seconds))[3:]))

    @property
    def recent_travel(self) -> np.ndarray:
        """(3,) m/s, mean v since the previous frame; 0 where it is not known."""
        return np.zeros(3) if self.aligned_velocity is None else self.aligned_velocity[:3]

    @cached_property
    def last_velocity(self) -> np.ndarray | None:
        """(6,) the best that is known about the motion at this frame; None if its sign is open."""
        if self.aligned_velocity is not None:
            return self.aligned_velocity
        estimate = self.estimate()
        return estimate.velocity.vector if estimate.sign_resolved else None

    def estimate(self, further_log_odds: float = 0.0) -> MotionEstimate:
        """Make the single-frame estimate with its likelier sign, and a covariance that knows how likely.

        With probability p of this sign, the second moment about x of a mixture of x and −x is 4·(1 − p)·x·xᵀ.
        """
        log_odds = self.log_odds + further_log_odds
        single, fitted_flow = self.solution.velocity, self.solution.flow
        largest_rate = single.angular[np.argmax(np.abs(single.angular))]
        if log_odds < 0 or (log_odds == 0 and largest_rate < 0):
            single, fitted_flow = single.reversed(), -fitted_flow
        probability = 1 / (1 + math.exp(-abs(log_odds)))
        sign = 4 * (1 - probability) * np.outer(single.vector, single.vector)
        # What blurs were wrong by in the frames before, for example where the camera vibrates, this one may be, too.
        usual = max(0.0, self.earlier_disagreement / 3 - 1) * single.covariance
        single = single.with_terms({Term.SIGN: sign, Term.CONTRADICTION: self.contradiction + usual})
        if self.readout_time:
            rolled = self.geometry.without_readout
            single = rolled(single, self.scene, self.readout_time, sheared=False, measured=False)
            fitted_flow = self.exposure * self.geometry.flow(single.vector, self.scene.depth)
        alignment = self.alignment
        if alignment is not None and alignment.velocity is not None:
            alignment = replace(alignment, velocity=self._for_readout(alignment.velocity))
        return MotionEstimate(
            measurement=Measurement.SINGLE,
            stamp=self.mid_exposure,
            velocity=single,
            sign_resolved=probability >= ESTIMATOR.resolved_probability,
            header_stamp=self.time.header_stamp,
            mid_exposure=self.mid_exposure,
            single=single,
            sign_probability=probability,
            alignment=alignment,
            aligned=self.aligned,
            dt=self.dt,
            mean_flow=self.blur,
            residual=self.solution.residual,
            inliers=self.solution.inliers,
            log_likelihood_ratio=self.solution.log_likelihood_ratio,
            exposure=self.exposure,
            exposure_log_std=self.exposure_log_std,
            measured_exposure=self.measured_exposure,
            network_output=self.network_output,
            measured_depth_share=self.scene.share,
            fitted_flow=fitted_flow,
            view=self.geometry.view,
            seconds=self.seconds,
        )

    def log_odds_after(self, last: Observation) -> float:
        """Log-odds for the sign of the solution, from the previous frame."""
        velocity = self.solution.velocity
        if self.accepted is not None:
            return alignment_log_odds(velocity, self.accepted, self.dt / 2)
        small = self.images.small, last.images.small
        log_odds = photometric_log_odds(self.geometry.grid, velocity.vector, self.scene.depth, *small, self.dt)
        if last.last_velocity is not None:
            log_odds += continuity_log_odds(velocity.vector, velocity.covariance, last.last_velocity, self.dt)
        return log_odds

    def estimate_before(self, following: Observation) -> MotionEstimate:
        """Make the single-frame estimate, its sign judged by the next frame too."""
        velocity, seconds = self.solution.velocity, following.dt
        if following.accepted is not None:
            return self.estimate(alignment_log_odds(velocity, following.accepted, seconds / 2))
        small = self.images.small, following.images.small
        return self.estimate(
            photometric_log_odds(self.geometry.grid, velocity.vector, self.scene.depth, *small, -seconds)
        )
