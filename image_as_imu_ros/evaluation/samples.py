"""Estimates beside the ground truth at the same times: what all figures and plots are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np

from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.estimation.config import MotionModel
from image_as_imu_ros.estimation.constants import SHARED
from image_as_imu_ros.estimation.velocity import Term
from image_as_imu_ros.evaluation.kept_estimates import Result

BLURRED_PX = 4.0  # mean predicted flow at 320 px image width from which a frame counts as blurred
INSTANT = 1e-3  # s, over which ground truth at a stamp is averaged

# Below these, the axis, the ratio and the sign of a motion are those of the ground truth's noise.
LEAST_ANGULAR = 0.1  # rad/s
LEAST_LINEAR = 0.05  # m/s

P = TypeVar("P", bound="VelocityPairs")


@dataclass(frozen=True)
class VelocityPairs:
    """What a method answered, and what was true at the same times, in the camera's optical frame. NaN where not known.

    Attributes:
        stamps: (N,) int64 ns, the middles of the times that the velocities are about.
        linear, angular: (N, 3) estimates, m/s and rad/s.
        true_linear, true_angular: (N, 3).
    """

    stamps: np.ndarray
    linear: np.ndarray
    angular: np.ndarray
    true_linear: np.ndarray
    true_angular: np.ndarray

    def __len__(self) -> int:
        return len(self.stamps)

    def select(self: P, chosen: Any) -> P:
        """Return those at an index or mask."""
        return replace(self, **{one.name: getattr(self, one.name)[chosen] for one in fields(self)})

    @property
    def has_ground_truth(self) -> np.ndarray:
        """(N,) bool: some of the ground truth is known."""
        return np.asarray(np.isfinite(self.true_angular).all(1) | np.isfinite(self.true_linear).all(1))

    @property
    def angular_error(self) -> np.ndarray:
        """(N, 3) rad/s."""
        return self.angular - self.true_angular

    @property
    def linear_error(self) -> np.ndarray:
        """(N, 3) m/s."""
        return self.linear - self.true_linear


@dataclass(frozen=True)
class Samples(VelocityPairs):
    """Our estimates of a run beside the ground truth, with their published sign.

    Attributes:
        covariance: (N, 6, 6) of (linear, angular).
        mean_flow: (N,) mean predicted blur, px at 320 px image width.
        resolved: (N,) bool, whether the sign was known.
        held_back: (N,) bool, whether the images contradict the exposure so much that the node would not publish it.
        seconds: (N,) time spent on the frame.
    """

    covariance: np.ndarray
    mean_flow: np.ndarray
    resolved: np.ndarray
    held_back: np.ndarray
    seconds: np.ndarray

    @property
    def published(self) -> np.ndarray:
        """(N,) bool: not held back, and the sign is known, or there is too little motion for it to matter."""
        return (self.resolved | (self.mean_flow < SHARED.visible_blur)) & ~self.held_back

    @property
    def blurred(self) -> np.ndarray:
        """(N,) bool."""
        return self.mean_flow >= BLURRED_PX


def samples_of(
    results: Sequence[Result], ground_truth: GroundTruth | None, motion_model: MotionModel, *, mean: bool = False
) -> Samples:
    """Put results beside the ground truth at their stamps.

    Args:
        mean: take the mean of the ground truth over the time that each result is a mean over, and its covariance.
    """
    apart = {Term.ACCELERATION} if mean else set()
    count = len(results)
    stamps, spans = np.empty(count, np.int64), np.full(count, INSTANT)
    motions, covariance = np.empty((count, 6)), np.empty((count, 6, 6))
    mean_flow, seconds = np.empty((2, count))
    resolved, held_back = np.empty((2, count), bool)
    for number, result in enumerate(results):  # once, as each is made anew
        estimate, velocity = result.estimate, result.velocity
        stamps[number], motions[number] = estimate.stamp, velocity.vector
        covariance[number] = velocity.covariance_without(apart)
        mean_flow[number], seconds[number] = estimate.mean_flow, sum(estimate.seconds.values())
        resolved[number], held_back[number] = estimate.sign_resolved, result.held_back
        if mean:
            spans[number] = result.span
    unknown = np.full((count, 3), np.nan)
    true_linear, true_angular = (unknown, unknown) if ground_truth is None else ground_truth.at(stamps, spans)
    return Samples(
        stamps=stamps,
        linear=motions[:, :3] if motion_model == MotionModel.FULL else unknown,
        angular=motions[:, 3:],
        covariance=covariance,
        true_linear=true_linear,
        true_angular=true_angular,
        mean_flow=mean_flow,
        resolved=resolved,
        held_back=held_back,
        seconds=seconds,
    )


def sign_agrees(samples: VelocityPairs) -> np.ndarray:
    """Tell whether estimate and ground truth have the same sign: 1.0 or 0.0; NaN where it hardly moves or is not known.

    Judged on ω where it is known, else on v: less than 90° between them. (N,) float.
    """
    return _agrees(samples, LEAST_ANGULAR, LEAST_LINEAR)


def with_true_sign(samples: Samples) -> Samples:
    """Return the samples with the ground truth's sign, as known; where that does not tell, they keep theirs."""
    sign = np.where(_agrees(samples, 0.0, 0.0) == 0, -1.0, 1.0)[:, None]
    resolved = np.ones(len(samples), bool)
    return replace(samples, linear=sign * samples.linear, angular=sign * samples.angular, resolved=resolved)


def _agrees(samples: VelocityPairs, least_angular: float, least_linear: float) -> np.ndarray:
    by_angular = _same_half_space(samples.angular, samples.true_angular, least_angular)
    by_linear = _same_half_space(samples.linear, samples.true_linear, least_linear)
    return np.where(np.isfinite(samples.true_angular).all(1), by_angular, by_linear)


def _same_half_space(estimate: np.ndarray, ground_truth: np.ndarray, least: float) -> np.ndarray:
    """(N, 3), (N, 3) → (N,): 1 below 90°, 0 above; NaN where ground truth is below `least` or something is NaN."""
    product = np.einsum("ni,ni->n", estimate, ground_truth)
    tells = np.isfinite(product) & (product != 0) & (np.linalg.norm(ground_truth, axis=1) >= least)
    return np.where(tells, (product > 0).astype(float), np.nan)
