"""How good the velocity is that the runtime's solver makes of a predicted motion field and its image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.estimation.blur_solver import Uncertainty, solve
from image_as_imu_ros.estimation.blur_spectrum import Windows
from image_as_imu_ros.estimation.travel import Travel
from image_as_imu_ros.estimation.velocity import Velocity
from image_as_imu_ros.geometry.axial_flow import axial_from_signed
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres
from image_as_imu_training.metrics import Predictions
from image_as_imu_training.samples import Samples

_MIN_PX = 3.0
_MOST_FRAMES, _THEIR_CHI_SQUARE = 0.75, 7.841  # the quantile of χ² with six degrees of freedom
_MOST_CELLS = 1e5
_SMOOTHINGS_PX = tuple(range(0, 52, 4))
_HALVINGS = 12
_ANY_TRANSLATION = 3.0  # m per exposure, each component: as good as no prior, for errors are to be seen whole


@dataclass(frozen=True)
class VelocityFigures:
    """Errors of the velocity that the runtime's solver makes of a motion field and the image, and of the flow it means.

    Attributes:
        frames: how many have an exact velocity.
        orientation_error_deg: median error of the streak's orientation by the velocity solved with the true depth.
        length_error: median of |‖f̂‖/‖f‖ − 1|, likewise. Both where the true blur has at least 3 px, on the half of
            those cells where the velocity's covariance allows for the smallest relative error of length.
        own_depth_orientation_error_deg, own_depth_length_error: the same with the network's depth.
        translations: how many frames also have known depth and at least 3 px of blur from translation.
        with_true_depth, with_own_depth: RMSE of v on those, relative to that of answering zero.
    """

    frames: int
    orientation_error_deg: float
    length_error: float
    own_depth_orientation_error_deg: float
    own_depth_length_error: float
    translations: int
    with_true_depth: float
    with_own_depth: float


def correlated_cells(frames: Samples, predictions: Predictions, calibration: ModelInfo) -> float | None:
    """Count the cells that share one independent error, for the solver's covariance to be right; None if none can tell.

    Of the frames with an exact velocity and 3 px of blur, three in four then have a normalised error squared of (v, ω)
    below that quantile of χ² with six degrees of freedom: the median would hide that some are read wrongly. They are
    solved with the network's own depth, which errs in shape, too, and without spectra.

    Args:
        calibration: all of it but the number of cells.
    """
    blurred = [
        frame
        for frame in _exact_frames(frames, predictions, calibration)
        if np.nanmean(np.linalg.norm(frame.true_flow, axis=1)) >= _MIN_PX
    ]
    if not blurred:
        return None

    def excess(log_cells: float) -> float:
        uncertainty = _uncertainty(calibration, math.exp(log_cells))
        squares = []
        for frame in blurred:
            with_depth_error = replace(uncertainty, depth_log_std=frame.field.depth_log_std)
            velocity = frame.velocity(None, with_depth_error, spectra=False)
            error = velocity.vector - frame.motion
            squares.append(error @ np.linalg.solve(velocity.covariance, error))
        return float(np.quantile(squares, _MOST_FRAMES)) - _THEIR_CHI_SQUARE

    few, many = 0.0, math.log(_MOST_CELLS)
    if excess(few) <= 0:
        return 1.0
    for _ in range(_HALVINGS):
        middle = (few + many) / 2
        few, many = (middle, many) if excess(middle) > 0 else (few, middle)
    return math.exp(many)


def flow_smoothing(frames: Samples, predictions: Predictions, calibration: ModelInfo) -> float:
    """Find `NetworkOutput.smoothing`, px, with which true motion and smoothed true depth explain predictions best.

    Of the frames with an exact velocity and 3 px of blur from translation; 0 if there are none.

    Args:
        calibration: all of it that concerns lengths and sigmas.
    """
    telling = [frame for frame in _exact_frames(frames, predictions, calibration) if _translates(frame)]

    def misfit(smoothing: float) -> float:
        misfits = []
        for frame in telling:
            field = replace(frame.field, smoothing=smoothing)
            flow = frame.matrix.flow(frame.motion, field.as_smooth(frame.depth).ravel()).T.reshape(field.sigma.shape)
            error = np.hypot(*(field.axial_flow - axial_from_signed(flow)))
            misfits.append(np.nanmedian(error / np.sqrt(field.sigma.prod(0))))
        return float(np.mean(misfits))

    return min(_SMOOTHINGS_PX, key=misfit) if telling else 0.0


def _translates(frame: _Frame) -> bool:
    """Say whether the frame's depth has a scale, and its blur 3 px from translation."""
    translation = frame.matrix.flow(np.r_[frame.motion[:3], 0, 0, 0], frame.depth.ravel())
    return frame.depth_known and float(np.nanmean(np.linalg.norm(translation, axis=1))) >= _MIN_PX


