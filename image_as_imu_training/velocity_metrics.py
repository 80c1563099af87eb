"""How good the velocity is that the runtime's solver makes of a predicted motion field."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.camera import Camera
from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.motion_field import MotionField, MotionFieldMatrix, cell_centres
from image_as_imu_ros.solver import Uncertainty, solve
from image_as_imu_training.metrics import Predictions
from image_as_imu_training.samples import Samples

_MIN_TRANSLATION_PX = 3.0
_EXPECTED_TRANSLATION = 0.3  # m per exposure, each component: the solver's prior


@dataclass(frozen=True)
class VelocityFigures:
    """Errors of v that the runtime's solver makes with a motion field, on frames that tell about depth.

    Attributes:
        frames: how many have an exact velocity, known depth, and at least 3 px of blur from translation.
        with_true_depth, with_own_depth: RMSE of v relative to that of answering zero.
    """

    frames: int
    with_true_depth: float
    with_own_depth: float


def velocity_figures(frames: Samples, predictions: Predictions, calibration: ModelInfo) -> VelocityFigures:
    """Solve for v per exposure, with the labelled depth and with the predicted one; the sign is the truth's.

    Args:
        calibration: as the export stores it.
    """
    uncertainty = Uncertainty(_EXPECTED_TRANSLATION, calibration.correlated_cells)
    spread_scale = np.array(calibration.spread_scale)[:, None, None]
    truths, errors = [], {"true": [], "own": []}
    for index in np.flatnonzero(frames.depth_known & np.isfinite(frames.motion).all(1)):
        motion, depth = frames.motion[index].astype(np.float64), frames.depth[index].astype(np.float64)
        height, width = frames.image.shape[1:]
        focal, cx, cy = map(float, frames.camera[index])
        centres = cell_centres(*depth.shape, height // len(depth))
        matrix = MotionFieldMatrix.at(Camera(width, height, focal, focal, cx, cy), centres)
        translation = matrix.flow(np.r_[motion[:3], 0, 0, 0], depth.ravel())
        if np.linalg.norm(translation, axis=1).mean() < _MIN_TRANSLATION_PX:
            continue
        truths.append(motion[:3])
        true_flow = matrix.flow(motion, depth.ravel())
        field = MotionField(
            calibration.corrected(predictions.flow[index]),
            predictions.spread[index] * spread_scale,
            predictions.depth[index],
            predictions.depth_spread[index],
            height // len(depth),
        )
        for kind, assumed in (("true", depth), ("own", None)):
            velocity = solve(field, matrix, 1.0, uncertainty=uncertainty, depth=assumed).velocity
            agrees = (matrix.flow(velocity.vector, depth.ravel()) * true_flow).sum() > 0
            errors[kind].append((velocity if agrees else velocity.reversed()).linear - motion[:3])
    if not truths:
        return VelocityFigures(0, math.nan, math.nan)
    zero = np.sqrt(np.mean(np.square(truths)))
    true, own = (float(np.sqrt(np.mean(np.square(errors[kind]))) / zero) for kind in ("true", "own"))
    return VelocityFigures(len(truths), true, own)
