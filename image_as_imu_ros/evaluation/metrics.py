"""Estimates against ground truth, in the figures of metrics.json.

With e the error of a 3-vector and C its covariance, eᵀC⁻¹e is χ²-distributed with 3 degrees of freedom if C is honest:
its mean (normalised error squared) is 3, and 95 % of it lies below 7.81.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from image_as_imu_ros.evaluation.constant_error import constant_error
from image_as_imu_ros.evaluation.samples import LEAST_ANGULAR, Samples, VelocityPairs, sign_agrees, with_true_sign
from image_as_imu_ros.geometry import so3

_LEAST_TRAVEL = 0.2  # m/s, true |v| from which its direction and length are judged
_CHI2_95_3 = 7.814727903  # 95 % quantile of χ² with 3 degrees of freedom
_DRIFT_TIME = 10.0  # s
_LONGEST_STEP = 0.5  # s between two answers; across more, rotation is not integrated


def metrics(
    samples: Samples,
    exposure: float | None,
    *,
    over_dt: Samples | None = None,
    oracle: bool = False,
    ground_truth_std: float = 0.0,
) -> dict:
    """Compute the content of metrics.json. Figures that cannot be computed are None; there are no NaN.

    A message is taken as the velocity at its stamp, and is held against the ground truth there. In "mean_over_dt" it is
    held against the mean that was measured, with the covariance of that.

    What the node would hold back for its exposure counts in "frames", "held_back" and "time_ms" alone.

    Groups "all" and "blurred" count frames with ground truth. In each:

    - `rmse_angular`, `rmse_linear`, `bias_angular`, `bias_linear`: root mean square and mean of the error per axis,
      without the frames whose sign is open, which the node does not publish.
    - `error_*`, `frames_*`: median and largest length of the error over these, and how many they are.
    - `axis_error_deg`: angle between the estimated and the true rotation axis as lines, 0 to 90°, whatever the sign:
      `direction_correct` is about signs. Only frames that truly rotate, by 0.1 rad/s or more.
    - `magnitude_ratio`: |ω̂| / |ω| over the same frames.
    - `linear_direction_error_deg`, `linear_magnitude_ratio`: angle between v̂ and v, and |v̂| / |v|: see `_travel`.
    - `direction_correct`: of the frames whose sign was known to the estimator, the fraction on which it was right
      before any oracle. See `sign_agrees`.

    In "covariance", over the frames of "all": `nees_*` is the mean of eᵀC⁻¹e for each 3-vector of errors, 3 if the
    covariance is honest; `nees_median_*` is its median, 2.4 then; `coverage95_*` is the fraction of frames whose true
    ω or v is inside the 95 % ellipsoid. `constant_error`, `rotation_drift_deg_10s`: see the functions of these names.

    Args:
        samples: with the published signs.
        exposure: s, or None if it varied.
        over_dt: the same beside means of the ground truth; None if they are.
        oracle: take the sign of each estimate from the ground truth.
        ground_truth_std: standard deviation of each component of the true ω, rad/s, added to the covariances.
    """
    every = samples
    samples, over_dt = (one.select(~one.held_back) for one in (samples, over_dt or samples))
    agrees = np.where(samples.resolved, sign_agrees(samples), np.nan)
    if oracle:
        samples, over_dt = with_true_sign(samples), with_true_sign(over_dt)
    known = samples.has_ground_truth
    return {
        "frames": len(every),
        "held_back": int(every.held_back.sum()),
        "exposure_s": exposure,
        "all": _group(samples.select(known), agrees[known]),
        "blurred": _group(samples.select(known & samples.blurred), agrees[known & samples.blurred]),
        "covariance": _honesty(samples, ground_truth_std),
        "mean_over_dt": {
            "rmse_angular": rmse(over_dt.select(over_dt.published).angular_error),
            "rmse_linear": rmse(over_dt.select(over_dt.published).linear_error),
            **_honesty(over_dt, ground_truth_std),
        },
        "constant_error": constant_error(samples, ground_truth_std),
        "rotation_drift_deg_10s": rotation_drift_deg(over_dt.select(over_dt.published)),
        "time_ms": _quantiles(1e3 * every.seconds, p50=0.5, p95=0.95),
    }


def rmse(error: np.ndarray) -> list[float] | None:
    """Compute the root mean square (3,) of errors (N, 3), without rows that are not known; None if there are none."""
    error = error[np.isfinite(error).all(1)]
    return np.sqrt(np.square(error).mean(0)).tolist() if len(error) else None


def axis_error_deg(samples: VelocityPairs) -> np.ndarray:
    """Compute the angle between estimated and true rotation axis as lines, 0…90°; NaN where nothing truly rotates.

    (N,) float.
    """
    estimate, ground_truth = np.linalg.norm(samples.angular, axis=1), np.linalg.norm(samples.true_angular, axis=1)
    product = estimate * ground_truth
    cosine = np.divide(
        np.abs(np.einsum("ni,ni->n", samples.angular, samples.true_angular)),
        product,
        out=np.full(len(samples), np.nan),
        where=(product > 0) & (ground_truth >= LEAST_ANGULAR),
    )
    return np.degrees(np.arccos(np.minimum(cosine, 1.0)))


def magnitude_ratio(samples: VelocityPairs) -> np.ndarray:
    """Compute |ω̂| / |ω|, (N,); NaN where nothing truly rotates."""
    estimate, ground_truth = np.linalg.norm(samples.angular, axis=1), np.linalg.norm(samples.true_angular, axis=1)
    return np.divide(estimate, ground_truth, out=np.full(len(samples), np.nan), where=ground_truth >= LEAST_ANGULAR)


def ellipsoid_levels(samples: Samples, ground_truth_std: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Compute how large a confidence ellipsoid must be to reach the ground truth, as the probability that it claims.

    If covariances are honest, these are uniform between 0 and 1: of the 90 % ellipsoids, 90 % hold the ground truth.

    Args:
        ground_truth_std: see `metrics`.

    Returns:
        (N,) of ω and (N,) of v; NaN where either the ground truth or the estimate is not known.
    """
    angular, linear = _normalised_errors(samples, ground_truth_std)
    return _chi2_3(angular), _chi2_3(linear)


