"""Velocity of the camera and its covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Velocity:
    """Velocity of the camera in its optical frame (x right, y down, z forward) at mid-exposure.

    Attributes:
        linear: (3,) m/s. angular: (3,) rad/s, a rotation-vector rate.
        covariance: (6, 6) of (linear, angular), in ROS order x, y, z, rotX, rotY, rotZ. Positive definite.
    """

    linear: np.ndarray
    angular: np.ndarray
    covariance: np.ndarray

    @property
    def vector(self) -> np.ndarray:
        """(6,) linear, then angular."""
        return np.concatenate([self.linear, self.angular])

    def reversed(self) -> Velocity:
        """The other velocity that explains the same blur."""
        return Velocity(0.0 - self.linear, 0.0 - self.angular, self.covariance)  # no negative zeros
