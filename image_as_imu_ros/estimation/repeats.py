"""Images that are no new ones: a stream that is frozen, or published faster than its camera runs.

A repeated image under a new stamp is no measurement of standstill. Two images of one static scene differ by the
sensor's noise; a repeated one is the same up to what another encoding changes.
"""

from __future__ import annotations

import math

import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.constants import REPEATS


class RepeatedImageError(InputError):
    """An image that equals the one before it."""


def some_pixels(image: np.ndarray) -> np.ndarray:
    """Sample an image (H, W) or (H, W, 3) uint8 sparsely, without averaging: that would hide its noise."""
    step = max(1, math.isqrt(image.shape[0] * image.shape[1] // REPEATS.pixels))
    return image[::step, ::step].astype(np.int16)


def repeats(now: np.ndarray, before: np.ndarray) -> bool:
    """Tell whether an image equals another one up to its encoding, given some pixels of both."""
    return now.shape == before.shape and float(np.abs(now - before).mean()) < REPEATS.largest_difference
