"""How good the velocity is that the runtime's solver makes of a predicted motion field and its image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.blur_spectrum import Windows
from image_as_imu_ros.camera import Camera
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.motion_field import MotionField, MotionFieldMatrix, cell_centres
from image_as_imu_ros.solver import Uncertainty, Velocity, solve
from image_as_imu_training.metrics import Predictions
from image_as_imu_training.samples import Samples

_MIN_PX = 3.0
_EXPECTED_TRANSLATION = 0.3  # m per exposure, each component: the solver's prior


@dataclass(frozen=True)
class VelocityFigures:
    """Errors of the velocity that the runtime's solver makes of a motion field and the image, and of the flow it means.

    Attributes:
        frames: how many have an exact velocity.
        direction_error_deg: median error of the streak's direction line by the velocity solved with the true depth.
        length_error: median of |‖f̂‖/‖f‖ − 1|, likewise. Both where the true blur has at least 3 px, on the half of
            those cells where the velocity's covariance allows for the smallest relative error of length.
        translations: how many frames also have known depth and at least 3 px of blur from translation.
        with_true_depth, with_own_depth: RMSE of v on those, relative to that of answering zero.
    """

    frames: int
    direction_error_deg: float
    length_error: float
    translations: int
    with_true_depth: float
    with_own_depth: float


def velocity_figures(frames: Samples, predictions: Predictions, calibration: ModelInfo) -> VelocityFigures:
    """Solve for the velocity per exposure, with the labelled depth and with the predicted one; its sign is the truth's.

    Args:
        calibration: as the export stores it.
    """
    uncertainty = Uncertainty(
        _EXPECTED_TRANSLATION, calibration.correlated_cells, flow_log_std=calibration.flow_log_std
    )
    spread_scale = np.array(calibration.spread_scale)[:, None, None]
    cells, truths, errors = [], [], {"true": [], "own": []}
    exact = np.flatnonzero(np.isfinite(frames.motion).all(1))
    for index in exact:
        motion, depth = frames.motion[index].astype(np.float64), frames.depth[index].astype(np.float64)
        height, width = frames.image[index].shape
        stride = height // len(depth)
        focal, cx, cy = map(float, frames.camera[index])
        camera = Camera(width, height, focal, focal, cx, cy)
        matrix = MotionFieldMatrix.at(camera, cell_centres(*depth.shape, stride))
        field = MotionField(
            calibration.corrected(predictions.flow[index]),
            predictions.spread[index] * spread_scale,
            predictions.depth[index],
            predictions.depth_spread[index],
            stride,
        )
        frame = _Frame(frames.image[index], camera, matrix, field, matrix.flow(motion, depth.ravel()))
        velocity = frame.velocity(depth, uncertainty)
        cells.append(_flow_errors(velocity, matrix.velocity_to_flow(depth.ravel()), frame.true_flow))
        translation = matrix.flow(np.r_[motion[:3], 0, 0, 0], depth.ravel())
        if frames.depth_known[index] and np.linalg.norm(translation, axis=1).mean() >= _MIN_PX:
            truths.append(motion[:3])
            errors["true"].append(velocity.linear - motion[:3])
            errors["own"].append(frame.velocity(field.depth, uncertainty).linear - motion[:3])
    doubt, direction, length = np.concatenate([*cells, np.empty((3, 0))], axis=1)
    surer = doubt <= np.median(doubt) if len(doubt) else np.zeros(0, bool)
    zero = _root_mean_square(truths)
    return VelocityFigures(
        len(exact),
        float(np.degrees(np.median(direction[surer]))) if surer.any() else math.nan,
        float(np.median(length[surer])) if surer.any() else math.nan,
        len(truths),
        _root_mean_square(errors["true"]) / zero,
        _root_mean_square(errors["own"]) / zero,
    )


@dataclass(frozen=True)
class _Frame:
    """A frame, what was predicted for it, and its true flow (cells, 2) px."""

    image: np.ndarray
    camera: Camera
    matrix: MotionFieldMatrix
    field: MotionField
    true_flow: np.ndarray

    def velocity(self, depth: np.ndarray, uncertainty: Uncertainty) -> Velocity:
        """Per exposure, solved as the runtime does with depth (h, w) m, with the true sign."""
        blur = float(np.hypot(*self.field.axial_flow).mean())
        spectra = Windows.of(self.camera, self.field.stride).spectra(self.image, blur, depth)
        velocity = solve(self.field, self.matrix, 1.0, uncertainty=uncertainty, depth=depth, spectra=spectra).velocity
        agrees = (self.matrix.flow(velocity.vector, depth.ravel()) * self.true_flow).sum() > 0
        return velocity if agrees else velocity.reversed()


def _flow_errors(velocity: Velocity, flow_per_velocity: np.ndarray, true_flow: np.ndarray) -> np.ndarray:
    """For the N cells with at least 3 px of true blur: expected relative error of length, error of direction in rad,
    relative error of length: (3, N)."""
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


def _root_mean_square(values: list[np.ndarray]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values else math.nan
