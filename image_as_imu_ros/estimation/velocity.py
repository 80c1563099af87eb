"""Velocity of the camera, and its covariance as a sum of named terms.

Each source of error is one term and is added once. Whoever knows more than the estimator, for example the sign, takes
the sum without that term; nothing is subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from image_as_imu_ros.settings import TextEnum


class Term(TextEnum):
    """A source of error."""

    DATA = "data"
    """Noise of the measurements; of a blur, that the spectra's answer and the network's differ, too."""
    SHARED_LENGTH = "shared length"
    """That the network reads all streaks of a frame too long or too short."""
    EXPOSURE = "exposure"
    """Relative error of the exposure time."""
    DEPTH_SCALE = "depth scale"
    """Relative error of all depths."""
    DEPTH_SHAPE = "depth shape"
    """That a network's relief is not the scene's: v may be no better than a guess, or a slide taken for a rotation."""
    CONSIDERED = "considered"
    """What a translation that was not solved for does to the rotation."""
    READOUT = "readout"
    """That the rows of a rolling shutter see different velocities."""
    SIGN = "sign"
    """That the motion may be the reverse."""
    SCALE = "scale"
    """Relative error of all of an aligned motion: focal length, stamps."""
    BLUR_SHAPE = "blur shape"
    """That two frames with blurs of different shape look displaced."""
    ACCELERATION = "acceleration"
    """That a mean over dt is not the velocity at its stamp, halfway."""
    CONTRADICTION = "contradiction"
    """That the blur of a frame and its alignment say different things, and either may be wrong."""
    INNOVATION = "innovation"
    """That an alignment is not what those before it have led to expect."""
    STAMPS = "stamps"
    """That dt and the stamp are wrong."""


@dataclass(frozen=True)
class Velocity:
    """Velocity of the camera in its optical frame (x right, y down, z forward).

    Attributes:
        linear: (3,) m/s. angular: (3,) rad/s, a rotation-vector rate.
        terms: covariances (6, 6) of (linear, angular), in ROS order x, y, z, rotX, rotY, rotZ, by their source.
    """

    linear: np.ndarray
    angular: np.ndarray
    terms: Mapping[Term, np.ndarray]

    @classmethod
    def of(cls, motion: np.ndarray, terms: Mapping[Term, np.ndarray], seconds: float) -> Velocity:
        """Divide a motion (6,) (v, ω)·seconds, and the terms of its covariance, by the time that it took."""
        return cls(motion[:3] / seconds, motion[3:] / seconds, {t: c / seconds**2 for t, c in terms.items()})

    @property
    def vector(self) -> np.ndarray:
        """(6,) linear, then angular."""
        return np.concatenate([self.linear, self.angular])

    @cached_property
    def covariance(self) -> np.ndarray:
        """(6, 6) sum of all terms. Positive definite."""
        return self.covariance_without(())

    def covariance_without(self, terms: Collection[Term]) -> np.ndarray:
        """Sum all terms but these, (6, 6), exactly symmetric."""
        total = sum((c for term, c in self.terms.items() if term not in terms), start=np.zeros((6, 6)))
        return (total + total.T) / 2  # inverses are symmetric up to rounding only

    def with_terms(self, terms: Mapping[Term, np.ndarray]) -> Velocity:
        """Replace or add terms, (6, 6) each."""
        return replace(self, terms={**self.terms, **terms})

    def towards(self, other: Velocity, share: float) -> Velocity:
        """Interpolate towards another velocity whose errors are independent of this one's."""
        terms = {term: (1 - share) ** 2 * covariance for term, covariance in self.terms.items()}
        for term, covariance in other.terms.items():
            terms[term] = terms.get(term, 0.0) + share**2 * covariance
        vector = self.vector + share * (other.vector - self.vector)
        return Velocity(vector[:3], vector[3:], terms)

    def without_term(self, term: Term) -> Velocity:
        """Leave out one term."""
        return replace(self, terms={t: c for t, c in self.terms.items() if t != term})

    def reversed(self) -> Velocity:
        """Return the other velocity that explains the same blur."""
        return replace(self, linear=0.0 - self.linear, angular=0.0 - self.angular)  # no negative zeros


def relative_error_covariance(motion: np.ndarray, log_std: float) -> np.ndarray:
    """Covariance (P, P) of a motion (P,) whose components are all wrong by one factor; `log_std` is that of its log."""
    return log_std**2 * np.outer(motion, motion)


def of_unknown_scale(motion: np.ndarray, covariance: np.ndarray, log_std: float) -> tuple[np.ndarray, np.ndarray]:
    """Consider that a translation was measured in units that may be wrong, as those of a depth map.

    Of a motion (t, ω) measured as x̂ with covariance Σ, the true translation is e^ε·t, ε ~ N(0, σ²): the factor is its
    errors' too. About x̂ they have the second moment E[e^2ε]·Σ_tt + E[(e^ε − 1)²]·t̂·t̂ᵀ, and E[e^ε]·Σ_tω with ω.

    Args:
        motion: x̂ (6,). covariance: Σ (6, 6). log_std: σ.

    Returns:
        Both parts of it, (6, 6): of Σ, and of t̂.
    """
    mean, square = math.exp(log_std**2 / 2), math.exp(2 * log_std**2)
    scaled = covariance.copy()
    scaled[:3, :3] *= square
    scaled[:3, 3:] *= mean
    scaled[3:, :3] *= mean
    translation = motion * np.repeat([1.0, 0.0], 3)
    return scaled, (square - 2 * mean + 1) * np.outer(translation, translation)


def mixture(weights: np.ndarray, means: np.ndarray, covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean (P,) and covariance (P, P) of a mixture of K Gaussians.

    Args:
        weights: (K,), their sum is 1. means: (K, P). covariances: (K, P, P).
    """
    mean = weights @ means
    apart = means - mean
    return mean, np.tensordot(weights, covariances, 1) + (apart * weights[:, None]).T @ apart


def considered_translation(sensitivity: np.ndarray, std: float) -> np.ndarray:
    """Covariance (6, 6) of (v, ω) where v was taken to be zero, but has a standard deviation.

    A consider parameter (Schmidt 1966): v̂ = 0 is wrong by −v, and ω̂ by S·v, so that the errors' covariance is
    σ²·[[I, −Sᵀ], [−S, S·Sᵀ]].

    Args:
        sensitivity: S (3, 3) ∂ω̂/∂v. std: σ of each component of v.
    """
    both = np.vstack([-np.eye(3), sensitivity])
    return std**2 * both @ both.T
