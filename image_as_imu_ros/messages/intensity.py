"""16-bit counts → 8-bit intensity, through a window of counts that follows the scene slowly.

Sensors fill 10, 12, 14 or 16 bits, thermal cameras use a hundred counts above an offset of thousands, and a hot pixel
is no part of the scene. The window goes from one permille of an image's counts to the other, with a margin on both
sides, and is never narrower than 8 bits: a count is at most one level, so that noise is not enlarged. It moves slowly
from image to image, as a jump of contrast would be a change of the scene for whoever compares two images.
"""

from __future__ import annotations

import numpy as np

_TAIL = 0.001  # share of an image's counts on either side that the window leaves out; at least one pixel
_MARGIN = 0.125  # of the width between both tails, on either side: bright streaks are not clipped
_FOLLOWED = 0.05  # share of the way to the image's own window, per image: about a second at 30 Hz
_MOST_OUTSIDE = 0.02  # share of an image's counts outside the window, above which it moves at once
_SAMPLED = 4  # every so many rows and columns are looked at, in images of at least 64 px


class IntensityWindow:
    """The window of one image stream. A new one takes that of its first image."""

    def __init__(self) -> None:
        self._window: tuple[float, float] | None = None  # lowest, highest count

    def to_8_bit(self, image: np.ndarray) -> np.ndarray:
        """Convert an image of any shape to uint8; one that is uint8 already is returned as it is."""
        if image.dtype == np.uint8:
            return image
        low, high = self._follow(image)
        levels = (image.astype(np.float32) - low) * np.float32(255 / (high - low))
        return np.clip(np.rint(levels), 0, 255).astype(np.uint8)

    def _follow(self, image: np.ndarray) -> tuple[float, float]:
        every = _SAMPLED if min(image.shape[:2]) >= 64 else 1
        counts = np.sort(image[::every, ::every], axis=None).astype(np.float64)
        own = _window(counts)
        if self._window is None:
            self._window = own
        low, high = self._window
        if np.searchsorted(counts, low) + len(counts) - np.searchsorted(counts, high) > _MOST_OUTSIDE * len(counts):
            self._window = own
        else:
            self._window = low + _FOLLOWED * (own[0] - low), high + _FOLLOWED * (own[1] - high)
        return self._window


def _window(counts: np.ndarray) -> tuple[float, float]:
    """Find the window of sorted counts: (lowest, highest) count."""
    left_out = min(max(1, round(_TAIL * len(counts))), (len(counts) - 1) // 2)
    low, high = counts[left_out], counts[-1 - left_out]
    if high <= 255:
        return 0.0, 255.0  # 8 bits in a 16-bit message
    margin = _MARGIN * (high - low)
    middle, half = (low + high) / 2, max((high - low) / 2 + margin, 127.5)
    return middle - half, middle + half
