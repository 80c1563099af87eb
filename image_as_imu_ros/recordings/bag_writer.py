"""A bag of estimates: the messages that the node publishes, written without a ROS installation."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.velocity import Velocity
from image_as_imu_ros.messages.camera_info import tf_frame
from image_as_imu_ros.recordings.recording import LONGEST_DISORDER

IMU_TOPIC, TWIST_TOPIC = "/imu/data_raw", "/twist"


def write_bag(path: str | Path, estimates: Iterable[tuple[int, str, Velocity]]) -> None:
    """Write velocities as sensor_msgs/Imu and geometry_msgs/TwistWithCovarianceStamped into a new MCAP bag.

    Args:
        path: of a folder that does not exist yet.
        estimates: (mid-exposure in ns, optical frame id, velocity).

    Raises:
        InputError: the folder exists or cannot be made, the disk is full, or time starts again. Nothing is left then.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    time, header, vector = (
        types[name] for name in ("builtin_interfaces/msg/Time", "std_msgs/msg/Header", "geometry_msgs/msg/Vector3")
    )
    imu, quaternion = types["sensor_msgs/msg/Imu"], types["geometry_msgs/msg/Quaternion"]
    stamped, with_covariance, twist = (
        types[f"geometry_msgs/msg/{name}"] for name in ("TwistWithCovarianceStamped", "TwistWithCovariance", "Twist")
    )
    not_estimated = np.array([-1.0] + [0.0] * 8)
    check_new(path)
    try:
        with Writer(Path(path), version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP) as writer:
            imu_topic = writer.add_connection(IMU_TOPIC, imu.__msgtype__, typestore=store)
            twist_topic = writer.add_connection(TWIST_TOPIC, stamped.__msgtype__, typestore=store)
            for stamp, frame_id, velocity in _increasing(estimates):
                head = header(time(stamp // 1_000_000_000, stamp % 1_000_000_000), tf_frame(frame_id))
                linear, angular = vector(*velocity.linear.tolist()), vector(*velocity.angular.tolist())
                covariance = velocity.covariance
                imu_message = imu(
                    header=head,
                    orientation=quaternion(0.0, 0.0, 0.0, 1.0),
                    orientation_covariance=not_estimated,
                    angular_velocity=angular,
                    angular_velocity_covariance=covariance[3:, 3:].ravel(),
                    linear_acceleration=vector(0.0, 0.0, 0.0),
                    linear_acceleration_covariance=not_estimated,
                )
                twist_message = stamped(head, with_covariance(twist(linear, angular), covariance.ravel()))
                writer.write(imu_topic, stamp, store.serialize_cdr(imu_message, imu.__msgtype__))
                writer.write(twist_topic, stamp, store.serialize_cdr(twist_message, stamped.__msgtype__))
    except BaseException as error:  # Ctrl-C as well: half a bag would be in the next one's place
        shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, OSError):
            raise InputError(f"bag {str(path)!r} cannot be written: {error.strerror or error}") from None
        raise


def _increasing(estimates: Iterable[tuple[int, str, Velocity]]) -> Iterator[tuple[int, str, Velocity]]:
    """Leave out what is not later than the one before, as the node does.

    Raises:
        InputError: the stamps jump back; a bag is in their order, in which two rounds would be one.
    """
    last = 0
    for estimate in estimates:
        if estimate[0] < last - LONGEST_DISORDER:
            raise InputError(
                "the estimates cannot be written as a bag: their stamps jump back by "
                f"{1e-9 * (last - estimate[0]):.1f} s, as time starts again in the recording; evaluate a recording of "
                "one part alone"
            )
        if estimate[0] > last:
            last = estimate[0]
            yield estimate


def check_new(path: str | Path) -> None:
    """Check that a bag can be written.

    Raises:
        InputError: there is something at `path`, for bags are never overwritten, or its folder cannot be made.
    """
    if Path(path).exists():
        raise InputError(f"bag {str(path)!r} exists already; choose another folder")
    try:
        Path(path).mkdir(parents=True)
        Path(path).rmdir()
    except OSError as error:
        raise InputError(f"bag {str(path)!r} cannot be written: {error.strerror}") from None
