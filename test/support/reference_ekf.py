"""A small EKF after robot_localization's documented update rules, for the velocity part of its state.

The part is (vx, vy, vz, vroll, vpitch, vyaw, ax, ay, az), in base_link. Poses are left out: they follow from the
velocities, and without measured poses they never act back on them. The rules are those of robot_localization's
documentation and source (ros_filter.cpp: imuCallback, twistCallback, prepareTwist; filter_base.cpp; ekf.cpp):

- an Imu whose angular_velocity_covariance[0] is −1 has no angular velocity;
- messages older than the last of their topic are dropped;
- measurements are rotated from the message's frame to base_link, covariances by R·C·Rᵀ; what the sensor's offset r adds
  to linear velocities in rotations is taken off with the state's own rates: v + r × ω; there they are those of when a
  message comes, here of when it is fused, so that an Imu of the same stamp counts already;
- the first measurement initialises state and covariance of what it measures; all else has the variance 1e-9;
- each measurement is taken after a prediction to its stamp, P ← J·P·Jᵀ + Δt·Q;
- negative variances count with their absolute value, those below 1e-9 as 1e-9;
- a measurement is rejected when its squared Mahalanobis distance reaches the square of the threshold;
- the covariance is updated in Joseph's form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

SIZE = 9

_FLOOR = 1e-9
_NEVER = math.inf


@dataclass
class ReferenceEkf:
    """Velocity part of the filter.

    Attributes:
        process_noise: (15, 15) as in ekf.yaml.
        rotation, offset: (3, 3) message frame → base_link, and where it sits there, m.
        state: (9,). covariance: (9, 9). stamp: of the last measurement, ns; None before the first.
    """

    process_noise: np.ndarray
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    state: np.ndarray = field(default_factory=lambda: np.zeros(SIZE))
    covariance: np.ndarray = field(default_factory=lambda: _FLOOR * np.eye(SIZE))
    stamp: int | None = None
    _last_of_topic: dict[str, int] = field(default_factory=dict)

    @property
    def rates(self) -> np.ndarray:
        """(3,) vroll, vpitch, vyaw, rad/s."""
        return self.state[3:6]

    def imu(self, topic: str, message, fused: tuple[int, ...] = (3, 4, 5), threshold: float = _NEVER) -> bool:
        """Take an Imu's angular velocity. Returns whether it was fused."""
        if abs(message.angular_velocity_covariance[0] + 1) < 1e-9:
            return False
        rates = message.angular_velocity
        covariance = np.zeros((6, 6))
        covariance[3:, 3:] = np.reshape(message.angular_velocity_covariance, (3, 3))
        return self._measure(
            topic, message.header, np.array([0, 0, 0, rates.x, rates.y, rates.z]), covariance, fused, threshold
        )

    def twist(self, topic: str, message, fused: tuple[int, ...] = (0, 1, 2), threshold: float = _NEVER) -> bool:
        """Take a TwistWithCovarianceStamped. Returns whether it was fused."""
        v, w = message.twist.twist.linear, message.twist.twist.angular
        covariance = np.reshape(message.twist.covariance, (6, 6))
        return self._measure(
            topic, message.header, np.array([v.x, v.y, v.z, w.x, w.y, w.z]), covariance, fused, threshold
        )

    def _measure(self, topic, header, velocity, covariance, fused, threshold) -> bool:
        stamp = int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)
        if stamp < self._last_of_topic.get(topic, stamp):
            return False
        self._last_of_topic[topic] = stamp
        both = np.kron(np.eye(2), self.rotation)
        velocity, covariance = both @ velocity, both @ covariance @ both.T
        velocity[:3] += np.cross(self.offset, self.rates)
        fused = list(fused)
        if self.stamp is None:
            self.state[fused] = velocity[fused]
            self.covariance[np.ix_(fused, fused)] = covariance[np.ix_(fused, fused)]
            self.stamp = stamp
            return True
        if stamp > self.stamp:
            self._predict((stamp - self.stamp) * 1e-9)
            self.stamp = stamp
        return self._correct(velocity[fused], covariance[np.ix_(fused, fused)], fused, threshold)

    def _predict(self, seconds: float) -> None:
        transition = np.eye(SIZE)
        transition[:3, 6:] = seconds * np.eye(3)
        self.state = transition @ self.state
        noise = self.process_noise[6:, 6:]
        self.covariance = transition @ self.covariance @ transition.T + seconds * noise

    def _correct(self, measured, covariance, fused, threshold) -> bool:
        covariance = covariance.copy()
        variances = np.maximum(np.abs(np.diag(covariance)), _FLOOR)
        np.fill_diagonal(covariance, variances)
        observation = np.eye(SIZE)[fused]
        cross = self.covariance @ observation.T
        inverse = np.linalg.inv(observation @ cross + covariance)
        gain = cross @ inverse
        innovation = measured - self.state[fused]
        if innovation @ inverse @ innovation >= threshold * threshold:
            return False
        self.state = self.state + gain @ innovation
        kept = np.eye(SIZE) - gain @ observation
        self.covariance = kept @ self.covariance @ kept.T + gain @ covariance @ gain.T
        return True