def velocity_figures(frames: Samples, predictions: Predictions, calibration: ModelInfo) -> VelocityFigures:
    """Solve for the velocity per exposure, with the labelled depth and with the predicted one, with the true sign.

    Args:
        calibration: as the export stores it.
    """
    uncertainty = _uncertainty(calibration, calibration.correlated_cells)
    true_linear, streaks, errors = [], {"true": [], "own": []}, {"true": [], "own": []}
    exact = list(_exact_frames(frames, predictions, calibration))
    for frame in exact:
        tells_translation = _translates(frame)
        if tells_translation:
            true_linear.append(frame.motion[:3])
        for whose, measured in (("true", frame.depth), ("own", None)):
            velocity = frame.velocity(measured, uncertainty)
            depth = frame.predicted_depth if measured is None else measured
            jacobian = frame.matrix.velocity_to_flow(depth.ravel())
            streaks[whose].append(_flow_errors(velocity, jacobian, frame.true_flow))
            if tells_translation:
                errors[whose].append(velocity.linear - frame.motion[:3])
    zero = _root_mean_square(true_linear)
    orientation, length = _of_surer_half(streaks["true"])
    own_orientation, own_length = _of_surer_half(streaks["own"])
    return VelocityFigures(
        frames=len(exact),
        orientation_error_deg=orientation,
        length_error=length,
        own_depth_orientation_error_deg=own_orientation,
        own_depth_length_error=own_length,
        translations=len(true_linear),
        with_true_depth=_root_mean_square(errors["true"]) / zero,
        with_own_depth=_root_mean_square(errors["own"]) / zero,
    )


@dataclass(frozen=True)
class _Frame:
    """A frame with an exact velocity, and what was predicted for it.

    Attributes:
        depth: (h, w) m, labelled, NaN where nobody measured it; depth_known: whether it has a scale.
        motion: (6,) true (v, ω) per exposure. true_flow: (cells, 2) px, NaN where the depth is.
    """

    image: np.ndarray
    depth: np.ndarray
    depth_known: bool
    motion: np.ndarray
    camera: Camera
    matrix: MotionFieldMatrix
    field: NetworkOutput
    true_flow: np.ndarray

    @property
    def predicted_depth(self) -> np.ndarray:
        """(h, w) m by the network, which predicts it in training."""
        assert self.field.depth is not None
        return self.field.depth

    def velocity(self, measured: np.ndarray | None, uncertainty: Uncertainty, spectra: bool = True) -> Velocity:
        """Solve per exposure as the runtime does, with measured depth (h, w) m or the network's, with the true sign."""
        depth = self.predicted_depth if measured is None else measured
        seen = None
        if spectra:
            blur = float(np.hypot(*self.field.axial_flow).mean())
            seen = Windows.of(self.camera, self.field.stride).spectra(
                self.image, blur, uncertainty.relative_error_of(self.field), depth
            )
        velocity = solve(self.field, self.matrix, 1.0, uncertainty=uncertainty, depth=measured, spectra=seen).velocity
        agrees = np.nansum(self.matrix.flow(velocity.vector, depth.ravel()) * self.true_flow) > 0
        return velocity if agrees else velocity.reversed()


def _exact_frames(frames: Samples, predictions: Predictions, calibration: ModelInfo) -> Iterator[_Frame]:
    sigma_scale = np.array(calibration.sigma_scale)[:, None, None]
    for index in np.flatnonzero(np.isfinite(frames.motion).all(1)):
        motion, depth = frames.motion[index].astype(np.float64), frames.depth[index].astype(np.float64)
        height, width = frames.image[index].shape
        stride = height // len(depth)
        focal, cx, cy = map(float, frames.camera[index])
        camera = Camera(width, height, focal, focal, cx, cy)
        rows, columns = depth.shape
        matrix = MotionFieldMatrix.at(camera, cell_centres(rows, columns, stride))
        field = NetworkOutput(
            calibration.corrected(predictions.flow[index]),
            predictions.sigma[index] * sigma_scale,
            predictions.depth[index],
            predictions.depth_sigma[index] * calibration.depth_sigma_scale,
            stride,
            calibration.flow_smoothing,
        )
        true_flow = matrix.flow(motion, depth.ravel())
        known = bool(frames.depth_known[index])
        yield _Frame(frames.image[index], depth, known, motion, camera, matrix, field, true_flow)


def _uncertainty(calibration: ModelInfo, cells: float) -> Uncertainty:
    return Uncertainty(
        travel=Travel(_ANY_TRANSLATION, 0.0),
        correlated_cells=cells,
        flow_log_std=calibration.flow_log_std,
        typical_relative_sigma=calibration.typical_relative_sigma,
    )


def _flow_errors(velocity: Velocity, flow_per_velocity: np.ndarray, true_flow: np.ndarray) -> np.ndarray:
    """Judge the N cells with at least 3 px of true blur.

    Returns:
        (3, N): expected relative error of length, error of orientation in rad, relative error of length.
    """
    chosen = np.linalg.norm(true_flow, axis=1) >= _MIN_PX
    jacobian, true_flow = flow_per_velocity[chosen], true_flow[chosen]
    flow = jacobian @ velocity.vector
    length, true_length = np.linalg.norm(flow, axis=1), np.linalg.norm(true_flow, axis=1)
    along = np.einsum("nk,nkp->np", flow / np.maximum(length, 1e-9)[:, None], jacobian)
    std = np.sqrt(np.einsum("np,pq,nq->n", along, velocity.covariance, along))
    cosine = np.abs((flow * true_flow).sum(1)) / np.maximum(length * true_length, 1e-9)
    return np.stack(
        [std / np.maximum(length, 1e-9), np.arccos(np.minimum(cosine, 1)), np.abs(length / true_length - 1)]
    )


def _of_surer_half(errors: list[np.ndarray]) -> tuple[float, float]:
    """Take median errors of orientation in degrees and of length, of `_flow_errors` of several frames."""
    expected, orientation, length = np.concatenate([*errors, np.empty((3, 0))], axis=1)
    if not len(expected):
        return math.nan, math.nan
    surer = expected <= np.median(expected)
    return float(np.degrees(np.median(orientation[surer]))), float(np.median(length[surer]))


def _root_mean_square(values: list[np.ndarray]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values else math.nan
