"""Exposure times of a recording's frames: given, recorded frame by frame, estimated, or fitted to the ground truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.estimation.constants import BLUR_SOLVER, ESTIMATOR
from image_as_imu_ros.estimation.frame import Shutter
from image_as_imu_ros.evaluation.samples import Samples, with_true_sign
from image_as_imu_ros.recordings.exposures import Exposures

_LONGEST = 1.02  # frame periods that an exposure may take: periods are rounded
_FEWEST_TO_FIT = 5  # blurred frames with ground truth


@dataclass(frozen=True)
class Shutters:
    """How each frame of a recording was exposed.

    Attributes:
        shared: what holds for all frames.
        exposures: each frame's own exposure time; None: that of `shared`.
    """

    shared: Shutter
    exposures: Exposures | None = None

    def of(self, header_stamp: int, frame_id: str) -> Shutter:
        """Return the shutter of the image with this header: `header_stamp`, ns, and `frame_id`.

        Raises:
            InputError: the recording holds no usable exposure of this image.
        """
        if self.exposures is None:
            return self.shared
        return replace(self.shared, exposure=self.exposures.of(header_stamp, frame_id))


def unusable_exposure(config: EstimatorConfig) -> str:
    """Say what is wrong with the exposure time where no frame has a velocity from its blur."""
    limit, given = ESTIMATOR.known_log_std, config.exposure_relative_error
    if config.estimate_exposure:
        return f"blur and alignment did not tell the exposure time to within {limit:.0%}: give it, --exposure SECONDS"
    if given > limit:
        return (
            f"velocities from blur need an exposure time that is known to within {limit:.0%}, and "
            f"--exposure-relative-error is {given:g}: give {limit:g} or less"
        )
    fastest = BLUR_SOLVER.fastest_rotation
    return f"by its exposure time the blur means more than {fastest:g} rad/s, which no camera does: check the unit"


def longer_than_period(exposure: float, log_std: float, header_stamps: np.ndarray, every: int) -> str:
    """Say that an exposure, s, is longer than the time from frame to frame; empty if it is not.

    Args:
        log_std: of its logarithm; 0 where it was given.
        header_stamps: (N,) ns, of every `every`-th frame.
    """
    period = period_of(header_stamps, every)
    if not 0 < _LONGEST * period < exposure:
        return ""
    sure = f" ± {log_std:.0%}" if log_std else ""
    return (
        f"an exposure of {1e3 * exposure:.1f} ms{sure} is impossible, as frames are {1e3 * period:.1f} ms apart: "
        f"velocities from blur are at least {exposure / period:.2f} times too small"
    )


def readout_longer_than_period(readout_time: float, header_stamps: np.ndarray, every: int) -> str:
    """Say that a readout time, s, is longer than from frame to frame; empty if not. Arguments: `longer_than_period`."""
    period = period_of(header_stamps, every)
    if not 0 < _LONGEST * period < readout_time:
        return ""
    return (
        f"a readout time of {1e3 * readout_time:.1f} ms is impossible, as frames are {1e3 * period:.1f} ms apart: "
        "stamps and velocities are corrected for what no camera does"
    )


def period_of(header_stamps: np.ndarray, every: int) -> float:
    """Compute the median s from frame to frame, of stamps (N,) ns of every `every`-th one; 0 of fewer than two."""
    return 1e-9 * float(np.median(np.diff(header_stamps))) / every if len(header_stamps) > 1 else 0.0


def fit_exposure(samples: Samples, guess: float) -> float:
    """Find the exposure time, s, that makes estimates of ω as large as the ground truth.

    Blur gives the rotation during the exposure, ω̂·guess, so the exposure is that rotation over the true rate: the
    median over the blurred frames, each projected on the true axis with the sign of the ground truth.

    Args:
        samples: estimated with `guess` s for the exposure.

    Raises:
        InputError: fewer than five blurred frames have ground truth.
    """
    samples = with_true_sign(samples.select(samples.blurred & np.isfinite(samples.true_angular).all(1)))
    squared_rate = np.square(samples.true_angular).sum(1)
    rotating = squared_rate > 0
    if rotating.sum() < _FEWEST_TO_FIT:
        raise InputError(
            f"only {rotating.sum()} clearly blurred frames have ground truth, too few to fit the exposure; give it: "
            "--exposure"
        )
    along = np.einsum("ni,ni->n", samples.angular, samples.true_angular)[rotating] / squared_rate[rotating]
    return float(guess * np.median(along))
