"""Whether an alignment fits those before it: the innovation of a Kalman filter.

A texture that repeats matches itself one period off, and a large object that starts to move takes the answer with it:
the velocity jumps by more than cameras accelerate, and is sure of it. So the velocity x = (v, ω) is forecast as a
random walk,

    P ← P + Q,    Q = (a·Δt)²·I,    K = P·(P + R)⁻¹,    x ← x + K·d,    P ← (I − K)·P,

with a how hard cameras mostly accelerate, and d = z − x the innovation of an alignment z with covariance R. Where d is
larger than P + R allows for, either may be wrong: as where blur and alignment contradict each other, d is an error that
z may have (variance inflation). That one of them is wrong is as probable as that both are right where χ² of d is c, its
99.9 % quantile: its probability is 1/(1 + e^((c − χ²)/2)). R is inflated before it enters, so that a jump hardly moves
the forecast: until others have followed it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation.constants import SHARED, SIGN
from image_as_imu_ros.estimation.sign import widened_by
from image_as_imu_ros.estimation.velocity import Velocity

_LINEAR, _ANGULAR = slice(0, 3), slice(3, 6)


@dataclass(frozen=True)
class Forecast:
    """Velocity (6,) (v, ω) that is expected of the next alignment, and its covariance (6, 6)."""

    vector: np.ndarray
    covariance: np.ndarray

    def later(self, seconds: float) -> Forecast:
        """Let so much time pass."""
        accelerations = SHARED.linear_acceleration_std, SHARED.angular_acceleration_std
        change = SIGN.usual_acceleration * seconds * np.repeat(accelerations, 3)
        return Forecast(self.vector, self.covariance + np.diag(np.square(change)))

    def inflation(self, velocity: Velocity) -> np.ndarray:
        """Compute what is added to the covariance (6, 6) of a velocity that is not what was expected."""
        innovation, covariance = velocity.vector - self.vector, self.covariance + velocity.covariance
        each = (innovation[i] @ np.linalg.solve(covariance[i, i], innovation[i]) for i in (_LINEAR, _ANGULAR))
        return widened_by(innovation, 1 / (1 + math.exp((SIGN.contradiction - max(each)) / 2)))

    def updated(self, velocity: Velocity, inflation: np.ndarray) -> Forecast:
        """Take in a velocity with a covariance that is inflated."""
        gain = self.covariance @ np.linalg.inv(self.covariance + velocity.covariance + inflation)
        covariance = self.covariance - gain @ self.covariance
        return Forecast(self.vector + gain @ (velocity.vector - self.vector), (covariance + covariance.T) / 2)
