"""Whether errors of ω are one constant: the bias of the gyroscope that they are held against, or of the estimates."""

from __future__ import annotations

import numpy as np

from image_as_imu_ros.evaluation.samples import Samples

_FEWEST = 20  # frames
_GROUPS = 10  # of successive frames, whose errors are taken for independent
_SIGMAS = 3.0  # that a constant part is sure of, and
_MOST_LEFT = 0.5  # of the normalised error squared, without it, to be worth a word
_HONEST = 3.0  # normalised error squared


def constant_error(samples: Samples, ground_truth_std: float) -> dict | None:
    """Fit the constant c that errors e of ω have in common, weighted by their covariances C: c = (Σ C⁻¹)⁻¹·Σ C⁻¹·e.

    Its standard deviation is that of a delete-group jackknife over tenths of the frames, within which errors are alike.

    Args:
        ground_truth_std: see `metrics.metrics`.

    Returns:
        What metrics.json says; None where fewer than 20 frames have ground truth.
    """
    samples = samples.select(np.isfinite(samples.angular_error).all(1))
    if len(samples) < _FEWEST:
        return None
    error = samples.angular_error
    weights = np.linalg.inv(samples.covariance[:, 3:, 3:] + ground_truth_std**2 * np.eye(3))
    weighted = np.einsum("nij,nj->ni", weights, error)
    constant = np.linalg.solve(weights.sum(0), weighted.sum(0))
    without = [
        np.linalg.solve(
            weights.sum(0) - weights[group].sum(0),
            weighted.sum(0) - weighted[group].sum(0),
        )
        for group in np.array_split(np.arange(len(error)), _GROUPS)
    ]
    sigma = np.sqrt((_GROUPS - 1) * np.var(without, axis=0))
    nees, left = (float(np.einsum("ni,nij,nj->n", one, weights, one).mean()) for one in (error, error - constant))
    said = ""
    if nees > _HONEST and left <= _MOST_LEFT * nees and (np.abs(constant) > _SIGMAS * sigma).any():
        said = (
            f"the errors have a constant part of ({_vector(constant)}) rad/s (± {_vector(sigma)}): a gyroscope's bias, "
            f"or the estimates'; without it the mean normalised error squared of ω is {left:.2g}, not {nees:.2g}"
        )
    return {
        "angular": constant.tolist(),
        "sigma_angular": sigma.tolist(),
        "nees_angular_without": left,
        "complaint": said,
    }


def _vector(values: np.ndarray) -> str:
    return " ".join(f"{value:.3f}" for value in values)
