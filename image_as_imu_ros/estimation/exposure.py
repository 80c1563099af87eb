"""An exposure time that measures itself: blur is image motion per exposure, alignment is image motion per second.

Their ratio is the exposure, whatever the focal length and the scene: both see the same image motion. One frame's ratio
is rough, so a Bayes filter keeps a belief over a grid of log exposures. It forgets slowly, as auto-exposure drifts, and
believes in rare jumps, as auto-exposure does that too; outliers are expected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_RANGE = math.log(100)  # of the exposure, to either side of the first guess
_STEP = 0.02  # of log exposure
_DRIFT_STD = 0.003  # of log exposure, per frame; auto-exposure that moves faster is a row of jumps
_JUMP = 0.0005  # probability per frame
_LEAST_BLUR = 4.0  # px at 320 px image width
_LENGTH_STD = 0.2  # relative error of one frame's blur length
_BLUR_STD = 2.0  # px, error of any blur length
_CLEAR_LENGTH_STD = 0.1  # the same where the image's spectra show the length
_RATE_STD = 0.2  # error of the rate between two alignments, as a fraction of their difference
_TAIL = 1e-4  # of the first belief, for a first guess that is far off
_DEGREES = 2.0  # of freedom of Student's t: outliers happen


@dataclass(frozen=True)
class MeasuredExposure:
    """What blur and alignment say: s, and the standard deviation of its log."""

    seconds: float
    log_std: float


class ExposureEstimator:
    """Running estimate of an exposure time, or of its ratio to a given one.

    Args:
        start: first guess.
        log_std: standard deviation of its log.
    """

    def __init__(self, start: float, log_std: float) -> None:
        offsets = np.arange(-_RANGE, _RANGE + _STEP / 2, _STEP)
        self._values = start * np.exp(offsets)
        self._logs = np.log(self._values)
        self._belief = _normalised(np.exp(-0.5 * np.square(offsets / log_std)) + _TAIL)
        moved = (_DRIFT_STD / _STEP) ** 2 / 2  # to either neighbour, so that the variance is right
        self._drift = np.array([moved, 1 - 2 * moved, moved])

    def observe(self, blur: float, rate: float, rate_change: float, *, clear: float = 0.0) -> None:
        """One frame.

        Args:
            blur: length of its blur along the aligned motion, px.
            rate: image motion by alignment, px/s; for a ratio, px during the given exposure.
            rate_change: how much that changed about this frame, in the same unit.
            clear: how far, 0…1, the length follows from the image's spectra, which show it far better than the network.
        """
        length = max(blur, rate * self.estimate.seconds)
        if length < _LEAST_BLUR:
            return
        belief = np.convolve(self._belief, self._drift, mode="same")
        belief = (1 - _JUMP) * _normalised(belief) + _JUMP / len(belief)
        change = _RATE_STD * rate_change / rate
        rough = _LENGTH_STD**2 + (_BLUR_STD / length) ** 2
        variance = clear * _CLEAR_LENGTH_STD**2 + (1 - clear) * rough + change**2
        squared = np.square(math.log(max(blur, 0.1) / rate) - self._logs) / variance
        self._belief = _normalised(belief * (1 + squared / _DEGREES) ** (-(_DEGREES + 1) / 2))

    @property
    def estimate(self) -> MeasuredExposure:
        """Mean and standard deviation of the belief."""
        mean = self._belief @ self._logs
        variance = self._belief @ np.square(self._logs - mean)
        return MeasuredExposure(math.exp(mean), math.sqrt(variance))


def blur_along(blur: np.ndarray, motion: np.ndarray) -> tuple[float, float]:
    """How long a blur is along an image motion.

    Args:
        blur, motion: (2, …) px, and px or px/s; the blur may have the opposite sign.

    Returns:
        Root mean square length of the motion, and that of the blur's projection on it.
    """
    length = math.sqrt(np.square(motion).sum(0).mean())
    return length, abs(float((blur * motion).sum(0).mean())) / max(length, 1e-9)


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()
