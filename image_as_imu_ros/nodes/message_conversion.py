"""Estimates → ROS messages."""

from __future__ import annotations

from array import array

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import TwistWithCovarianceStamped, Vector3
from sensor_msgs.msg import Image, Imu
from std_msgs.msg import Header

from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.messages.camera_info import tf_frame
from image_as_imu_ros.nodes.diagnostics import Report

_UNKNOWN = -1.0  # as the first element of a covariance: this field holds no estimate (REP-145)


def imu_message(estimate: MotionEstimate, frame_id: str) -> Imu:
    """Make an Imu: angular velocity, rad/s, of the camera in its optical frame; no orientation, no acceleration."""
    message = Imu(header=_header(estimate.stamp, frame_id))
    message.orientation_covariance[0] = _UNKNOWN
    message.linear_acceleration_covariance[0] = _UNKNOWN
    _fill(message.angular_velocity, estimate.velocity.angular)
    message.angular_velocity_covariance = estimate.velocity.covariance[3:, 3:].ravel()
    return message


def twist_message(estimate: MotionEstimate, frame_id: str) -> TwistWithCovarianceStamped:
    """Make a Twist: linear, m/s, and angular, rad/s, velocity in the optical frame, covariance in this order."""
    message = TwistWithCovarianceStamped(header=_header(estimate.stamp, frame_id))
    _fill(message.twist.twist.linear, estimate.velocity.linear)
    _fill(message.twist.twist.angular, estimate.velocity.angular)
    message.twist.covariance = estimate.velocity.covariance.ravel()
    return message


def image_message(bgr: np.ndarray, stamp: int, frame_id: str) -> Image:
    """Make an Image of (H, W, 3) uint8 BGR and a stamp, ns."""
    height, width = bgr.shape[:2]
    data = array("B")  # assigning anything else copies element by element
    data.frombytes(np.ascontiguousarray(bgr).data)
    return Image(
        header=_header(stamp, frame_id), height=height, width=width, encoding="bgr8", step=3 * width, data=data
    )


def diagnostics_message(report: Report, name: str, hardware_id: str, now: Time) -> DiagnosticArray:
    """Make a DiagnosticArray with one status of a report."""
    status = DiagnosticStatus(
        level=_level(report),
        name=name,
        message=report.message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in report.values.items()],
    )
    return DiagnosticArray(header=Header(stamp=now), status=[status])


def _level(report: Report) -> bytes:
    if report.error:
        return DiagnosticStatus.ERROR
    return DiagnosticStatus.WARN if report.warning else DiagnosticStatus.OK


def _header(stamp: int, frame_id: str) -> Header:
    seconds, nanoseconds = divmod(stamp, 1_000_000_000)
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=tf_frame(frame_id))


def _fill(vector: Vector3, values: np.ndarray) -> None:
    vector.x, vector.y, vector.z = map(float, values)
