"""Estimation of the exposure time: blur is displacement per exposure, alignment is displacement per second.

Their ratio is the exposure, whatever the focal length and the scene: both see the same image motion. One frame's ratio
is rough, so a Bayes filter keeps a posterior over a grid of the log of true over nominal exposure, u. A frame whose
blur is b px long, where the nominal exposure should give d px, has a likelihood of Student's t about

    u = log(b / d).

The filter forgets slowly, as auto-exposure drifts, and expects rare jumps, as auto-exposure does that too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.estimation.constants import EXPOSURE


@dataclass(frozen=True)
class MeasuredExposure:
    """What blur and alignment say: s, and the standard deviation of its log."""

    seconds: float
    log_std: float


class ExposureEstimator:
    """Running estimate of exposure times, as a ratio to nominal ones: those given with the frames, or a first guess.

    Args:
        log_std: standard deviation of the log of the first nominal exposure.
    """

    def __init__(self, log_std: float) -> None:
        half = EXPOSURE.log_range
        self._logs = np.arange(-half, half + EXPOSURE.log_step / 2, EXPOSURE.log_step)
        self._posterior = _normalised(np.exp(-0.5 * np.square(self._logs / log_std)) + EXPOSURE.tail)
        moved = (EXPOSURE.drift_std / EXPOSURE.log_step) ** 2 / 2  # to either neighbour, so that the variance is right
        self._drift = np.array([moved, 1 - 2 * moved, moved])

    def observe(self, blur: float, displacement: float, change: float, *, clear: float = 0.0) -> None:
        """Take in one frame.

        Args:
            blur: length of its blur along the aligned motion, px at 320 px image width.
            displacement: image motion by alignment during the nominal exposure, in the same unit.
            change: how much that changed about this frame.
            clear: how far, 0…1, the length follows from the image's spectra, which show it far better than the network.
        """
        length = max(blur, displacement * math.exp(self._mean()))
        if length < EXPOSURE.least_blur:
            return
        posterior = np.convolve(self._posterior, self._drift, mode="same")
        posterior = (1 - EXPOSURE.jump) * _normalised(posterior) + EXPOSURE.jump / len(posterior)
        rough = EXPOSURE.length_std**2 + (EXPOSURE.blur_std / length) ** 2
        variance = clear * EXPOSURE.clear_length_std**2 + (1 - clear) * rough
        variance += (EXPOSURE.rate_std * change / displacement) ** 2
        squared = np.square(math.log(max(blur, 0.1) / displacement) - self._logs) / variance
        likelihood = (1 + squared / EXPOSURE.degrees) ** (-(EXPOSURE.degrees + 1) / 2)
        self._posterior = _normalised(posterior * likelihood)

    def estimate(self, nominal: float) -> MeasuredExposure:
        """Estimate the exposure time of a frame whose nominal one is given, s: mean and deviation of the posterior."""
        mean = self._mean()
        variance = float(self._posterior @ np.square(self._logs - mean))
        return MeasuredExposure(nominal * math.exp(mean), math.sqrt(variance))

    def _mean(self) -> float:
        return float(self._posterior @ self._logs)


def blur_along(blur: np.ndarray, motion: np.ndarray) -> tuple[float, float]:
    """Measure how long a blur is along an image motion.

    Args:
        blur, motion: (2, …) px, and px or px/s; the blur may have the opposite sign.

    Returns:
        Root mean square length of the motion, and that of the blur's projection on it.
    """
    length = math.sqrt(np.square(motion).sum(0).mean())
    return length, abs(float((blur * motion).sum(0).mean())) / max(length, 1e-9)


def _normalised(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()
