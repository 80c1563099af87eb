"""Images that are no new ones: a stream that is frozen, or published faster than its camera runs.

A repeated image under a new stamp is no measurement of standstill. Two exposures of one static scene differ by their
noise; a repeated image is the same up to what another encoding changes (JPEG of another quality, video).

The noise is looked for in the details of small patches. There, two images a, b of one scene agree in the scene, too,
and in what the sensor adds to every image. Both are in any third image z if the camera is at rest, and are taken out by
the partial correlation

    r_ab·z = (r_ab − r_az·r_bz) / √((1 − r_az²)·(1 − r_bz²)).

With independent noise all three correlations are the same r, and r_ab·z = r/(1 + r) ≤ 1/2. Two encodings of one
exposure share its noise: r_ab·z is near 1, as long as any of the noise is left. If the camera moves, z has another
scene, and a differs from b along the gradients, unless it is a repeat.

A torn image repeats in part: its driver copied it while the sensor wrote, or packets of a video were lost. There it
equals the one before exactly, where that had changed, while the rest goes on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.constants import REPEATS

_SIDE = 16  # px, of a patch
_BORDER = 6  # px around it that the filters reach
_TILES = 8  # along either side of an image


class RepeatedImageError(InputError):
    """An image that equals the one before it, or does in part."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What tells an image from a repeated one.

    Attributes:
        stamp: ns.
        pixels: some, int16, not averaged: that would hide their noise.
        image: (H, W) uint8, all of one channel.
    """

    stamp: int
    pixels: np.ndarray
    image: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, stamp: int = 0) -> Fingerprint:
        """Take it of an image (H, W) or (H, W, 3) uint8."""
        step = max(1, math.isqrt(image.shape[0] * image.shape[1] // REPEATS.pixels))
        return cls(stamp, image[::step, ::step].astype(np.int16), image if image.ndim == 2 else image[..., 1])

    @cached_property
    def details(self) -> np.ndarray:
        """(N, 16, 16) float32, band-passed patches without their means."""
        return _details(self.image)

    def repeats(self, before: Fingerprint, other: Fingerprint | None = None) -> bool:
        """Tell whether an image equals the one before it up to its encoding.

        Args:
            other: of a third image; without one, only images that are as good as equal repeat.
        """
        if self.pixels.shape != before.pixels.shape:
            return False
        difference = float(np.abs(self.pixels - before.pixels).mean())
        if difference < REPEATS.largest_difference:
            return True
        if difference > REPEATS.largest_encoded:  # as of most cameras that move: the rest is not computed
            return False
        return other is not None and other.pixels.shape == before.pixels.shape and self._shares_noise(before, other)

    def torn_share(self, before: Fingerprint, other: Fingerprint) -> float:
        """Tell which share of the image repeats the one before it, while the rest goes on.

        Args:
            other: of a third image; what does not differ from it either is a bonnet or an overlay.
        """
        if not self.pixels.shape == before.pixels.shape == other.pixels.shape:
            return 0.0
        change = _of_tiles(self.pixels - before.pixels)
        held, moves = change < REPEATS.largest_difference, change > REPEATS.least_change
        if min(held.mean(), moves.mean()) < REPEATS.least_torn:  # mostly so: the rest is not computed
            return 0.0
        changed_before = _of_tiles(before.pixels - other.pixels) > REPEATS.least_change
        shows = _of_tiles(np.diff(self.pixels, axis=1)) > REPEATS.least_change  # saturated parts are all alike
        return float((held & changed_before & shows).mean())

    def _shares_noise(self, before: Fingerprint, other: Fingerprint) -> bool:
        shows = np.minimum(_power(self.details), _power(before.details)) > REPEATS.least_detail**2
        if shows.sum() < REPEATS.least_patches:
            return False
        a, b, z = (one.details[shows] for one in (self, before, other))
        if _lower_decile(_correlation(a, b)) < REPEATS.least_correlation:  # mostly so: the rest is not computed
            return False
        return (
            _lower_decile(_partial_correlation(a, b, z)) > REPEATS.least_correlation
            and float(np.median(_explained_by_motion(a, b))) < REPEATS.most_motion
        )


class RepeatWatch:
    """Finds the repeated images of a sequence.

    The third image is the latest one beside both that are compared, also where it was refused: a camera that stops from
    one frame to the next, without any noise, loses one image by it, never all that follow.
    """

    def __init__(self) -> None:
        self._kept: Fingerprint | None = None
        self._other: Fingerprint | None = None

    def check(self, image: np.ndarray, stamp: int) -> Fingerprint:
        """Compare an image with the last one that was kept. To be kept is for the caller.

        Raises:
            RepeatedImageError: it repeats that one.
        """
        new, kept = Fingerprint.of(image, stamp), self._kept
        if kept is not None and new.repeats(kept, self._other):
            self._other = new
            raise RepeatedImageError(
                f"the image equals the one {(stamp - kept.stamp) * 1e-9:.2f} s before it and is skipped: is the stream "
                "frozen, or faster than its camera?"
            )
        if kept is not None and self._other is not None:
            share = new.torn_share(kept, self._other)
            if share > REPEATS.least_torn:
                self._other = new
                raise RepeatedImageError(
                    f"{share:.0%} of the image equal the one {(stamp - kept.stamp) * 1e-9:.2f} s before it, the rest "
                    "does not: it is torn, by lost packets or a driver that copies while the sensor writes, and is "
                    "skipped"
                )
        return new

    def keep(self, image: Fingerprint) -> None:
        """Compare later images with this one."""
        self._kept, self._other = image, self._kept


def _of_tiles(differences: np.ndarray) -> np.ndarray:
    """Average the sizes of differences (H, W) or (H, W, 3) over each of 8 × 8 tiles."""
    height, width = differences.shape[:2]
    rows, columns = (np.linspace(0, size, _TILES, endpoint=False).astype(int) for size in (height, width))
    sizes = np.abs(differences).reshape(height, width, -1).mean(2)
    sums = np.add.reduceat(np.add.reduceat(sizes, rows, 0), columns, 1)
    return sums / (np.diff(rows, append=height)[:, None] * np.diff(columns, append=width))


def _details(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8 → (N, 16, 16) float32, from a grid all over the image; N is 0 where it is too small."""
    side = _SIDE + 2 * _BORDER
    rows, columns = image.shape[0] // side, image.shape[1] // side
    if not rows * columns:
        return np.empty((0, _SIDE, _SIDE), np.float32)
    thinned = max(1.0, math.sqrt(rows * columns / REPEATS.patches))
    top, left = (
        np.linspace(0, size - side, max(1, int(count / thinned))).astype(int)
        for size, count in zip(image.shape, (rows, columns), strict=True)
    )
    patches = np.lib.stride_tricks.sliding_window_view(image, (side, side))[np.ix_(top, left)]
    stacked = patches.reshape(-1, side).astype(np.float32)
    fine, coarse = (cv2.GaussianBlur(stacked, (2 * _BORDER + 1,) * 2, sigma) for sigma in REPEATS.band)
    details = (fine - coarse).reshape(-1, side, side)[:, _BORDER:-_BORDER, _BORDER:-_BORDER]
    return details - details.mean((1, 2), keepdims=True)


