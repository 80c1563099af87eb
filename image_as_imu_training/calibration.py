"""How far the network's own uncertainty can be trusted, measured on whole held-out frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_training.metrics import Predictions
from image_as_imu_training.samples import Samples

_ONE_SIGMA = 0.6827  # share of a normal distribution within one standard deviation
_MEDIAN_SQUARE = 0.4549  # median of the square of a standard normal variable
# Below these, the direction of a streak and the length that a frame shares mean little.
_MIN_CELL_BLUR_PX = 1.0
_MIN_FRAME_BLUR_PX = 3.0
# A guess: one image tells the size of a scene only to who knows such scenes, and the held-out ones are of a kind with
# those trained on.
_UNSEEN_DEPTH_LOG_STD = 0.5
_LENGTH_BINS_PX = (0, 0.5, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 60, 100)
_FEWEST_IN_BIN = 1000  # cells


@dataclass(frozen=True)
class Calibration:
    """The fields of the same names in ModelInfo.

    Attributes:
        length_curve: pairs of predicted and true streak lengths, px.
        spread_scale: the predicted spread times this holds 68 % of the errors of length, as one sigma does.
        spread_across: the same for errors across q's direction, as a fraction of that.
        correlated_cells: how many cells share one independent error.
        flow_log_std: standard deviation over frames of the log of the length error that a whole frame shares.
        depth_log_std: standard deviation over frames of the mean log depth error, and as much again as scenes unlike
            the rendered ones may add.
    """

    length_curve: tuple[tuple[float, float], ...]
    spread_scale: float
    spread_across: float
    correlated_cells: float
    flow_log_std: float
    depth_log_std: float


# For weights that nobody held against truth: the small network's figures, on the cautious side.
UNCALIBRATED = Calibration(
    length_curve=(),
    spread_scale=3.0,
    spread_across=1.0,
    correlated_cells=200.0,
    flow_log_std=0.5,
    depth_log_std=0.5,
)


def length_curve(frames: Samples, predictions: Predictions) -> tuple[tuple[float, float], ...]:
    """Median true length in bins of predicted length, over the surer half of the cells; ascending in both.

    In held-out scenes the network reads long streaks too long and the shortest too short: a curve mends it.
    """
    predicted = np.linalg.norm(predictions.flow, axis=1)
    doubt = predictions.spread / (1 + predicted)
    sure = doubt <= np.median(doubt)
    predicted, true = predicted[sure], np.linalg.norm(frames.flow.astype(np.float32), axis=1)[sure]
    pairs = []
    for low, high in pairwise(_LENGTH_BINS_PX):
        inside = (predicted >= low) & (predicted < high)
        if inside.sum() >= _FEWEST_IN_BIN:
            pairs.append((float(np.median(predicted[inside])), float(np.median(true[inside]))))
    ascending = np.maximum.accumulate([true for _, true in pairs])
    return tuple((p, float(t)) for (p, _), t in zip(pairs, ascending, strict=True))


def calibrate(frames: Samples, predictions: Predictions) -> Calibration:
    """Correct lengths by `length_curve`, then compare the remaining errors with predicted spreads.

    Lengths: all streaks of a frame may be read too long or too short together; the ratio that a frame shares is
    fitted, and varies by `flow_log_std`. Directions: a frame's mean error across q, weighted by 1/spread² as the solver
    weights, would have the variance 1/Σ(1/spread²) if cells were independent. How many times larger it really is, is
    the number of cells that share one error. Medians over frames serve, since single failures are the robust solver's
    business.
    """
    curve = length_curve(frames, predictions)
    info = ModelInfo("", "", 1, 1, length_curve=curve)
    truth = frames.flow.astype(np.float32)
    error = info.corrected(predictions.flow.swapaxes(0, 1)).swapaxes(0, 1) - truth
    length = np.linalg.norm(truth, axis=1)
    direction = truth / np.maximum(length, 1e-6)[:, None]
    along = (error * direction).sum(1)
    across = error[:, 1] * direction[:, 0] - error[:, 0] * direction[:, 1]
    moving = length >= _MIN_CELL_BLUR_PX
    spread_along, spread_across = (
        float(np.quantile((np.abs(part) / predictions.spread)[moving], _ONE_SIGMA)) for part in (along, across)
    )

    blurred = length.mean((1, 2)) >= _MIN_FRAME_BLUR_PX
    precision = predictions.spread[blurred] ** -2.0
    length, along, across = length[blurred], along[blurred], across[blurred]
    log_ratio = np.log(
        ((precision * (length + along) * length).sum((1, 2)) / (precision * length**2).sum((1, 2))).clip(1e-3)
    )
    flow_log_std = float(np.median(np.abs(log_ratio - np.median(log_ratio))) / np.sqrt(_MEDIAN_SQUARE))
    mean_squared = (precision * across).sum((1, 2)) ** 2 / precision.sum((1, 2)) / spread_across**2
    correlated_cells = float(np.median(mean_squared) / _MEDIAN_SQUARE)

    known = frames.depth_known
    depth_log_error = np.log(predictions.depth[known] / frames.depth[known].astype(np.float32)).mean((1, 2))
    return Calibration(
        length_curve=curve,
        spread_scale=spread_along,
        spread_across=spread_across / spread_along,
        correlated_cells=max(1.0, correlated_cells),
        flow_log_std=flow_log_std,
        depth_log_std=math.hypot(np.std(depth_log_error), _UNSEEN_DEPTH_LOG_STD),
    )