def rotation_drift_deg(samples: VelocityPairs) -> float | None:
    """Compute the error of the integrated rotation after 10 s, °: median over all starts; None in shorter runs.

    Estimated and true means of ω are integrated alike, by the trapezoidal rule between the samples' stamps, so that
    what the rule itself is off by cancels. Not across more than half a second without an answer or ground truth.
    """
    samples = samples.select(np.isfinite(samples.angular_error).all(1))
    times = (samples.stamps - samples.stamps[0]) * 1e-9 if len(samples) else np.empty(0)
    errors = [np.empty((0, 3, 3))]
    for run in np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) > _LONGEST_STEP) + 1):
        estimated, true = (_integrated(times[run], rates[run]) for rates in (samples.angular, samples.true_angular))
        end = np.searchsorted(times[run], times[run] + _DRIFT_TIME)
        end = end[end < len(run)]
        rotation, true_rotation = (o[: len(end)].transpose(0, 2, 1) @ o[end] for o in (estimated, true))
        errors.append(rotation.transpose(0, 2, 1) @ true_rotation)
    angles = np.degrees(np.linalg.norm(so3.log(np.concatenate(errors)), axis=1))
    return float(np.median(angles)) if len(angles) else None


def _integrated(times: np.ndarray, angular: np.ndarray) -> np.ndarray:
    """(N,) s, (N, 3) rad/s in the camera's own axes → (N, 3, 3) orientations, the first one's axes fixed."""
    orientations = [np.eye(3)]
    steps = so3.exp(np.diff(times)[:, None] * (angular[1:] + angular[:-1]) / 2)
    for step in steps:
        orientations.append(orientations[-1] @ step)
    return np.array(orientations)


