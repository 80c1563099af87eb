"""How good a predicted motion field is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from image_as_imu_training.samples import Samples
from image_as_imu_training.training.axial_network import AxialNetwork

_BATCH = 16  # samples that go through the network at once
_MIN_BLUR_PX = 3.0  # below it an orientation means little


@dataclass(frozen=True)
class Predictions:
    """The network's outputs on N samples, float32.

    Attributes:
        flow: (N, 2, h, w) axial q, px. sigma: (N, 2, h, w) of q along itself and across, px.
        depth: (N, h, w) m. depth_sigma: (N, h, w) of its logarithm.
    """

    flow: np.ndarray
    sigma: np.ndarray
    depth: np.ndarray
    depth_sigma: np.ndarray

    @classmethod
    def of(cls, batches: Sequence[Sequence[np.ndarray]]) -> Predictions:
        """Concatenate the four outputs of all batches."""
        flow, sigma, depth, depth_sigma = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        return cls(flow, sigma, depth[:, 0], depth_sigma[:, 0])


@torch.no_grad()
def predict(network: AxialNetwork, samples: Samples) -> Predictions:
    """Run the network, in evaluation mode, over all samples."""
    network.eval()
    device = next(network.parameters()).device
    outputs = []
    for start in tqdm(range(0, len(samples), _BATCH), "predict", unit="batch", leave=False):
        image = torch.from_numpy(samples.image[start : start + _BATCH, None]).to(device).float() / 255
        outputs.append([output.cpu().numpy() for output in network(image)])
    return Predictions.of(outputs)


def explained_variance(samples: Samples, flow: np.ndarray) -> float:
    """Compute the share of the variance of true axial flow that a prediction (N, 2, h, w) px explains.

    1 is perfect, 0 is as good as the best constant answer; what is worse than that is below 0.
    """
    ground_truth = samples.flow.astype(np.float64)
    variation = ground_truth - ground_truth.mean((0, 2, 3), keepdims=True)
    return float(1 - np.square(flow - ground_truth).sum() / np.square(variation).sum())


def depth_log_errors(samples: Samples, predictions: Predictions) -> np.ndarray:
    """Compute log(Ẑ/Z), (N, h, w); NaN where the image does not tell the depth or nobody knows it."""
    known = np.where(samples.depth_known[:, None, None], samples.depth.astype(np.float32), np.nan)
    return np.log(predictions.depth / known)


@dataclass(frozen=True)
class Figures:
    """Errors over all cells of a set of samples.

    Attributes:
        flow_error: mean ‖q̂ − q‖, px. flow_error_of_zero: the same for always predicting zero.
        orientation_error_deg: median error of the streak's orientation; length_error: median of |‖q̂‖/‖q‖ − 1|.
            Both where the true blur has at least 3 px, on the half of those cells with the lowest ratio of predicted
            sigma along the streak to predicted length.
        depth_log_error: median |log(Ẑ/Z)| over cells with known depth.
    """

    flow_error: float
    flow_error_of_zero: float
    orientation_error_deg: float
    length_error: float
    depth_log_error: float


def figures(samples: Samples, predictions: Predictions) -> Figures:
    """Compare predictions with the labels."""
    ground_truth = samples.flow.astype(np.float32)
    error = np.linalg.norm(predictions.flow - ground_truth, axis=1)
    true_length = np.linalg.norm(ground_truth, axis=1)
    length = np.linalg.norm(predictions.flow, axis=1)
    blurred = true_length >= _MIN_BLUR_PX
    uncertainty = predictions.sigma[:, 0] / np.maximum(length, 1e-3)
    confident = blurred & (uncertainty <= np.median(uncertainty[blurred]))
    double_angle = np.arctan2(predictions.flow[:, 1], predictions.flow[:, 0]) - np.arctan2(
        ground_truth[:, 1], ground_truth[:, 0]
    )
    angle = 0.5 * np.abs((double_angle + np.pi) % (2 * np.pi) - np.pi)
    depth_error = np.abs(depth_log_errors(samples, predictions))
    return Figures(
        flow_error=float(error.mean()),
        flow_error_of_zero=float(true_length.mean()),
        orientation_error_deg=float(np.degrees(np.median(angle[confident]))),
        length_error=float(np.median(np.abs(length / np.maximum(true_length, 1e-3) - 1)[confident])),
        depth_log_error=float(np.nanmedian(depth_error)) if samples.depth_known.any() else math.nan,
    )
