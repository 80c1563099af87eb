"""From the mean velocity between two frames to the velocity at its stamp, halfway: what that adds to the covariance.

Where the velocity x changes, its mean over dt is not x(dt/2): a constant acceleration cancels, its change does not. In
motions whose power falls with f⁻⁴ beyond some hertz, as in those of hands and heads, the difference grows with the mean
acceleration a from one pair of frames to the next as

    σ(x(dt/2) − mean) = min(c·dt, 0.4)·dt·|a|,

until dt is so long that successive means have little to do with each other. Accelerations are of like size for some
frames, so a² is a running mean, half of it from all three axes.

Carriers tremble, too, and what trembles faster than frames come shows in no mean. Of a tremor of ω with σ_f, at a
frequency f, the mean lacks σ_f·(1 − sinc(f·dt)). It counts always, as that of the calmest carriers.

Time errs, too: by σ_dt the rate, by σ_t the time that the rate is said to be of. Both are the stamps'.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation.constants import AT_STAMP, SHARED
from image_as_imu_ros.estimation.velocity import Term, relative_error_covariance


@dataclass(frozen=True)
class Acceleration:
    """How hard the camera has accelerated of late.

    Attributes:
        squared: (6,) running mean square of the acceleration, (m/s²)² and (rad/s²)².
        velocity: (6,) last mean velocity, m/s and rad/s. stamp: ns, halfway of its dt.
    """

    squared: np.ndarray
    velocity: np.ndarray
    stamp: int

    @classmethod
    def first(cls, velocity: np.ndarray, stamp: int, dt: float) -> Acceleration:
        """Of the first mean velocity, over `dt` s: as if the camera had just started to move, as fast as cameras do."""
        largest = np.repeat([SHARED.linear_acceleration_std, SHARED.angular_acceleration_std], 3)
        return cls(np.square(np.clip(velocity / dt, -largest, largest)), velocity, stamp)

    def followed_by(self, velocity: np.ndarray, stamp: int) -> Acceleration:
        """Take in the next mean velocity."""
        elapsed = (stamp - self.stamp) * 1e-9
        now = np.square((velocity - self.velocity) / elapsed)
        share = 1 / AT_STAMP.frames
        return Acceleration((1 - share) * self.squared + share * now, velocity, stamp)

    def change(self, seconds: float) -> np.ndarray:
        """Covariance (6, 6) of the change of the velocity within some time, s."""
        return seconds**2 * np.diag(self._pooled)

    @property
    def _pooled(self) -> np.ndarray:
        shared = np.repeat(self.squared.reshape(2, 3).mean(1), 3)
        return (1 - AT_STAMP.pooled) * self.squared + AT_STAMP.pooled * shared

    def terms(self, dt: float, dt_std: float, stamp_std: float) -> Mapping[Term, np.ndarray]:
        """Covariances (6, 6) that the last mean velocity, over `dt` s, has as one at its stamp.

        Args:
            dt_std: s. stamp_std: of the stamp itself, s.
        """
        squared = self._pooled
        departure = min(AT_STAMP.departure * dt, AT_STAMP.largest_departure) * dt
        tremor = AT_STAMP.tremor * (1 - np.sinc(AT_STAMP.tremor_rate * dt))
        unseen = np.diag(np.repeat([0.0, tremor**2], 3))
        stamps = relative_error_covariance(self.velocity, dt_std / dt) + stamp_std**2 * np.diag(squared)
        return {Term.ACCELERATION: departure**2 * np.diag(squared) + unseen, Term.STAMPS: stamps}
