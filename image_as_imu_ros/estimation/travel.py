"""How fast the camera is expected to travel, learnt from the frames themselves.

Where a scene shows little parallax, a rotation and a slide look alike, and only what is expected of v tells them apart:
a hand that turns a camera moves it by centimetres per second, a robot that carries it by metres. So the prior on each
component of v, at the point that the camera rotates about, is N(0, s²) with an unknown s. Where that point lies is
known to some centimetres, σ_a: at a rotation ω that adds (σ_a·|ω|)² to s². Each measured v with its covariance C weighs
the hypotheses by N(v; 0, C + s²·I), as a hidden Markov model whose state is seldom drawn anew.

The prior is no measurement of v: only ω leans on it (`leaning_rotation`), as a mixture over s.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from image_as_imu_ros.estimation.constants import TRAVEL
from image_as_imu_ros.estimation.map_shape import MapShape
from image_as_imu_ros.estimation.prior import Prior
from image_as_imu_ros.estimation.velocity import leaning_rotation, mixture, posterior


@dataclass(frozen=True)
class Travel:
    """Hypotheses about how fast the camera travels.

    Attributes:
        stds: (K,) m/s, of each component of v. probability: (K,). lever_arm: m, see `Prior`.
        slides: probability that the camera slides where it seems to turn; as likely as not, before any frame.
        map_shape: how far the network's depth, which tells v, is to be trusted.
    """

    stds: np.ndarray
    probability: np.ndarray
    lever_arm: float
    slides: float = 0.5
    map_shape: MapShape = field(default_factory=MapShape)

    @classmethod
    def unknown(cls, linear_velocity_std: float, lever_arm: float) -> Travel:
        """Before any frame."""
        stds = linear_velocity_std * np.array(TRAVEL.speeds)
        return cls(stds, np.array(TRAVEL.probabilities), lever_arm)

    @property
    def std(self) -> float:
        """Expected m/s of each component of v, the geometric mean; not less than the configured one."""
        configured = self.stds[TRAVEL.speeds.index(1.0)]
        return float(max(np.exp(self.probability @ np.log(self.stds)), configured))

    def after(self, motion: np.ndarray, covariance: np.ndarray, seconds: float, scale_log_std: float) -> Travel:
        """Learn from a measured motion (6,) (v, ω)·seconds with its covariance (6, 6), which hold no prior on v.

        Args:
            scale_log_std: standard deviation of the log of the scale of v, which the covariance leaves out.
        """
        pivot = Prior(1.0, self.lever_arm).pivot_from_camera / seconds
        velocity, sigma = pivot @ motion, pivot @ covariance @ pivot.T
        total = sigma + self._variances(motion, seconds, scale_log_std)[:, None, None] * np.eye(3)
        squared = np.linalg.inv(total) @ velocity @ velocity
        log_likelihood = -(squared + np.linalg.slogdet(total)[1]) / 2 / TRAVEL.correlated_frames
        remembered = TRAVEL.memory * self.probability + (1 - TRAVEL.memory) * np.array(TRAVEL.probabilities)
        probability = remembered * np.exp(log_likelihood - log_likelihood.max())
        return replace(self, probability=probability / probability.sum())

    def lean(
        self, motion: np.ndarray, covariance: np.ndarray, seconds: float, scale_log_std: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Let the rotation of a motion (6,) with covariance (6, 6) lean on what is expected of v; see `after`."""
        priors = self._information(motion, seconds, scale_log_std)
        return mixture(self.probability, *leaning_rotation(motion, covariance, priors))

    def likeliest(self, motion: np.ndarray, covariance: np.ndarray, seconds: float, scale_log_std: float) -> np.ndarray:
        """Compute the motion (6,) to expect after one was measured, v and ω alike: where to look for it."""
        priors = self._information(motion, seconds, scale_log_std)
        return self.probability @ posterior(motion, covariance, priors)[0]

    def _information(self, motion: np.ndarray, seconds: float, scale_log_std: float) -> np.ndarray:
        """Information (K, 6, 6) about a motion."""
        variances = self._variances(motion, seconds, scale_log_std)
        return Prior(seconds, self.lever_arm).information / variances[:, None, None]

    def _variances(self, motion: np.ndarray, seconds: float, log_std: float) -> np.ndarray:
        """Tell the variances (K,) of v, (m/s)², of a camera that rotates so.

        A map of the wrong scale shows e^ε·v with ε ~ N(0, σ²), which has std e^(σ²)·s.
        """
        by_arm = TRAVEL.lever_arm_std * np.linalg.norm(motion[3:]) / seconds
        return np.square(self.stds * np.exp(log_std**2)) + by_arm**2
