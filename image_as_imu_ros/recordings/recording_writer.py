"""Captures → recordings: a rosbag2 (MCAP) of camera topics and the ground truth of the camera's motion."""

from __future__ import annotations

import heapq
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, Gyroscope, Poses
from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry import so3
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.recordings.bag_writer import check_new

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

_STORE = get_typestore(Stores.ROS2_JAZZY)
_T = _STORE.types


def write_recording(path: str | Path, capture: Capture, frames: Iterable[CapturedFrame]) -> None:
    """Write a new MCAP bag, in the order of stamps.

    Args:
        path: of a folder that does not exist yet.
        frames: those of the capture that are wanted, as they are wanted. Exposures that they do not say are left out.

    Raises:
        InputError: the folder exists or cannot be made, or the capture is found to be unusable. Nothing is left then.
    """
    check_new(path)
    streams = [_camera_messages(frames, "png" if capture.lossless else "jpeg")]
    if capture.gyroscope is not None:
        streams.append(_imu_messages(capture.gyroscope))
    if capture.poses is not None:
        streams.append(_pose_messages(capture.poses))
        if (twist := capture.twist()) is not None:
            streams.append(_twist_messages(twist))
    try:
        with Writer(Path(path), version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP) as writer:
            connections = {}
            for stamp, topic, message in heapq.merge(*streams, key=lambda entry: entry[0]):
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=_STORE)
                writer.write(connections[topic], stamp, _STORE.serialize_cdr(message, message.__msgtype__))
    except BaseException as error:
        shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, OSError):
            raise InputError(f"recording {str(path)!r} cannot be written: {error.strerror}") from None
        raise


def _camera_messages(frames: Iterable[CapturedFrame], image_format: str) -> Iterator[tuple[int, str, Any]]:
    for frame in frames:
        header = _header(frame.stamp, FRAME_ID)
        yield frame.stamp, CAMERA_INFO_TOPIC, _camera_info(header, frame.camera)
        if frame.exposure is not None:
            point = _T["geometry_msgs/msg/Point"](frame.exposure, 0.0, 0.0)
            yield frame.stamp, EXPOSURE_TOPIC, _T["geometry_msgs/msg/PointStamped"](header, point)
        if frame.depth is not None:
            yield frame.stamp, DEPTH_TOPIC, _compressed(header, frame.depth, "png")
        yield frame.stamp, IMAGE_TOPIC, _compressed(header, frame.image, image_format)


def _compressed(header: Any, image: np.ndarray, image_format: str) -> Any:
    _, data = cv2.imencode(f".{image_format}", image, _ENCODING[image_format])
    return _T["sensor_msgs/msg/CompressedImage"](header, image_format, data.ravel())


def _camera_info(header: Any, camera: Camera) -> Any:
    return _T["sensor_msgs/msg/CameraInfo"](
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
        roi=_T["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )


def _imu_messages(gyroscope: Gyroscope) -> Iterator[tuple[int, str, Any]]:
    not_measured, not_known = np.array([-1.0] + [0.0] * 8), np.zeros(9)
    for stamp, angular in zip(gyroscope.stamps.tolist(), gyroscope.angular, strict=True):
        yield (
            stamp,
            IMU_TOPIC,
            _T["sensor_msgs/msg/Imu"](
                header=_header(stamp, FRAME_ID),
                orientation=_T["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
                orientation_covariance=not_measured,
                angular_velocity=_vector(angular),
                angular_velocity_covariance=not_known,
                linear_acceleration=_vector(np.zeros(3)),
                linear_acceleration_covariance=not_measured,
            ),
        )


def _pose_messages(poses: Poses) -> Iterator[tuple[int, str, Any]]:
    for stamp, rotation, position in zip(poses.stamps.tolist(), poses.rotations, poses.positions, strict=True):
        point = _T["geometry_msgs/msg/Point"](*position.tolist())
        w, x, y, z = so3.quaternion_from_matrix(rotation).tolist()
        pose = _T["geometry_msgs/msg/Pose"](point, _T["geometry_msgs/msg/Quaternion"](x, y, z, w))
        yield stamp, POSE_TOPIC, _T["geometry_msgs/msg/PoseStamped"](_header(stamp, WORLD_FRAME_ID), pose)


def _twist_messages(twist: GroundTruth) -> Iterator[tuple[int, str, Any]]:
    for stamp, linear, angular in zip(twist.stamps.tolist(), twist.linear, twist.angular, strict=True):
        message = _T["geometry_msgs/msg/Twist"](_vector(linear), _vector(angular))
        yield stamp, TWIST_TOPIC, _T["geometry_msgs/msg/TwistStamped"](_header(stamp, FRAME_ID), message)


def _header(stamp: int, frame_id: str) -> Any:
    seconds, rest = divmod(stamp, 1_000_000_000)
    return _T["std_msgs/msg/Header"](_T["builtin_interfaces/msg/Time"](seconds, rest), frame_id)


def _vector(xyz: np.ndarray) -> Any:
    return _T["geometry_msgs/msg/Vector3"](*map(float, xyz))
