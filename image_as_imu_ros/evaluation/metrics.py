"""Estimates against truth, in the figures of metrics.json."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

BLURRED_PX = 4.0  # mean predicted flow at 320 px image width from which a frame counts as blurred

_VISIBLE_PX = 1.0  # mean predicted flow from which an open direction matters: nobody publishes such frames

# Below these, the axis, the ratio and the sign of a motion are those of the truth's noise.
_LEAST_TURN = 0.1  # rad/s
_LEAST_SPEED = 0.05  # m/s

_CHI2_95_3 = 7.814727903  # 95 % quantile of χ² with 3 degrees of freedom


@dataclass(frozen=True)
class Samples:
    """Estimates of a run and the truth at the same times, in the camera's optical frame. NaN where not known.

    Attributes:
        stamps: (N,) int64, mid-exposure, ns.
        linear, angular: (N, 3) estimates with their published sign, m/s and rad/s. `linear` is NaN if not estimated.
        covariance: (N, 6, 6) of (linear, angular).
        truth_linear, truth_angular: (N, 3).
        mean_flow: (N,) mean predicted blur, px at 320 px image width.
        resolved: (N,) bool, whether the direction was known.
        seconds: (N,) time spent on the frame.
    """

    stamps: np.ndarray
    linear: np.ndarray
    angular: np.ndarray
    covariance: np.ndarray
    true_linear: np.ndarray
    true_angular: np.ndarray
    mean_flow: np.ndarray
    resolved: np.ndarray
    seconds: np.ndarray

    def __len__(self) -> int:
        return len(self.stamps)

    def select(self, chosen: np.ndarray) -> Samples:
        """The samples at an index or mask."""
        return replace(self, **{f.name: getattr(self, f.name)[chosen] for f in fields(self)})

    @property
    def has_ground_truth(self) -> np.ndarray:
        """(N,) bool: some of the truth is known."""
        return np.isfinite(self.true_angular).all(1) | np.isfinite(self.true_linear).all(1)

    @property
    def signed(self) -> np.ndarray:
        """(N,) bool: the sign is known, or there is too little motion for it to matter."""
        return self.resolved | (self.mean_flow < _VISIBLE_PX)

    @property
    def blurred(self) -> np.ndarray:
        """(N,) bool."""
        return self.mean_flow >= BLURRED_PX


def metrics(samples: Samples, exposure: float | None, *, oracle: bool = False, ground_truth_std: float = 0.0) -> dict:
    """The content of metrics.json. Figures that cannot be computed are None; there are no NaN.

    Groups "all" and "blurred" count frames with truth. In each:

    - `rmse_angular`, `rmse_linear`: per axis, without the frames whose direction is open, which the node does not
      publish.
    - `axis_error_deg`: angle between the estimated and the true rotation axis as lines, 0 to 90°, whatever the sign:
      `direction_correct` tells about signs. Only frames that truly turn, by 0.1 rad/s or more.
    - `magnitude_ratio`: |ω̂| / |ω| over the same frames.
    - `direction_correct`: of the frames whose direction was known to the estimator, the fraction on which it was right
      before any oracle. See `direction_agrees`.

    In "covariance", over the frames of "all": `nees_*` is the mean of eᵀC⁻¹e for each 3-vector of errors, 3 if the
    covariance is honest; `coverage95_angular` is the fraction of frames whose true ω is inside the 95 % ellipsoid.

    Args:
        samples: with the published signs.
        exposure: s, or None if it varied.
        oracle: take the sign of each estimate from the truth.
        truth_std: standard deviation of each component of the true ω, rad/s, added to the covariances.
    """
    agrees = sign_agrees(samples)
    agrees[~samples.resolved] = np.nan
    if oracle:
        samples = with_true_sign(samples)
    known = samples.has_ground_truth
    angular_covariance = samples.covariance[:, 3:, 3:] + ground_truth_std**2 * np.eye(3)
    angular_nees = _normalised_error_squared(samples.angular - samples.true_angular, angular_covariance)
    linear_nees = _normalised_error_squared(samples.linear - samples.true_linear, samples.covariance[:, :3, :3])
    angular_nees, linear_nees = (nees[np.isfinite(nees)] for nees in (angular_nees, linear_nees))
    return {
        "frames": len(samples),
        "exposure_s": exposure,
        "all": _group(samples.select(known), agrees[known]),
        "blurred": _group(samples.select(known & samples.blurred), agrees[known & samples.blurred]),
        "covariance": {
            "nees_angular": _mean(angular_nees),
            "nees_linear": _mean(linear_nees),
            "coverage95_angular": _mean(angular_nees <= _CHI2_95_3),
        },
        "time_ms": _quantiles(1e3 * samples.seconds, p50=0.5, p95=0.95),
    }


def sign_agrees(samples: Samples) -> np.ndarray:
    """Whether estimate and truth point the same way: 1.0, 0.0, or NaN where the truth hardly moves or is not known.

    Judged on ω where it is known, else on v: less than 90° between them. (N,) float.
    """
    by_turn = _sign_agrees(samples.angular, samples.true_angular, _LEAST_TURN)
    by_speed = _sign_agrees(samples.linear, samples.true_linear, _LEAST_SPEED)
    return np.where(np.isfinite(samples.true_angular).all(1), by_turn, by_speed)


def with_true_sign(samples: Samples) -> Samples:
    """The samples with the sign that agrees with the truth, as known; where that does not tell, they keep theirs."""
    by_turn = _sign_agrees(samples.angular, samples.true_angular, 0.0)
    by_speed = _sign_agrees(samples.linear, samples.true_linear, 0.0)
    agrees = np.where(np.isfinite(samples.true_angular).all(1), by_turn, by_speed)
    sign = np.where(agrees == 0, -1.0, 1.0)[:, None]
    resolved = np.ones(len(samples), bool)
    return replace(samples, linear=sign * samples.linear, angular=sign * samples.angular, resolved=resolved)


def axis_error_deg(samples: Samples) -> np.ndarray:
    """(N,) angle between the estimated and the true rotation axis as lines, 0…90°; NaN where nothing truly turns."""
    estimate, ground_truth = np.linalg.norm(samples.angular, axis=1), np.linalg.norm(samples.true_angular, axis=1)
    product = estimate * ground_truth
    cosine = np.divide(
        np.abs(np.einsum("ni,ni->n", samples.angular, samples.true_angular)),
        product,
        out=np.full(len(samples), np.nan),
        where=(product > 0) & (ground_truth >= _LEAST_TURN),
    )
    return np.degrees(np.arccos(np.minimum(cosine, 1.0)))


def magnitude_ratio(samples: Samples) -> np.ndarray:
    """(N,) |ω̂| / |ω|; NaN where nothing truly turns."""
    estimate, ground_truth = np.linalg.norm(samples.angular, axis=1), np.linalg.norm(samples.true_angular, axis=1)
    return np.divide(estimate, ground_truth, out=np.full(len(samples), np.nan), where=ground_truth >= _LEAST_TURN)


def ellipsoid_levels(samples: Samples, ground_truth_std: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """How large a confidence ellipsoid must be to reach the truth, as the probability that it claims to hold it.

    If covariances are honest, these are uniform between 0 and 1: of the 90 % ellipsoids, 90 % hold the truth.

    Args:
        truth_std: see `metrics`.

    Returns:
        (N,) of ω and (N,) of v; NaN where either the truth or the estimate is not known.
    """
    angular_covariance = samples.covariance[:, 3:, 3:] + ground_truth_std**2 * np.eye(3)
    return (
        _chi2_3(_normalised_error_squared(samples.angular - samples.true_angular, angular_covariance)),
        _chi2_3(_normalised_error_squared(samples.linear - samples.true_linear, samples.covariance[:, :3, :3])),
    )


def _group(samples: Samples, agrees: np.ndarray) -> dict:
    return {
        "frames": len(samples),
        "rmse_angular": _rmse((samples.angular - samples.true_angular)[samples.signed]),
        "rmse_linear": _rmse((samples.linear - samples.true_linear)[samples.signed]),
        "axis_error_deg": _quantiles(axis_error_deg(samples), median=0.5, p90=0.9),
        "magnitude_ratio": _quantiles(magnitude_ratio(samples), median=0.5, p10=0.1, p90=0.9),
        "direction_correct": _mean(agrees[np.isfinite(agrees)]),
    }


def _sign_agrees(estimate: np.ndarray, ground_truth: np.ndarray, least: float) -> np.ndarray:
    """(N, 3), (N, 3) → (N,): 1 below 90°, 0 above, NaN where the truth is smaller than `least` or something is NaN."""
    product = np.einsum("ni,ni->n", estimate, ground_truth)
    tells = np.isfinite(product) & (product != 0) & (np.linalg.norm(ground_truth, axis=1) >= least)
    return np.where(tells, (product > 0).astype(float), np.nan)


def _normalised_error_squared(error: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """(N, 3) errors → eᵀC⁻¹e (N,); NaN where they are not known."""
    return np.einsum("ni,ni->n", error, np.linalg.solve(covariance, error[..., None])[..., 0])


def _chi2_3(values: np.ndarray) -> np.ndarray:
    """Cumulative distribution function of χ² with 3 degrees of freedom: erf(√(x/2)) − √(2x/π)·exp(−x/2)."""
    error_function = np.array([math.erf(root) for root in np.sqrt(values / 2)])
    return error_function - np.sqrt(2 / np.pi * values) * np.exp(-values / 2)


def _rmse(error: np.ndarray) -> list[float] | None:
    error = error[np.isfinite(error).all(1)]
    return np.sqrt(np.square(error).mean(0)).tolist() if len(error) else None


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _quantiles(values: np.ndarray, **ranks: float) -> dict[str, float | None]:
    values = values[np.isfinite(values)]
    return {name: float(np.quantile(values, rank)) if len(values) else None for name, rank in ranks.items()}
