"""Where a frame's exposure time comes from, and checks for values that cannot be right."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.exposure import MeasuredExposure
from image_as_imu_ros.messages.exposure import exposure_of_message
from image_as_imu_ros.settings import TextEnum


class ExposureSource(TextEnum):
    """Where exposure times come from: the parameter, a message per image, or the images themselves."""

    PARAMETER = "parameter"
    TOPIC = "topic"
    REALSENSE = "realsense"
    CAMERA_ROS = "camera_ros"
    ESTIMATE = "estimate"


EXPOSURE_SOURCES = tuple(ExposureSource)
EXPOSURE_TOPICS = (ExposureSource.TOPIC, ExposureSource.REALSENSE, ExposureSource.CAMERA_ROS)

_SUSPECT_RATIO = 1.5  # given exposure over measured one, or the reverse
_SUSPECT_SIGMAS = 3.0
_STUCK_AFTER = 150  # frames with the very same value
_STUCK_CONTRAST = 1.5  # while the brightest of them was this much brighter than the darkest


def exposure_reader(source: str, unit: str) -> tuple[type, Callable[[Any], float | None]]:
    """Find the message type of an exposure source, and a function from such a message to seconds.

    The function returns None for a message that says nothing about exposure, and raises InputError for one that is
    damaged.

    Raises:
        InputError: the message type is not installed.
    """
    read = partial(exposure_of_message, source, unit)
    if source == ExposureSource.TOPIC:
        from geometry_msgs.msg import PointStamped

        return PointStamped, read
    if source == ExposureSource.REALSENSE:
        try:
            messages = import_module("realsense2_camera_msgs.msg")
        except ImportError:
            raise InputError(
                "exposure_source 'realsense' needs the package realsense2_camera_msgs, which is not installed"
            ) from None
        return messages.Metadata, read
    if source == ExposureSource.CAMERA_ROS:
        from diagnostic_msgs.msg import DiagnosticArray

        return DiagnosticArray, read
    raise InputError(f"exposure_source {source!r} has no topic")


def exposure_problems(watch: ExposureWatch, source: str, estimate: MotionEstimate | None) -> list[str]:
    """List what is wrong with the exposures that were given.

    Args:
        watch: has seen the values from the topic.
        source: one of EXPOSURE_SOURCES.
        estimate: the last one, which may have measured the exposure.
    """
    problems = []
    if watch.stuck:
        problems.append(
            "the values on the topic exposure stay the same while the brightness changes: with auto-exposure they "
            "are wrong; set the exposure by hand and give it as exposure_time with exposure_source: parameter"
        )
    if source != ExposureSource.ESTIMATE and estimate is not None and estimate.measured_exposure is not None:
        problem = contradiction(estimate.exposure, estimate.measured_exposure)
        problems += [problem] if problem else []
    return problems


def contradiction(given: float, measured: MeasuredExposure) -> str:
    """Say how a given exposure, s, clearly differs from what the images show; empty if it fits.

    It does where |ln(given / measured)| exceeds both ln 1.5 and three standard deviations of the measured log.
    """
    ratio = given / measured.seconds
    limit = max(math.log(_SUSPECT_RATIO), _SUSPECT_SIGMAS * measured.log_std)
    if abs(math.log(ratio)) < limit:
        return ""
    return (
        f"the exposure you give, {1e3 * given:.3g} ms, is {ratio:.2g}× what the blur shows, "
        f"{1e3 * measured.seconds:.3g} ms: velocities are wrong by as much (wrong unit? auto-exposure?)"
    )


class ExposureWatch:
    """Notices exposure values that stay the same while the image's brightness changes.

    Some cameras report the last manual value while auto-exposure runs (RealSense colour): every velocity would be
    wrong by the ratio of the two.
    """

    def __init__(self) -> None:
        self._exposure = 0.0
        self._frames = 0
        self._darkest = self._brightest = 0.0

    def observe(self, exposure: float, brightness: float) -> None:
        """Take in one frame's exposure, s, and its mean luminance, 0 to 255."""
        if exposure != self._exposure:
            self._exposure, self._frames = exposure, 0
            self._darkest = self._brightest = brightness
        self._frames += 1
        self._darkest, self._brightest = min(self._darkest, brightness), max(self._brightest, brightness)

    @property
    def stuck(self) -> bool:
        """Whether the exposure stayed the same while the brightness changed clearly."""
        return self._frames >= _STUCK_AFTER and self._brightest > _STUCK_CONTRAST * max(self._darkest, 1.0)
