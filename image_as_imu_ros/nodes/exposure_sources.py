"""Where a frame's exposure time comes from, and watches for values that cannot be true."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.exposure import MeasuredExposure
from image_as_imu_ros.messages.exposure import EXPOSURE_TYPES, exposure_of_message

EXPOSURE_TOPICS = tuple(EXPOSURE_TYPES)
EXPOSURE_SOURCES = ("parameter", *EXPOSURE_TOPICS, "estimate")

_SUSPECT_RATIO = 1.5  # given exposure over measured one, or the reverse
_SUSPECT_SIGMAS = 3.0
_STUCK_AFTER = 150  # frames with the very same value
_STUCK_CONTRAST = 1.5  # while the brightest of them was this much brighter than the darkest


def exposure_reader(source: str, unit: str) -> tuple[type, Callable[[object], float | None]]:
    """The message type of an exposure source, and a function from such a message to seconds.

    The function returns None for a message that says nothing about exposure, and raises InputError for one that is
    damaged.

    Raises:
        InputError: the message type is not installed.
    """
    read = partial(exposure_of_message, source, unit)
    if source == "topic":
        from geometry_msgs.msg import PointStamped

        return PointStamped, read
    if source == "realsense":
        try:
            from realsense2_camera_msgs.msg import Metadata
        except ImportError:
            raise InputError(
                "exposure_source 'realsense' needs the package realsense2_camera_msgs, which is not installed"
            ) from None
        return Metadata, read
    if source == "camera_ros":
        from diagnostic_msgs.msg import DiagnosticArray

        return DiagnosticArray, read
    raise InputError(f"exposure_source {source!r} has no topic")


def contradiction(given: float, measured: MeasuredExposure) -> str:
    """What to tell people about a given exposure, s, that is clearly not what the pictures say; empty if it fits."""
    ratio = given / measured.seconds
    surely = max(math.log(_SUSPECT_RATIO), _SUSPECT_SIGMAS * measured.log_std)
    if abs(math.log(ratio)) < surely:
        return ""
    return (
        f"the exposure you give, {1e3 * given:.3g} ms, is {ratio:.2g}× what the blur says, "
        f"{1e3 * measured.seconds:.3g} ms: velocities are wrong by as much (wrong unit? auto-exposure?)"
    )


class ExposureWatch:
    """Notices exposure values that stay the same while the picture's brightness changes.

    Some cameras report the last manual value while auto-exposure runs (RealSense colour): every velocity would be
    wrong by the ratio of the two.
    """

    def __init__(self) -> None:
        self._exposure = 0.0
        self._frames = 0
        self._darkest = self._brightest = 0.0

    def observe(self, exposure: float, brightness: float) -> None:
        """One frame's exposure, s, and its mean luminance, 0 to 255."""
        if exposure != self._exposure:
            self._exposure, self._frames = exposure, 0
            self._darkest = self._brightest = brightness
        self._frames += 1
        self._darkest, self._brightest = min(self._darkest, brightness), max(self._brightest, brightness)

    @property
    def stuck(self) -> bool:
        return self._frames >= _STUCK_AFTER and self._brightest > _STUCK_CONTRAST * max(self._darkest, 1.0)
