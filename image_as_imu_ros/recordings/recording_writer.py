"""Captures → recordings: a rosbag2 (MCAP) of camera topics and the ground truth of the camera's motion."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, Gyroscope, Poses
from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.recordings.bag_writer import TYPES, header_message, imu_message, new_bag, vector_message

FRAME_ID = "camera_optical"
WORLD_FRAME_ID = "world"
IMAGE_TOPIC = "/camera/image_raw/compressed"
CAMERA_INFO_TOPIC = "/camera/camera_info"
DEPTH_TOPIC = "/camera/aligned_depth/image_raw/compressed"
EXPOSURE_TOPIC = "/camera/exposure"
IMU_TOPIC = "/imu/data_raw"
POSE_TOPIC = "/ground_truth/pose"
TWIST_TOPIC = "/ground_truth/twist"

# JPEG as image_transport compresses it; PNG quickly.
_ENCODING = {"jpeg": (cv2.IMWRITE_JPEG_QUALITY, 95), "png": (cv2.IMWRITE_PNG_COMPRESSION, 1)}


def write_recording(path: str | Path, capture: Capture, frames: Iterable[CapturedFrame]) -> None:
    """Write a new MCAP bag, in the order of stamps.

    Args:
        path: of a folder that does not exist yet.
        frames: those of the capture that are wanted, as they are wanted. Exposures that they do not say are left out.

    Raises:
        InputError: the folder exists or cannot be made, or the capture is found to be unusable. Nothing is left then.
    """
    with new_bag(path) as bag:
        streams = [_camera_messages(frames, "png" if capture.lossless else "jpeg")]
        if capture.gyroscope is not None:
            streams.append(_imu_messages(capture.gyroscope))
        if capture.poses is not None:
            streams.append(_pose_messages(capture.poses))
            if (twist := capture.twist()) is not None:
                streams.append(_twist_messages(twist))
        for stamp, topic, message in heapq.merge(*streams, key=lambda entry: entry[0]):
            if stamp >= 0:  # bags hold none before, where there are no frames
                bag.write(topic, stamp, message)


def _camera_messages(frames: Iterable[CapturedFrame], image_format: str) -> Iterator[tuple[int, str, Any]]:
    for frame in frames:
        if frame.stamp <= 0:
            raise InputError(f"an image is stamped {1e-9 * frame.stamp:.6g} s; stamps must be positive")
        header = header_message(frame.stamp, FRAME_ID)
        yield frame.stamp, CAMERA_INFO_TOPIC, _camera_info(header, frame.camera)
        if frame.exposure is not None:
            point = TYPES["geometry_msgs/msg/Point"](frame.exposure, 0.0, 0.0)
            yield frame.stamp, EXPOSURE_TOPIC, TYPES["geometry_msgs/msg/PointStamped"](header, point)
        if frame.depth is not None:
            yield frame.stamp, DEPTH_TOPIC, _compressed(header, frame.depth, "png")
        yield frame.stamp, IMAGE_TOPIC, _compressed(header, frame.image, image_format)


def _compressed(header: Any, image: np.ndarray, image_format: str) -> Any:
    _, data = cv2.imencode(f".{image_format}", image, _ENCODING[image_format])
    return TYPES["sensor_msgs/msg/CompressedImage"](header, image_format, data.ravel())


def _camera_info(header: Any, camera: Camera) -> Any:
    return TYPES["sensor_msgs/msg/CameraInfo"](
        header,
        height=camera.height,
        width=camera.width,
        distortion_model=camera.distortion_model or "plumb_bob",
        d=np.array(camera.distortion or np.zeros(5)),
        k=camera.matrix.ravel(),
        r=np.eye(3).ravel(),
        p=np.column_stack([camera.matrix, np.zeros(3)]).ravel(),
        binning_x=0,
        binning_y=0,
        roi=TYPES["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )


def _imu_messages(gyroscope: Gyroscope) -> Iterator[tuple[int, str, Any]]:
    not_known = np.zeros((3, 3))
    for stamp, angular in zip(gyroscope.stamps.tolist(), gyroscope.angular, strict=True):
        yield stamp, IMU_TOPIC, imu_message(stamp, FRAME_ID, angular, not_known)


def _pose_messages(poses: Poses) -> Iterator[tuple[int, str, Any]]:
    for stamp, rotation, position in zip(poses.stamps.tolist(), poses.rotations, poses.positions, strict=True):
        point = TYPES["geometry_msgs/msg/Point"](*position.tolist())
        w, x, y, z = so3.quaternion_from_matrix(rotation).tolist()
        pose = TYPES["geometry_msgs/msg/Pose"](point, TYPES["geometry_msgs/msg/Quaternion"](x, y, z, w))
        yield stamp, POSE_TOPIC, TYPES["geometry_msgs/msg/PoseStamped"](header_message(stamp, WORLD_FRAME_ID), pose)


def _twist_messages(twist: GroundTruth) -> Iterator[tuple[int, str, Any]]:
    for stamp, linear, angular in zip(twist.stamps.tolist(), twist.linear, twist.angular, strict=True):
        message = TYPES["geometry_msgs/msg/Twist"](vector_message(linear), vector_message(angular))
        yield stamp, TWIST_TOPIC, TYPES["geometry_msgs/msg/TwistStamped"](header_message(stamp, FRAME_ID), message)
