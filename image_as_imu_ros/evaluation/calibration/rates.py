"""A gyroscope's samples, and how far it has turned between two times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.geometry import so3


@dataclass(frozen=True)
class Orientations:
    """Orientations at some times (…).

    Attributes:
        rotation: (…, 3, 3) from the gyroscope's axes to those at the reference time. rate: (…, 3) rad/s, in its axes.
        swept: (…, 3, 3) s, ∫ of the rotation from the reference time on: a small bias b turns it back by swept·b.
        rate_at_reference: (3,) rad/s.
    """

    rotation: np.ndarray
    rate: np.ndarray
    swept: np.ndarray
    rate_at_reference: np.ndarray


@dataclass(frozen=True)
class Rates:
    """A gyroscope's samples: times (N,) s on the images' clock but for an offset, angular (N, 3) rad/s in its axes."""

    times: np.ndarray
    angular: np.ndarray

    def orientations(self, bias: np.ndarray, times: np.ndarray, reference: float) -> Orientations:
        """Integrate, the rate being linear between samples, from a reference time to others (…), s."""
        first = int(np.searchsorted(self.times, min(times.min(), reference))) - 1
        last = int(np.searchsorted(self.times, max(times.max(), reference))) + 1
        clock, angular = self.times[max(first, 0) : last], self.angular[max(first, 0) : last] - bias
        steps = np.diff(clock)[:, None]
        rotations = _products(so3.exp(steps * (angular[1:] + angular[:-1]) / 2))
        sums = np.zeros_like(rotations)
        sums[1:] = np.cumsum(steps[:, None] * (rotations[1:] + rotations[:-1]) / 2, 0)
        slopes = np.diff(angular, axis=0) / steps
        every = np.append(times.ravel(), reference)
        i = np.clip(np.searchsorted(clock, every) - 1, 0, len(slopes) - 1)
        since = (every - clock[i])[:, None]
        rotation = rotations[i] @ so3.exp(since * angular[i] + since**2 / 2 * slopes[i])
        swept = sums[i] + since[..., None] * (rotations[i] + rotation) / 2
        rate = angular[i] + since * slopes[i]
        back, shape = rotation[-1].T, times.shape
        return Orientations(
            rotation=(back @ rotation[:-1]).reshape(*shape, 3, 3),
            rate=rate[:-1].reshape(*shape, 3),
            swept=(back @ (swept[:-1] - swept[-1])).reshape(*shape, 3, 3),
            rate_at_reference=rate[-1],
        )


def _products(steps: np.ndarray) -> np.ndarray:
    """(N, 3, 3) → (N + 1, 3, 3): the identity, the first, the first two, … multiplied."""
    products = np.empty((len(steps) + 1, 3, 3))
    products[0] = np.eye(3)
    for i, step in enumerate(steps):
        products[i + 1] = products[i] @ step
    return products
