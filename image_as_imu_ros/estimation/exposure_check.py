"""Whether exposure times that were given fit what the images show."""

from __future__ import annotations

import math

from image_as_imu_ros.estimation.config import Measurement
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.exposure import MeasuredExposure

_SUSPECT_RATIO = 1.5  # given exposure over measured one, or the reverse
_SUSPECT_SIGMAS = 3.0
_IMPOSSIBLE_RATIO = 3.0  # velocities from blur are of no use


def describe_contradiction(given: float, measured: MeasuredExposure) -> str:
    """Say how a given exposure, s, clearly differs from what the images show; empty if it fits.

    It does where |ln(given / measured)| exceeds both ln 1.5 and three standard deviations of the measured log.
    """
    if not _contradicts(given, measured, _SUSPECT_RATIO):
        return ""
    ratio = given / measured.seconds
    return (
        f"the exposure you give, {1e3 * given:.3g} ms, is {ratio:.2g}× what the blur shows, "
        f"{1e3 * measured.seconds:.3g} ms: velocities are wrong by as much (wrong unit? auto-exposure?)"
    )


def reason_to_hold_back(estimate: MotionEstimate, *, given: bool) -> str:
    """Say why a velocity from blur must not be published: its exposure is wrong by more than 3; empty if it may be.

    An aligned velocity does not depend on the exposure.

    Args:
        given: whether exposures come from outside, not from the images themselves.
    """
    measured = estimate.measured_exposure
    if not given or measured is None or estimate.measurement != Measurement.SINGLE:
        return ""
    if not _contradicts(estimate.exposure, measured, _IMPOSSIBLE_RATIO):
        return ""
    return f"{describe_contradiction(estimate.exposure, measured)}; velocities from single frames are held back"


def _contradicts(given: float, measured: MeasuredExposure, ratio: float) -> bool:
    """Tell whether an exposure, s, differs from the measured one by more than a ratio, beyond its uncertainty."""
    limit = max(math.log(ratio), _SUSPECT_SIGMAS * measured.log_std)
    return abs(math.log(given / measured.seconds)) >= limit
