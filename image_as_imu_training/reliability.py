"""Reliability diagram: are errors of the flow as large as the calibrated spread says?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_training.metrics import Predictions
from image_as_imu_training.samples import Samples

_BINS = 20
_ONE_SIGMA = 0.6827  # share of a normal distribution within one standard deviation


def reliability(frames: Samples, predictions: Predictions, calibration: ModelInfo) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and actual standard deviations in bins of equally many cells.

    Returns:
        Both (2, bins) px, along the streaks and across them. Actual is the 68 % quantile of the errors' size, which
        forgives outliers as the solver does.
    """
    truth = frames.flow.astype(np.float32)
    error = calibration.corrected(predictions.flow.swapaxes(0, 1)).swapaxes(0, 1) - truth
    direction = truth / np.maximum(np.linalg.norm(truth, axis=1, keepdims=True), 1e-6)
    along = np.abs((error * direction).sum(1)).ravel()
    across = np.abs(error[:, 1] * direction[:, 0] - error[:, 0] * direction[:, 1]).ravel()
    spread = predictions.spread.ravel() * calibration.spread_scale
    bins = np.array_split(np.argsort(spread), _BINS)
    predicted = np.array([np.median(spread[cells]) for cells in bins])
    actual = [[np.quantile(part[cells], _ONE_SIGMA) for cells in bins] for part in (along, across)]
    return np.array([predicted, calibration.spread_across * predicted]), np.array(actual)


def plot_reliability(predicted: np.ndarray, actual: np.ndarray, path: Path) -> None:
    """Draw what `reliability` returns; on the diagonal, spreads are what they say."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for x, y, name in zip(predicted, actual, ("along the streak", "across it"), strict=True):
        axes.loglog(x, y, ".-", label=name)
    limits = [min(predicted.min(), actual.min()), max(predicted.max(), actual.max())]
    axes.loglog(limits, limits, "k:", linewidth=1)
    axes.set(xlabel="predicted standard deviation [px]", ylabel="actual: 68 % of errors are smaller [px]")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
