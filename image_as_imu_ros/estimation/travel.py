"""A prior on v, which enters the rotation only.

Where a scene shows little parallax, a rotation and a slide look alike, and only what is expected of v tells them apart:
a hand that rotates a camera moves it by centimetres per second, a robot that carries it by metres. So each component of
the velocity u of the point that the camera rotates about has a prior of its own, a mixture of N(0, s²): carriers are
mostly slow, but some are fast, along one axis rather than along all. Where that point lies is known to some
centimetres, σ_a: at a rotation ω that adds (σ_a·|ω|)² to each s².

Let x be the motion, measured as x̂ with covariance Σ, and u = B·x, so that û = B·x̂ has the covariance C = B·Σ·Bᵀ. Of the
hypothesis D = diag(s²), whose prior probability is p, the posterior is

    weight w ∝ p·N(û; 0, C + D),    x̂ − Σ·Bᵀ·M·û,    Σ − Σ·Bᵀ·M·B·Σ,    M = (C + D)⁻¹.

The prior is no measurement of v: it enters ω only. s is not learnt from frame to frame, because successive measurements
of v have common errors: cameras that slid would soon be known to rotate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from itertools import product

import numpy as np

from image_as_imu_ros.estimation.constants import TRAVEL
from image_as_imu_ros.estimation.map_shape import MapShape
from image_as_imu_ros.estimation.prior import pivot_from_camera


@dataclass(frozen=True)
class Travel:
    """What is expected of v.

    Attributes:
        std: m/s, the usual size of each component of v. lever_arm: m, see `Prior`.
        slides: probability that the camera slides where it seems to rotate; as likely as not, before any frame.
        map_shape: how far the network's depth, which tells v, is to be trusted.
    """

    std: float
    lever_arm: float
    slides: float = 0.5
    map_shape: MapShape = field(default_factory=MapShape)

    def rotation_posterior(
        self, motion: np.ndarray, covariance: np.ndarray, seconds: float, scale_log_std: float
    ) -> RotationPosterior:
        """Update the rotation of a measured motion (6,) (v, ω)·seconds by the prior on v; v stays as measured.

        The errors of x̂ and of a posterior have that posterior's covariance with each other, so v̂ and the posterior's ω
        have Σ_vv, and its blocks vω and ωω: positive definite, as Σ is larger.

        Args:
            covariance: (6, 6), without a prior on v. scale_log_std: σ of the log of the scale of v, left out of it.
        """
        gain, precision, apart = self._moments(motion, covariance, seconds, scale_log_std)
        likeliest = motion - gain @ apart.mean
        joint = covariance - gain @ precision @ gain.T
        joint[3:, 3:] += (gain @ apart.covariance @ gain.T)[3:, 3:]
        joint[:3, :3] = covariance[:3, :3]
        return RotationPosterior(np.concatenate([motion[:3], likeliest[3:]]), joint, likeliest)

    def _moments(
        self, motion: np.ndarray, covariance: np.ndarray, seconds: float, scale_log_std: float
    ) -> tuple[np.ndarray, np.ndarray, _Moments]:
        """Return Σ·Bᵀ (6, 3), the mean of M (3, 3), and the moments of M·û, over all hypotheses."""
        sizes, probabilities = _hypotheses(TRAVEL.speeds, TRAVEL.probabilities)
        to_pivot = pivot_from_camera(self.lever_arm)
        gain, measured = covariance @ to_pivot.T, to_pivot @ motion
        # A map of the wrong scale shows e^ε·v with ε ~ N(0, σ²), which has std e^(σ²)·s.
        expected = np.square(seconds * self.std * np.exp(scale_log_std**2) * sizes)
        by_arm = np.square(TRAVEL.lever_arm_std * np.linalg.norm(motion[3:]))
        precisions = np.linalg.inv(to_pivot @ gain + (expected + by_arm)[:, None] * np.eye(3))
        moved = precisions @ measured
        log_likelihood = (np.linalg.slogdet(precisions)[1] - moved @ measured) / 2
        weights = probabilities * np.exp(log_likelihood - log_likelihood.max())
        weights /= weights.sum()
        return gain, np.tensordot(weights, precisions, 1), _Moments.of(weights, moved)


@dataclass(frozen=True)
class RotationPosterior:
    """A measured motion after the prior on v.

    Attributes:
        motion: (6,), v as measured, and ω by both. covariance: (6, 6).
        likeliest: (6,) motion to expect after that was measured, v and ω alike: where to look for it.
    """

    motion: np.ndarray
    covariance: np.ndarray
    likeliest: np.ndarray


@dataclass(frozen=True)
class _Moments:
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, weights: np.ndarray, values: np.ndarray) -> _Moments:
        mean = weights @ values
        apart = values - mean
        return cls(mean, (apart * weights[:, None]).T @ apart)


@cache
def _hypotheses(sizes: tuple[float, ...], probabilities: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """List the sizes (K³, 3) of the components of v, each with any of K, and their probabilities (K³,)."""
    return np.array(list(product(sizes, repeat=3))), np.prod(list(product(probabilities, repeat=3)), axis=1)