def _power(details: np.ndarray) -> np.ndarray:
    return np.square(details).mean((1, 2))


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each patch (N,)."""
    return (a * b).mean((1, 2)) / np.sqrt(_power(a) * _power(b) + 1e-9)


def _partial_correlation(a: np.ndarray, b: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Of each patch (N,). Where z equals one of the images, nothing is left to correlate: 0."""
    ab, az, bz = _correlation(a, b), _correlation(a, z), _correlation(b, z)
    left = np.maximum(1 - np.square(az), 0.01) * np.maximum(1 - np.square(bz), 0.01)
    return (ab - az * bz) / np.sqrt(left)


def _explained_by_motion(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute which share of the difference of each patch (N,) is a displacement along the gradients."""
    difference = (a - b).reshape(len(a), -1, 1)
    down, across = np.gradient((a + b) / 2, axis=(1, 2))
    gradients = np.stack([down, across], 1).reshape(len(a), 2, -1)
    normal = gradients @ gradients.transpose(0, 2, 1) + 1e-6 * np.eye(2)
    right = gradients @ difference
    explained = (right * np.linalg.solve(normal, right)).sum((1, 2))
    return explained / (np.square(difference).sum((1, 2)) + 1e-9)


def _lower_decile(values: np.ndarray) -> float:
    return float(np.quantile(values, 0.1))
