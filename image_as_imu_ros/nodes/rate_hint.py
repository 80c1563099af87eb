"""Another sensor's angular velocity, which settles the sign of the motion: message types that it may come in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.settings import TextEnum

if TYPE_CHECKING:
    from geometry_msgs.msg import Vector3


class RateHintType(TextEnum):
    """What another sensor's angular velocity comes in."""

    NONE = "none"
    IMU = "imu"
    ODOMETRY = "odometry"
    TWIST = "twist"


RATE_HINTS = tuple(RateHintType)

_NOT_MEASURED = -1.0  # as the first element of an Imu's covariance


def rate_hint_reader(kind: str) -> tuple[type, Callable[[Any], np.ndarray | None]]:
    """Find the message type of a kind of hint, and a function from such a message to ω (3,), rad/s.

    ω is in the sensor's axes. The function returns None for a message that holds no angular velocity. All types have a
    header.

    Raises:
        InputError: the message type is not installed.
    """
    if kind == RateHintType.IMU:
        from sensor_msgs.msg import Imu

        return (
            Imu,
            lambda message: (
                None if message.angular_velocity_covariance[0] == _NOT_MEASURED else _vector(message.angular_velocity)
            ),
        )
    if kind == RateHintType.ODOMETRY:
        try:
            from nav_msgs.msg import Odometry
        except ImportError:
            raise InputError("rate_hint_type 'odometry' needs the package nav_msgs, which is not installed") from None
        return Odometry, lambda message: _vector(message.twist.twist.angular)
    if kind == RateHintType.TWIST:
        from geometry_msgs.msg import TwistWithCovarianceStamped

        return TwistWithCovarianceStamped, lambda message: _vector(message.twist.twist.angular)
    raise InputError(f"rate_hint_type {kind!r} has no topic")


def _vector(xyz: Vector3) -> np.ndarray | None:
    """Convert to (3,); None where a component is not finite."""
    vector = np.array([xyz.x, xyz.y, xyz.z])
    return vector if np.isfinite(vector).all() else None
