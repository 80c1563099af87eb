"""From linear light to the 8-bit image of a camera."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

_FULL_WELL = 6000.0  # electrons at white: sets the shot noise
_READ_NOISE = 0.002  # of white
_WHITE = np.full(4, 65535.0)  # OpenCV's scalars have four channels


def photograph(light: np.ndarray, seed: int) -> np.ndarray:
    """Add shot and read noise and encode as sRGB.

    Args:
        light: (H, W, 3) float32 linear light, 1 is white.
        seed: of the noise.

    Returns:
        (H, W, 3) uint8.
    """
    noise = np.random.default_rng(seed).standard_normal(light.shape, dtype=np.float32)
    noisy = light + noise * np.sqrt(light / _FULL_WELL + _READ_NOISE**2)
    levels: np.ndarray = cv2.multiply(noisy, _WHITE, dtype=cv2.CV_16U)
    return _srgb_table()[levels]


@cache
def _srgb_table() -> np.ndarray:
    """Tabulate (65536,) uint8: 16-bit linear light → sRGB."""
    linear = np.arange(65536) / 65535
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)
