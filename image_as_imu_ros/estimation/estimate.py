"""MotionEstimate: the velocity measured with one frame, its covariance, and how it was found."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.estimation.alignment import Alignment
from image_as_imu_ros.estimation.config import Measurement
from image_as_imu_ros.estimation.constants import ESTIMATOR, SCENE_DEPTH, SHARED
from image_as_imu_ros.estimation.exposure import MeasuredExposure
from image_as_imu_ros.estimation.frame import halfway
from image_as_imu_ros.estimation.velocity import Term, Velocity
from image_as_imu_ros.geometry.view import View


@dataclass(frozen=True)
class MotionEstimate:
    """Velocity of the camera, measured with one frame.

    Attributes:
        measurement: "single" or "aligned", what `velocity` is. See `EstimatorConfig`.
        stamp: time of `velocity`, ns: mid-exposure, or halfway between two mid-exposures.
        velocity: in the camera's optical frame.
        sign_resolved: whether its sign is known.
        header_stamp: of the frame, ns. mid_exposure: of the frame, ns.
        single: velocity at mid-exposure from blur; its covariance has a term for the sign.
        sign_probability: that the sign of `single` is right, 0.5 to 1.
        aligned: velocity halfway between the two mid-exposures, from their alignment; None where that is rejected.
            Without `Term.ACCELERATION` its covariance is that of the mean over `dt`.
        alignment: with the previous frame; None if there is none, or if signs are left open.
        dt: from the previous mid-exposure to this one, s; 0 if there is no previous frame.
        mean_flow: mean predicted blur length, px at 320 px image width.
        residual: misfit of the blur in units of the predicted sigma; about 1 if the scene is static and the model is
            right.
        inliers: fraction of grid cells that agree with the network's part of it.
        log_likelihood_ratio: of `single` against any blur, by the image's spectra.
        exposure: s, that `single` was computed with. exposure_log_std: standard deviation of its log.
        measured_exposure: what blur and alignment say about the exposure time so far; None before they have met.
        network_output: what the network saw.
        measured_depth_share: of the grid's cells whose depth was measured; None without a depth image.
        fitted_flow: (2, h, w) the flow that `single` explains, input px.
        view: which part of the image the network saw.
        seconds: time spent per step: "prepare", "network", "solve", "align", "sign".
    """

    measurement: Measurement
    stamp: int
    velocity: Velocity
    sign_resolved: bool
    header_stamp: int
    mid_exposure: int
    single: Velocity
    sign_probability: float
    aligned: Velocity | None
    alignment: Alignment | None
    dt: float
    mean_flow: float
    residual: float
    inliers: float
    log_likelihood_ratio: float
    exposure: float
    exposure_log_std: float
    measured_exposure: MeasuredExposure | None
    network_output: NetworkOutput
    measured_depth_share: float | None
    fitted_flow: np.ndarray
    view: View
    seconds: dict[str, float]

    @property
    def hidden_share(self) -> float:
        """Share of the network's grid that takes no part: masked, or found to move with the camera."""
        return 1.0 - float(np.isfinite(self.network_output.axial_flow).all(0).mean())

    @property
    def ambiguous(self) -> bool:
        """Whether the camera visibly moved but its sign is not known. Without visible blur it does not matter."""
        return not self.sign_resolved and self.mean_flow >= SHARED.visible_blur

    @property
    def depth_too_sparse(self) -> bool:
        """Whether a depth image was given, but the network's depth was used."""
        return self.measured_depth_share is not None and self.measured_depth_share < SCENE_DEPTH.least_share

    @property
    def depth_is_foreign(self) -> bool:
        """Whether v rests on a network's depth whose shape is not the scene's, and its scale likely neither."""
        measured = self.measured_depth_share is not None and not self.depth_too_sparse
        travel = self.alignment.travel if self.alignment else None
        return not measured and travel is not None and travel.map_shape.foreign

    def as_single(self) -> MotionEstimate | None:
        """Return what the blur of this frame alone says; the previous frame only chose the sign.

        None as long as the exposure time is little more than a guess: blur is a rotation, only time makes it a rate.
        """
        if self.exposure_log_std > ESTIMATOR.known_log_std:
            return None
        return replace(
            self,
            measurement=Measurement.SINGLE,
            stamp=self.mid_exposure,
            velocity=self.single,
            sign_resolved=self.sign_probability >= ESTIMATOR.resolved_probability,
        )

    def as_aligned(self) -> MotionEstimate | None:
        """Return what alignment with the previous frame says; None where it is rejected."""
        if self.aligned is None:
            return None
        return replace(
            self,
            measurement=Measurement.ALIGNED,
            stamp=halfway(self.mid_exposure, self.dt),
            velocity=self.aligned,
            sign_resolved=True,
        )

    def with_known_sign(self) -> MotionEstimate:
        """Return the estimate for somebody who knows that its sign is right: without that term of the covariance."""
        return replace(
            self,
            velocity=self.velocity.without_term(Term.SIGN),
            sign_resolved=True,
            single=self.single.without_term(Term.SIGN),
            sign_probability=1.0,
        )
