"""Which exposure time each frame is computed with: the one that came with it, or the one that frames have shown."""

from __future__ import annotations

from image_as_imu_ros.estimation.config import EstimatorConfig, MotionModel
from image_as_imu_ros.estimation.constants import ESTIMATOR
from image_as_imu_ros.estimation.exposure import ExposureEstimator, MeasuredExposure, blur_along
from image_as_imu_ros.estimation.frame import Frame
from image_as_imu_ros.estimation.observation import Observation


class ExposureTimes:
    """Exposure times of the frames of one camera. A given one is measured, too, to tell whether it can be right."""

    def __init__(self, config: EstimatorConfig) -> None:
        self._config = config
        self._estimator: ExposureEstimator | None = None
        self._first = ESTIMATOR.first_exposure

    def of(self, frame: Frame) -> MeasuredExposure:
        """Return the exposure time that a frame is computed with."""
        given = frame.shutter.exposure
        if not self._config.estimate_exposure:
            assert given is not None  # frames without one are refused
            return MeasuredExposure(given, self._config.exposure_relative_error)
        if self._estimator is None:
            self._first = ESTIMATOR.first_exposure if given is None else given
            self._estimator = ExposureEstimator(ESTIMATOR.guessed_log_std if given is None else ESTIMATOR.given_log_std)
        return self._estimator.estimate(self._first)

    def mid_exposure(self, frame: Frame, stamp: int) -> int:
        """Return the middle of a frame's exposure, ns, if that is stamped `stamp`, ns."""
        return frame.shutter.mid_exposure(stamp, self.of(frame).seconds)

    def measured(self, observation: Observation, last: Observation) -> MeasuredExposure | None:
        """Compare the blur of the previous frame with its displacement: their ratio is the exposure.

        The displacement is that from the frame before it to this one. None as long as no frame has told anything.
        """
        if self._estimator is None:
            self._estimator = ExposureEstimator(ESTIMATOR.guessed_log_std)
        before, now = last.exposure, observation.exposure
        if self._config.estimate_exposure:
            before = now = self._first
        if observation.aligned_velocity is not None and last.aligned_velocity is not None:
            # Each is the velocity halfway between two frames: interpolated at the frame in the middle.
            share = last.dt / (last.dt + observation.dt)
            velocity = (1 - share) * last.aligned_velocity + share * observation.aligned_velocity
            change = observation.aligned_velocity - last.aligned_velocity
            depth = last.scene.depth if self._config.motion_model == MotionModel.FULL else None
            rate, blur = blur_along(last.solution.flow, last.geometry.flow(velocity, depth))
            rate_change, _ = blur_along(last.solution.flow, last.geometry.flow(change, depth))
            scale = last.geometry.view.px_at_320
            pixels = scale * blur, scale * before * rate, scale * before * rate_change
            self._estimator.observe(*pixels, clear=last.solution.spectra_probability)
        elif last.measured_exposure is None:
            return None
        return self._estimator.estimate(now)
