"""Where a frame's exposure time comes from, and checks for values that cannot be right."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.exposure_check import describe_contradiction
from image_as_imu_ros.messages.exposure import EXPOSURE_TYPES, exposure_of_message
from image_as_imu_ros.settings import TextEnum


class ExposureSource(TextEnum):
    """Where exposure times come from: the parameter, a message per image, or the images themselves."""

    PARAMETER = "parameter"
    TOPIC = "topic"
    REALSENSE = "realsense"
    CAMERA_ROS = "camera_ros"
    FLIR = "flir"
    DEPTHAI = "depthai"
    ESTIMATE = "estimate"


EXPOSURE_TOPICS = tuple(source for source in ExposureSource if source in EXPOSURE_TYPES)

_STUCK_AFTER = 150  # frames with the very same value
_STUCK_CONTRAST = 1.5  # while the brightest of them was this much brighter than the darkest


def exposure_reader(source: str, unit: str) -> tuple[type, Callable[[Any], float | None]]:
    """Find the message type of an exposure source, and a function from such a message to seconds.

    The function returns None for a message that says nothing about exposure, and raises InputError for one that is
    damaged.

    Raises:
        InputError: the message type is not installed.
    """
    if source not in EXPOSURE_TYPES:
        raise InputError(f"exposure_source {source!r} has no topic")
    package, _, name = EXPOSURE_TYPES[source].split("/")
    try:
        message_type = getattr(import_module(f"{package}.msg"), name)
    except ImportError:
        raise InputError(f"exposure_source {source!r} needs the package {package}, which is not installed") from None
    return message_type, partial(exposure_of_message, source, unit)


def exposure_problems(watch: ExposureWatch, source: ExposureSource, estimate: MotionEstimate | None) -> list[str]:
    """List what is wrong with the exposures that were given.

    Args:
        watch: has seen the values from the topic.
        source: where exposures come from.
        estimate: the last one, which may have measured the exposure.
    """
    problems = []
    if watch.stuck:
        problems.append(
            "the values on the topic exposure stay the same while the brightness changes: with auto-exposure they "
            "are wrong; set the exposure by hand and give it as exposure_time with exposure_source: parameter"
        )
    if source != ExposureSource.ESTIMATE and estimate is not None and estimate.measured_exposure is not None:
        problem = describe_contradiction(estimate.exposure, estimate.measured_exposure)
        problems += [problem] if problem else []
    return problems


class ExposureWatch:
    """Notices exposure values that stay the same while the image's brightness changes.

    Some cameras report the last manual value while auto-exposure runs (RealSense colour): every velocity would be
    wrong by the ratio of the two. Only the last frames count: what was put right is forgotten.
    """

    def __init__(self) -> None:
        self._exposure = 0.0
        self._brightness: deque[float] = deque(maxlen=_STUCK_AFTER)

    def observe(self, exposure: float, brightness: float) -> None:
        """Take in one frame's exposure, s, and its mean luminance, 0 to 255."""
        if exposure != self._exposure:
            self._exposure = exposure
            self._brightness.clear()
        self._brightness.append(brightness)

    @property
    def stuck(self) -> bool:
        """Whether the exposure stayed the same while the brightness changed clearly."""
        brightness = tuple(self._brightness)
        return len(brightness) == _STUCK_AFTER and max(brightness) > _STUCK_CONTRAST * max(min(brightness), 1.0)
