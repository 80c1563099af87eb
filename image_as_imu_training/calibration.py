"""How far the network's own uncertainty can be trusted, measured on whole held-out frames.

Of a cell with true axial flow q let q̂ be the prediction with its length corrected (below), and e = (e∥, e⊥) the
error q̂ − q along q and across it. The network predicts sigmas s = (s∥, s⊥). What a filter needs:

**Lengths.** The curve c(‖q̂‖) = median of ‖q‖ where ‖q̂‖ is predicted, made ascending.

**Sigmas of cells.** Factors k with P(|e| < k·s) = 0.68, along and across: quantiles, blind to outliers, which the
solver forgives, too.

**What a frame shares.** All lengths of a frame may be wrong by one ratio. A frame's weighted least-squares ratio is
ρ = Σ w·(‖q‖ + e∥)·‖q‖ / Σ w·‖q‖² with w = s∥⁻². Its logarithm varies in proportion to the frame's relative sigma r
(median of k∥·s∥ relative to the length): log ρ ~ N(0, (σ_L·r/r̃)²) with r̃ the median of r. As |log ρ|·r̃/r has the median
0.6745·σ_L,

    σ_L (`flow_log_std`) = median(|log ρ|·r̃/r) / √0.4549.

Likewise for the scale of a frame's depth, whose sigma is d = rms(s_Z): with ℓ the mean log error of the frame and
k_m = the 0.68 quantile of |ℓ|/d, the factor is √(k_m² + (0.65/d̃)²), where 0.65 is for unseen scenes.

**Correlation.** Errors of neighbours are alike. `correlated_cells` n scales the solver's covariance by n so that three
frames in four have δᵀΣ⁻¹δ below that quantile of χ²₆: see `velocity_metrics`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import pairwise

import numpy as np

from image_as_imu_ros.engine.model_info import ModelInfo
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_training.metrics import Predictions, depth_log_errors
from image_as_imu_training.samples import Samples
from image_as_imu_training.velocity_metrics import correlated_cells, flow_smoothing

ONE_SIGMA = 0.6827  # share of a normal distribution within one standard deviation
_MEDIAN_SQUARE = 0.4549  # median of the square of a standard normal variable
# Below these, the orientation of a streak and the length that a frame shares mean little.
_MIN_CELL_BLUR_PX = 1.0
_MIN_FRAME_BLUR_PX = 3.0
# One image shows the size of a scene only to who knows such scenes, and most of the held-out frames are of a kind with
# those trained on. With this, the scale had a mean normalised error squared of 0.97 on 13 scenes that are not
# (docs/training.md; tools/measure_depth.py).
_UNSEEN_DEPTH_LOG_STD = 0.65
_LENGTH_BINS_PX = (0, 0.5, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 60, 100)
_FEWEST_IN_BIN = 1000  # cells


@dataclass(frozen=True)
class Calibration:
    """The fields of the same names in ModelInfo.

    Attributes:
        length_curve: pairs of predicted and true streak lengths, px.
        sigma_scale: the predicted sigmas along q and across times these hold 68 % of the errors, as one sigma does.
        depth_sigma_scale: a frame's predicted sigma of log depth (root mean square) times this holds 68 % of the mean
            log depth errors of frames, with an allowance for scenes unlike the rendered ones.
        flow_smoothing: px by which inverse depth is to be smoothed to explain the predicted flow best.
        correlated_cells: how many cells share one independent error; see the function of that name.
        flow_log_std: standard deviation over frames of the log of the length error that a whole frame shares, in frames
            of typical relative sigma.
        typical_relative_sigma: median over frames of `NetworkOutput.relative_sigma`.
    """

    length_curve: tuple[tuple[float, float], ...]
    sigma_scale: tuple[float, float]
    depth_sigma_scale: float
    flow_smoothing: float
    correlated_cells: float
    flow_log_std: float
    typical_relative_sigma: float | None = None


# For weights that nobody held against ground truth and that predict sigmas of 1: the small network's figures, on the
# cautious side.
UNCALIBRATED = Calibration(
    length_curve=(),
    sigma_scale=(3.0, 3.0),
    depth_sigma_scale=0.5,
    flow_smoothing=0.0,
    correlated_cells=200.0,
    flow_log_std=0.5,
)


def length_curve(frames: Samples, predictions: Predictions) -> tuple[tuple[float, float], ...]:
    """Take the median true length in bins of predicted length, over the surer half of the cells; ascending in both.

    In held-out scenes the network reads long streaks too long and the shortest too short: a curve mends it.
    """
    predicted = np.linalg.norm(predictions.flow, axis=1)
    relative_sigma = predictions.sigma[:, 0] / (1 + predicted)
    sure = relative_sigma <= np.median(relative_sigma)
    predicted, true = predicted[sure], np.linalg.norm(frames.flow.astype(np.float32), axis=1)[sure]
    pairs = []
    for low, high in pairwise(_LENGTH_BINS_PX):
        inside = (predicted >= low) & (predicted < high)
        if inside.sum() >= _FEWEST_IN_BIN:
            pairs.append((float(np.median(predicted[inside])), float(np.median(true[inside]))))
    ascending = np.maximum.accumulate([true for _, true in pairs])
    return tuple((p, float(t)) for (p, _), t in zip(pairs, ascending, strict=True))


def flow_errors(frames: Samples, predictions: Predictions, calibration: ModelInfo) -> np.ndarray:
    """Split errors of corrected predictions of q into those along true q and across: (N, 2, h, w) px."""
    ground_truth = frames.flow.astype(np.float32)
    error = calibration.corrected(predictions.flow.swapaxes(0, 1)).swapaxes(0, 1) - ground_truth
    unit = ground_truth / np.maximum(np.linalg.norm(ground_truth, axis=1, keepdims=True), 1e-6)
    across = error[:, 1] * unit[:, 0] - error[:, 0] * unit[:, 1]
    return np.stack([(error * unit).sum(1), across], 1)


def calibrate(frames: Samples, predictions: Predictions) -> Calibration:
    """Correct lengths by `length_curve`, then compare the remaining errors with predicted sigmas: see the module.

    Medians over frames serve, since single failures are the robust solver's business. All errors that cells share but
    for the length, of orientation and of how the flow changes across the frame, are allowed for by `correlated_cells`.
    """
    curve = length_curve(frames, predictions)
    corrected = ModelInfo("", "", 1, 1, length_curve=curve)
    errors = flow_errors(frames, predictions, corrected)
    length = np.linalg.norm(frames.flow.astype(np.float32), axis=1)
    ratios = (np.abs(errors) / predictions.sigma).swapaxes(0, 1)[:, length >= _MIN_CELL_BLUR_PX]
    scale_along, scale_across = np.quantile(ratios, ONE_SIGMA, axis=1).tolist()

    blurred = length.mean((1, 2)) >= _MIN_FRAME_BLUR_PX
    length, along = length[blurred], errors[blurred, 0]
    precision = predictions.sigma[blurred, 0] ** -2.0
    shared_ratio = (precision * (length + along) * length).sum((1, 2)) / (precision * length**2).sum((1, 2))
    log_ratio = np.log(shared_ratio.clip(1e-3))
    flow = corrected.corrected(predictions.flow[blurred].swapaxes(0, 1)).swapaxes(0, 1)
    sigma = predictions.sigma[blurred] * np.array([scale_along, scale_across])[:, None, None]
    relative = np.array([NetworkOutput(q, s, None, None, 1).relative_sigma for q, s in zip(flow, sigma, strict=True)])
    typical_relative_sigma = float(np.median(relative))
    flow_log_std = float(np.median(np.abs(log_ratio) * typical_relative_sigma / relative) / np.sqrt(_MEDIAN_SQUARE))
    calibration = Calibration(
        length_curve=curve,
        sigma_scale=(scale_along, scale_across),
        depth_sigma_scale=_depth_sigma_scale(frames, predictions),
        flow_smoothing=0.0,
        correlated_cells=UNCALIBRATED.correlated_cells,
        flow_log_std=flow_log_std,
        typical_relative_sigma=typical_relative_sigma,
    )
    info = ModelInfo("", "", 1, 1, **asdict(calibration))
    calibration = replace(calibration, flow_smoothing=flow_smoothing(frames, predictions, info))
    cells = correlated_cells(frames, predictions, info)
    return calibration if cells is None else replace(calibration, correlated_cells=cells)


def _depth_sigma_scale(frames: Samples, predictions: Predictions) -> float:
    """Measure `Calibration.depth_sigma_scale`.

    The allowance is such that a frame of median sigma is off by _UNSEEN_DEPTH_LOG_STD in quadrature with what was
    measured, and others in proportion.
    """
    error = depth_log_errors(frames, predictions)
    known = np.isfinite(error).any((1, 2))
    sigma = np.sqrt(np.square(predictions.depth_sigma).mean((1, 2)))
    if not known.any():
        return float(_UNSEEN_DEPTH_LOG_STD / np.median(sigma))
    shared, sigma = np.nanmean(error[known], axis=(1, 2)), sigma[known]
    measured = np.quantile(np.abs(shared) / sigma, ONE_SIGMA)
    return float(np.hypot(measured, _UNSEEN_DEPTH_LOG_STD / np.median(sigma)))
