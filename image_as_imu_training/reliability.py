"""Reliability diagram: predicted standard deviations of flow and depth against those of the errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_training.calibration import ONE_SIGMA, flow_errors
from image_as_imu_training.metrics import Predictions, depth_log_errors
from image_as_imu_training.samples import Samples

_BINS = 20


@dataclass(frozen=True)
class Reliability:
    """Standard deviations in bins of equally many cells.

    Attributes:
        predicted: (bins,) median of those that the network says.
        actual: (bins,) 68 % quantile of the errors' size, which forgives outliers as the solver does.
    """

    predicted: np.ndarray
    actual: np.ndarray

    @classmethod
    def of(cls, sigma: np.ndarray, error: np.ndarray) -> Reliability:
        """Bin the sigmas and errors of cells; those whose error is NaN are left out."""
        known = np.isfinite(error)
        sigma, error = sigma[known], np.abs(error[known])
        bins = np.array_split(np.argsort(sigma), _BINS)
        return cls(
            np.array([np.median(sigma[cells]) for cells in bins]),
            np.array([np.quantile(error[cells], ONE_SIGMA) for cells in bins]),
        )


def flow_reliability(
    frames: Samples, predictions: Predictions, calibration: ModelInfo
) -> tuple[Reliability, Reliability]:
    """Measure that of axial flow along true streaks and across them, px, calibrated."""
    errors = flow_errors(frames, predictions, calibration)
    along, across = (
        Reliability.of(scale * predictions.sigma[:, part], errors[:, part])
        for part, scale in enumerate(calibration.sigma_scale)
    )
    return along, across


def depth_reliability(frames: Samples, predictions: Predictions) -> Reliability | None:
    """Measure that of the log of depth, cell by cell as the network says it; None if no depth is known.

    The calibrated sigma is another thing: it is about the error that a whole frame shares, in scenes unlike these too.
    """
    errors = depth_log_errors(frames, predictions)
    return Reliability.of(predictions.depth_sigma, errors) if np.isfinite(errors).any() else None


def plot_reliability(frames: Samples, predictions: Predictions, calibration: ModelInfo, path: Path) -> None:
    """Draw flow and, if it is known, depth side by side; on the diagonal, sigmas are what they say."""
    along, across = flow_reliability(frames, predictions, calibration)
    depth = depth_reliability(frames, predictions)
    panels = [("px", {"along the streak": along, "across it": across})]
    if depth is not None:
        panels.append(("log", {"depth": depth}))
    figure = Figure(figsize=(5 * len(panels), 5), layout="constrained")
    for axes, (unit, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, curve in curves.items():
            axes.loglog(curve.predicted, curve.actual, ".-", label=name)
        axes.axline((1, 1), (2, 2), color="k", linestyle=":", linewidth=1)
        axes.set(xlabel=f"predicted standard deviation [{unit}]", ylabel=f"actual: 68 % of errors are smaller [{unit}]")
        axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