def _honesty(samples: Samples, ground_truth_std: float) -> dict[str, float | None]:
    """Compare errors with the covariances that they should have."""
    angular, linear = (nees[np.isfinite(nees)] for nees in _normalised_errors(samples, ground_truth_std))
    return {
        "nees_angular": _mean(angular),
        "nees_linear": _mean(linear),
        "nees_median_angular": _median(angular),
        "nees_median_linear": _median(linear),
        "coverage95_angular": _mean(angular <= _CHI2_95_3),
        "coverage95_linear": _mean(linear <= _CHI2_95_3),
    }


def _group(samples: Samples, agrees: np.ndarray) -> dict:
    published = samples.select(samples.published)
    angles, ratios = _travel(published)
    return {
        "frames": len(samples),
        "frames_angular": int(np.isfinite(published.angular_error).all(1).sum()),
        "frames_linear": int(np.isfinite(published.linear_error).all(1).sum()),
        "rmse_angular": rmse(published.angular_error),
        "rmse_linear": rmse(published.linear_error),
        "bias_angular": _bias(published.angular_error),
        "bias_linear": _bias(published.linear_error),
        "error_angular": _quantiles(np.linalg.norm(published.angular_error, axis=1), median=0.5, max=1.0),
        "error_linear": _quantiles(np.linalg.norm(published.linear_error, axis=1), median=0.5, max=1.0),
        "axis_error_deg": _quantiles(axis_error_deg(samples), median=0.5, p90=0.9),
        "magnitude_ratio": _quantiles(magnitude_ratio(samples), median=0.5, p10=0.1, p90=0.9),
        "linear_direction_error_deg": _quantiles(angles, median=0.5, p90=0.9),
        "linear_magnitude_ratio": _quantiles(ratios, median=0.5, p10=0.1, p90=0.9),
        "direction_correct": _mean(agrees[np.isfinite(agrees)]),
    }


def _travel(samples: VelocityPairs) -> tuple[np.ndarray, np.ndarray]:
    """Angles between v̂ and v, 0…180°, and |v̂| / |v|, where the true |v| is above 0.2 m/s and v is estimated."""
    true_speed = np.linalg.norm(samples.true_linear, axis=1)
    samples = samples.select((true_speed > _LEAST_TRAVEL) & np.isfinite(samples.linear).all(1))
    speed, true_speed = np.linalg.norm(samples.linear, axis=1), np.linalg.norm(samples.true_linear, axis=1)
    product = np.einsum("ni,ni->n", samples.linear, samples.true_linear)
    cosine = np.divide(product, speed * true_speed, out=np.full(len(samples), np.nan), where=speed > 0)
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))), speed / true_speed


def _normalised_errors(samples: Samples, ground_truth_std: float) -> Iterator[np.ndarray]:
    """eᵀC⁻¹e (N,) of ω, then of v; NaN where they are not known."""
    angular_covariance = samples.covariance[:, 3:, 3:] + ground_truth_std**2 * np.eye(3)
    for error, covariance in (
        (samples.angular_error, angular_covariance),
        (samples.linear_error, samples.covariance[:, :3, :3]),
    ):
        yield np.einsum("ni,ni->n", error, np.linalg.solve(covariance, error[..., None])[..., 0])


def _chi2_3(values: np.ndarray) -> np.ndarray:
    """Cumulative distribution function of χ² with 3 degrees of freedom: erf(√(x/2)) − √(2x/π)·exp(−x/2)."""
    error_function = np.array([math.erf(root) for root in np.sqrt(values / 2)])
    return error_function - np.sqrt(2 / np.pi * values) * np.exp(-values / 2)


def _bias(error: np.ndarray) -> list[float] | None:
    error = error[np.isfinite(error).all(1)]
    return error.mean(0).tolist() if len(error) else None


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _median(values: np.ndarray) -> float | None:
    return float(np.median(values)) if len(values) else None


def _quantiles(values: np.ndarray, **ranks: float) -> dict[str, float | None]:
    values = values[np.isfinite(values)]
    return {name: float(np.quantile(values, rank)) if len(values) else None for name, rank in ranks.items()}
