"""How far tracks are from what a gyroscope's rotation and a free translation per pair of frames allow.

A static point is seen along the rays r, r′ of two frames at the times t, t′ of its rows. With R(t) the orientation that
the gyroscope integrates to, and A the rotation from its axes to the camera's, v = R(t)·Aᵀ·r are the rays in one fixed
frame; a blurred point is seen where it was on average, so v is a mean over the row's exposure. The translation between
the times has a direction T, and T·(v × v′) = 0 whatever the point's distance. T is the eigenvector of the least
eigenvalue of Σ n·nᵀ, n = v × v′, of the pair; what is left over is divided by its derivative by the pixels (Sampson
1982).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.geometry import so3

# Where the parameters stand: rotation vector of A, rad; bias, rad/s; clock offset, s; readout time, s; log of the focal
# length over the one that the rays were made with.
AXES, BIAS, OFFSET, READOUT, LOG_FOCAL = slice(0, 3), slice(3, 6), 6, 7, 8
COUNT = 9

_LEAST_SLOPE = 1e-12
_GAUSS_NODE = 1 / np.sqrt(12)  # exposures from their middle; the mean of two such points errs by fourth derivatives


@dataclass(frozen=True)
class Tracks:
    """Points seen in two frames of a pair, (M,) of them.

    Attributes:
        pair: number of the pair, ascending.
        rays: (2, M, 2) normalised image coordinates in both frames.
        times: (2, M) s, mid-exposures of the row that the readout time does not move.
        rows: (2, M) rows from there, as a share of the image's height.
        exposures: (2, M) s; 0 where unknown.
        focal_length: px.
    """

    pair: np.ndarray
    rays: np.ndarray
    times: np.ndarray
    rows: np.ndarray
    exposures: np.ndarray
    focal_length: float

    def select(self, chosen: np.ndarray) -> Tracks:
        """Return those of a mask, their pairs numbered anew."""
        _, pair = np.unique(self.pair[chosen], return_inverse=True)
        per_track = (array[:, chosen] for array in (self.rays, self.times, self.rows, self.exposures))
        return Tracks(pair, *per_track, self.focal_length)

    @property
    def starts(self) -> np.ndarray:
        """(P,) the first track of each pair."""
        return np.flatnonzero(np.r_[True, np.diff(self.pair) > 0])


@dataclass(frozen=True)
class Rates:
    """A gyroscope's samples: times (N,) s on the images' clock but for an offset, angular (N, 3) rad/s in its axes."""

    times: np.ndarray
    angular: np.ndarray

    def carry(self, bias: np.ndarray, times: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Carry vectors (…, 3) in the gyroscope's axes at times (…), s, into those at its first sample."""
        middle = (self.angular[1:] + self.angular[:-1]) / 2 - bias
        at_samples = _products(so3.exp(np.diff(self.times)[:, None] * middle))
        i = np.clip(np.searchsorted(self.times, times) - 1, 0, len(middle) - 1)
        since = so3.rotate((times - self.times[i])[..., None] * middle[i], vectors)
        return np.einsum("...ij,...j->...i", at_samples[i], since)


def _products(steps: np.ndarray) -> np.ndarray:
    """(N, 3, 3) → (N + 1, 3, 3): the identity, the first, the first two, … multiplied."""
    products = np.empty((len(steps) + 1, 3, 3))
    products[0] = np.eye(3)
    for i, step in enumerate(steps):
        products[i + 1] = products[i] @ step
    return products


def residuals(parameters: np.ndarray, tracks: Tracks, rates: Rates, weights: np.ndarray) -> np.ndarray:
    """Compute the epipolar residuals (M,), px.

    Args:
        parameters: (COUNT,).
        weights: (M,) of the tracks in the fit of their pair's translation.
    """
    axes, bias = so3.exp(parameters[AXES]), parameters[BIAS]
    times = tracks.times + parameters[OFFSET] + parameters[READOUT] * tracks.rows
    scaled = tracks.rays * np.exp(-parameters[LOG_FOCAL])
    rays = np.concatenate([scaled, np.ones_like(scaled[..., :1])], -1) @ axes
    optical = np.broadcast_to(axes[2], rays.shape)
    around = _GAUSS_NODE * tracks.exposures
    first, second = (rates.carry(bias, times - around, rays) + rates.carry(bias, times + around, rays)) / 2
    first_optical, second_optical = rates.carry(bias, times, optical)
    normal = np.cross(first, second)
    slope = np.ones(len(normal))
    translation = np.zeros_like(normal)
    for _ in range(2):  # the slope, which weighs the normals, needs a translation
        translation = _translations(normal, weights / slope**2, tracks.starts)[tracks.pair]
        by_first = _across(np.cross(second, translation), first_optical)
        by_second = _across(np.cross(translation, first), second_optical)
        slope = np.sqrt(by_first + by_second) + _LEAST_SLOPE
    pixels = tracks.focal_length * np.exp(parameters[LOG_FOCAL])
    return np.einsum("mi,mi->m", normal, translation) / slope * pixels


def _across(gradients: np.ndarray, optical: np.ndarray) -> np.ndarray:
    """Squares (M,) of what of the gradients (M, 3) is in the image, at right angles to the optical axes (M, 3)."""
    return np.square(gradients).sum(1) - np.square(np.einsum("mi,mi->m", gradients, optical))


def _translations(normals: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Directions (P, 3) that normals (M, 3) of each pair are most at right angles to."""
    products = weights[:, None, None] * normals[:, :, None] * normals[:, None, :]
    return np.linalg.eigh(np.add.reduceat(products, starts))[1][..., 0]
