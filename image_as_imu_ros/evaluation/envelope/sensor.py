"""From linear light to the 8-bit luminance of a camera."""

from __future__ import annotations

import cv2
import numpy as np

_LENS_SIGMA = 0.55  # px of the image, standard deviation: a sharp lens on small pixels
_GAMMA = 2.2


def photograph(
    light: np.ndarray, rng: np.random.Generator, *, electrons: float, read_noise: float, jpeg: int
) -> np.ndarray:
    """Blur by the lens, clip at the full well, add shot and read noise, encode with a gamma, compress.

    Args:
        light: (H, W) float32 linear light, 1 is white.
        electrons: at white. read_noise: electrons.
        jpeg: quality 1…100; 0 for none.

    Returns:
        (H, W) uint8.
    """
    collected = electrons * np.minimum(cv2.GaussianBlur(light, (0, 0), _LENS_SIGMA), 1.0)
    sigma = np.sqrt(collected + read_noise**2)
    noisy = (collected + sigma * rng.standard_normal(light.shape, dtype=np.float32)) / electrons
    image = np.round(255 * np.clip(noisy, 0, 1) ** (1 / _GAMMA)).astype(np.uint8)
    return _through_jpeg(image, jpeg) if jpeg else image


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)
    assert decoded is not None  # what OpenCV encodes, it decodes
    return decoded
