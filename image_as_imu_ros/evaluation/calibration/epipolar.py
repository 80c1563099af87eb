"""How far tracks are from what a gyroscope's rotation and a free translation per pair of frames allow.

A static point is seen along the rays r, r′ of two frames at the times t, t′ of its rows. With R(t) the orientation that
the gyroscope integrates to, and A the rotation from its axes to the camera's, v = R(t)·Aᵀ·r are the rays in one fixed
frame. The translation between the times has a direction T, and T·(v × v′) = 0 whatever the point's distance. T is the
eigenvector of the least eigenvalue of Σ n·nᵀ, n = v × v′, of the pair; what is left over is divided by its derivative
by the pixels (Sampson 1982).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from image_as_imu_ros.geometry import so3

# Where the parameters stand: rotation vector of A, rad; bias, rad/s; clock offset, s; readout time, s; log of the focal
# length over the one that the rays were made with.
AXES, BIAS, OFFSET, READOUT, LOG_FOCAL = slice(0, 3), slice(3, 6), 6, 7, 8
COUNT = 9

_LEAST_SLOPE = 1e-12


@dataclass(frozen=True)
class Tracks:
    """Points seen in two frames of a pair, (M,) of them.

    Attributes:
        pair: number of the pair, ascending.
        rays: (2, M, 2) normalised image coordinates in both frames.
        times: (2, M) s, mid-exposures of the row that the readout time does not move.
        rows: (2, M) rows from there, as a share of the image's height.
        focal_length: px.
    """

    pair: np.ndarray
    rays: np.ndarray
    times: np.ndarray
    rows: np.ndarray
    focal_length: float

    def select(self, chosen: np.ndarray) -> Tracks:
        """Return those of a mask, their pairs numbered anew."""
        _, pair = np.unique(self.pair[chosen], return_inverse=True)
        return Tracks(pair, self.rays[:, chosen], self.times[:, chosen], self.rows[:, chosen], self.focal_length)

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
    """Compute the epipolar residuals (M,), px, of the translations that fit best.

    Args:
        parameters: (COUNT,).
        weights: (M,) of the tracks in the fit of their pair's translation.
    """
    return _fit(parameters, tracks, rates, weights).along(0)


def linearise(
    parameters: np.ndarray, tracks: Tracks, rates: Rates, weights: np.ndarray, moved: Callable, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the residuals (M,), px, and their derivatives (M, COUNT) by the parameters, by differences.

    Of the derivatives with the translations held, what other translations could explain is taken away (variable
    projection: Kaufman 1975). Where a camera hardly travels, its translation follows the noise of the tracks:
    derivatives through it would be noise.

    Args:
        moved: adds a step (COUNT,) to parameters. step: of the differences.
    """
    fit = _fit(parameters, tracks, rates, weights)
    error = fit.along(0)
    jacobian = np.empty((len(error), COUNT))
    for i, difference in enumerate(step * np.eye(COUNT)):
        tried = moved(parameters, difference)
        first, second = _carried_rays(tried, tracks, rates)
        jacobian[:, i] = (replace(fit, normals=np.cross(first, second)).along(0, _pixels(tried, tracks)) - error) / step
    for number in (1, 2):
        other = fit.along(number)
        size = np.add.reduceat(weights * other**2, tracks.starts) + _LEAST_SLOPE
        shares = np.add.reduceat((weights * other)[:, None] * jacobian, tracks.starts) / size[:, None]
        jacobian -= other[:, None] * shares[tracks.pair]
    return error, jacobian


@dataclass(frozen=True)
class _Fit:
    """Normals n (M, 3); for each track its pair's translation and two directions across it, (M, 3, 3); slopes (M,)."""

    normals: np.ndarray
    eigenvectors: np.ndarray
    slope: np.ndarray
    pixels: float

    def along(self, number: int, pixels: float | None = None) -> np.ndarray:
        """Residuals (M,), px, along the translation (0), or how they change with it across (1, 2)."""
        products = np.einsum("mi,mi->m", self.normals, self.eigenvectors[:, :, number])
        return products / self.slope * (self.pixels if pixels is None else pixels)


def _fit(parameters: np.ndarray, tracks: Tracks, rates: Rates, weights: np.ndarray) -> _Fit:
    first, second = _carried_rays(parameters, tracks, rates)
    optical = np.broadcast_to(so3.exp(parameters[AXES])[2], first.shape)
    times = tracks.times + parameters[OFFSET] + parameters[READOUT] * tracks.rows
    first_optical, second_optical = rates.carry(parameters[BIAS], times, np.stack([optical, optical]))
    normals = np.cross(first, second)
    slope = np.ones(len(normals))
    eigenvectors = np.zeros((len(normals), 3, 3))
    for _ in range(2):  # the slope, which weighs the normals, needs a translation
        eigenvectors = _eigenvectors(normals, weights / slope**2, tracks.starts)[tracks.pair]
        by_first = _across(np.cross(second, eigenvectors[..., 0]), first_optical)
        by_second = _across(np.cross(eigenvectors[..., 0], first), second_optical)
        slope = np.sqrt(by_first + by_second) + _LEAST_SLOPE
    return _Fit(normals, eigenvectors, slope, _pixels(parameters, tracks))


def _carried_rays(parameters: np.ndarray, tracks: Tracks, rates: Rates) -> np.ndarray:
    """Rays v, v′ (2, M, 3) in one fixed frame."""
    scaled = tracks.rays * np.exp(-parameters[LOG_FOCAL])
    rays = np.concatenate([scaled, np.ones_like(scaled[..., :1])], -1) @ so3.exp(parameters[AXES])
    times = tracks.times + parameters[OFFSET] + parameters[READOUT] * tracks.rows
    return rates.carry(parameters[BIAS], times, rays)


def _pixels(parameters: np.ndarray, tracks: Tracks) -> float:
    return tracks.focal_length * float(np.exp(parameters[LOG_FOCAL]))


def _across(gradients: np.ndarray, optical: np.ndarray) -> np.ndarray:
    """Squares (M,) of what of the gradients (M, 3) is in the image, at right angles to the optical axes (M, 3)."""
    return np.square(gradients).sum(1) - np.square(np.einsum("mi,mi->m", gradients, optical))


def _eigenvectors(normals: np.ndarray, weights: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Columns (P, 3, 3) at right angles: the first is that which normals (M, 3) of each pair are most across to."""
    products = weights[:, None, None] * normals[:, :, None] * normals[:, None, :]
    return np.linalg.eigh(np.add.reduceat(products, starts))[1]
