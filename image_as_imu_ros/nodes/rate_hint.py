"""Another sensor's angular velocity, which settles the sign of the motion: message types that it may come in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.settings import TextEnum

if TYPE_CHECKING:
    from geometry_msgs.msg import Vector3
    from sensor_msgs.msg import Imu


class RateHintType(TextEnum):
    """What another sensor's angular velocity comes in."""

    NONE = "none"
    IMU = "imu"
    ODOMETRY = "odometry"
    TWIST = "twist"


_NOT_MEASURED = -1.0  # as the first element of an Imu's covariance


def rate_hint_reader(kind: str) -> tuple[type, Callable[[Any], np.ndarray]]:
    """Find the message type of a kind of hint, and a function from such a message to ω (3,), rad/s.

    ω is in the sensor's axes. The function raises InputError for a message that holds no angular velocity. All types
    have a header.

    Raises:
        InputError: the message type is not installed.
    """
    if kind == RateHintType.IMU:
        from sensor_msgs.msg import Imu

        return Imu, _of_imu
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


def _of_imu(message: Imu) -> np.ndarray:
    if message.angular_velocity_covariance[0] == _NOT_MEASURED:
        raise InputError("the Imu says by angular_velocity_covariance[0] = -1 that it measures no angular velocity")
    return _vector(message.angular_velocity)


def _vector(xyz: Vector3) -> np.ndarray:
    """Convert to (3,).

    Raises:
        InputError: a component is not finite.
    """
    vector = np.array([xyz.x, xyz.y, xyz.z])
    if not np.isfinite(vector).all():
        raise InputError(f"the angular velocity is {vector} rad/s; it must be finite")
    return vector
