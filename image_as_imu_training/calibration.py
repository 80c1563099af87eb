"""How far the network's own uncertainty can be trusted, measured on whole held-out frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_training.dataset import Samples
from image_as_imu_training.metrics import Predictions

_ONE_SIGMA = 0.6827  # share of a normal distribution within one standard deviation
_MEDIAN_SQUARE = 0.4549  # median of the square of a standard normal variable


@dataclass(frozen=True)
class Calibration:
    """The fields of the same names in ModelInfo.

    Attributes:
        spread_scale: the predicted spread times this holds 68 % of the errors, as one standard deviation does.
        correlated_cells: how many cells share one independent error.
        depth_log_std: standard deviation over frames of the mean log depth error.
    """

    spread_scale: float
    correlated_cells: float
    depth_log_std: float


def calibrate(frames: Samples, predictions: Predictions) -> Calibration:
    """Compare errors with predicted spreads.

    A frame's mean error, weighted by 1/spread² as the solver weights, would have the variance 1/Σ(1/spread²) if cells
    were independent. How many times larger it really is, is the number of cells that share one error: neighbours
    that see the same streak, and whole frames whose streaks are read too long or too short. The median over frames
    serves, since single failures are the robust solver's business.
    """
    error = predictions.flow - frames.flow.astype(np.float32)
    normalised = np.abs(error) / predictions.spread[:, None]
    spread_scale = float(np.quantile(normalised, _ONE_SIGMA))

    weight = 1 / (spread_scale * predictions.spread[:, None]) ** 2
    total = weight.sum((2, 3))
    mean_error = (weight * error).sum((2, 3)) / total
    correlated_cells = float(np.median(mean_error**2 * total) / _MEDIAN_SQUARE)

    log_error = np.log(predictions.depth / frames.depth.astype(np.float32)).mean((1, 2))
    return Calibration(spread_scale, max(1.0, correlated_cells), float(np.nanstd(log_error)))
