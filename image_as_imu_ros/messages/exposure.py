"""Messages with which drivers report a frame's exposure time, and its value in seconds.

All have a header whose stamp is that of the image.
"""

from __future__ import annotations

import json
from typing import Any

from image_as_imu_ros.errors import InputError

EXPOSURE_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "100us": 1e-4}  # → seconds
EXPOSURE_TYPES = {  # source → type of its messages
    "topic": "geometry_msgs/msg/PointStamped",
    "realsense": "realsense2_camera_msgs/msg/Metadata",
    "camera_ros": "diagnostic_msgs/msg/DiagnosticArray",
    "flir": "flir_camera_msgs/msg/ImageMetaData",
    "depthai": "depthai_ros_msgs/msg/CameraMetadata",
}
_ONE_TOPIC_FOR_ALL = ("camera_ros",)  # sources whose cameras report on one topic, with the very headers of their images
_MICROSECONDS = ("flir", "depthai")  # sources whose messages have a field exposure_time in µs


def exposure_of_message(source: str, unit: str, message: Any) -> float | None:
    """Read the exposure time, s, from a message of one of EXPOSURE_TYPES; None if it says nothing about exposure.

    Args:
        source: key of EXPOSURE_TYPES.
        unit: key of EXPOSURE_UNITS; camera_ros, flir and depthai always report µs.
        message: rclpy's or rosbags'.

    Raises:
        InputError: the message is damaged.
    """
    if source == "camera_ros":
        return camera_ros_exposure(message)
    if source in _MICROSECONDS:
        return message.exposure_time * 1e-6
    value = message.point.x if source == "topic" else realsense_exposure(message.json_data)
    return value * EXPOSURE_UNITS[unit]


def shares_topic(source: str) -> bool:
    """Tell whether all cameras report on one topic: an exposure is then of the image with its very stamp alone."""
    return source in _ONE_TOPIC_FOR_ALL


def reporting_camera(source: str, header: Any) -> str:
    """Name the camera that an exposure is of: "" where one camera alone has the topic, else its frame_id."""
    return header.frame_id if shares_topic(source) else ""


def realsense_exposure(json_data: str) -> float:
    """Read `actual_exposure` from realsense2_camera's metadata, in the camera's unit.

    Raises:
        InputError: there is no such number.
    """
    try:
        return float(json.loads(json_data)["actual_exposure"])
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"RealSense metadata without a number 'actual_exposure': {json_data[:80]!r} "
            "(does the kernel driver support metadata?)"
        ) from None


def camera_ros_exposure(message: Any) -> float | None:
    """Read `ExposureTime` (µs) from camera_ros's diagnostics, in s; None in diagnostics of others.

    Raises:
        InputError: it is not a number.
    """
    for status in message.status:
        for entry in status.values:
            if entry.key == "ExposureTime":
                try:
                    return float(entry.value) * 1e-6
                except ValueError:
                    raise InputError(f"camera_ros reports ExposureTime {entry.value!r}, not a number of µs") from None
    return None
