"""New bags (rosbag2, MCAP), written without a ROS installation, and the bag of what the node would publish.

`recording_writer` writes the other kind of bag: camera topics and ground truth.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.velocity import Velocity
from image_as_imu_ros.messages.camera_info import tf_frame
from image_as_imu_ros.messages.stamps import RESTART

IMU_TOPIC, TWIST_TOPIC = "/imu/data_raw", "/twist"

_STORE = get_typestore(Stores.ROS2_JAZZY)
TYPES = _STORE.types  # by name: classes of messages

_NOT_ESTIMATED = np.array([-1.0] + [0.0] * 8)  # covariance of a field without an estimate (REP-145)


def write_bag(path: str | Path, estimates: Iterable[tuple[int, str, Velocity]]) -> None:
    """Write velocities as sensor_msgs/Imu and geometry_msgs/TwistWithCovarianceStamped into a new bag.

    Args:
        path: of a folder that does not exist yet.
        estimates: (stamp in ns, optical frame id, velocity).

    Raises:
        InputError: the folder exists or cannot be made, the disk is full, or time starts again. Nothing is left then.
    """
    stamped, with_covariance, twist = (
        TYPES[f"geometry_msgs/msg/{name}"] for name in ("TwistWithCovarianceStamped", "TwistWithCovariance", "Twist")
    )
    with new_bag(path) as bag:
        bag.add_topic(IMU_TOPIC, "sensor_msgs/msg/Imu")
        bag.add_topic(TWIST_TOPIC, stamped.__msgtype__)
        for stamp, frame_id, velocity in _increasing(estimates):
            covariance = velocity.covariance
            mean = with_covariance(
                twist(vector_message(velocity.linear), vector_message(velocity.angular)), covariance.ravel()
            )
            bag.write(IMU_TOPIC, stamp, imu_message(stamp, frame_id, velocity.angular, covariance[3:, 3:]))
            bag.write(TWIST_TOPIC, stamp, stamped(header_message(stamp, frame_id), mean))


def check_new(path: str | Path) -> None:
    """Check that a bag can be written.

    Raises:
        InputError: there is something at `path`, for bags are never overwritten, or its folder cannot be made.
    """
    try:
        if Path(path).exists():
            raise InputError(f"bag {str(path)!r} exists already; choose another folder")
        Path(path).mkdir(parents=True)
        Path(path).rmdir()
    except OSError as error:
        raise InputError(f"bag {str(path)!r} cannot be written: {error.strerror}") from None


class NewBag:
    """A bag that is being written."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._topics: dict[str, Connection] = {}

    def add_topic(self, topic: str, message_type: str) -> None:
        """Add a topic, which stays in the bag even if no message follows."""
        self._topics[topic] = self._writer.add_connection(topic, message_type, typestore=_STORE)

    def write(self, topic: str, stamp: int, message: Any) -> None:
        """Write a message, recorded at `stamp`, ns. A topic that is new is added."""
        if topic not in self._topics:
            self.add_topic(topic, message.__msgtype__)
        self._writer.write(self._topics[topic], stamp, _STORE.serialize_cdr(message, message.__msgtype__))


@contextmanager
def new_bag(path: str | Path) -> Iterator[NewBag]:
    """Make a bag, and remove it again if the block does not end well.

    Raises:
        InputError: as `check_new`, or the disk is full.
    """
    check_new(path)
    try:
        with Writer(Path(path), version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP) as writer:
            yield NewBag(writer)
    except BaseException as error:  # Ctrl-C as well: half a bag would stand where the next one is to be written
        shutil.rmtree(path, ignore_errors=True)
        if isinstance(error, OSError):
            raise InputError(f"bag {str(path)!r} cannot be written: {error.strerror or error}") from None
        raise


def header_message(stamp: int, frame_id: str) -> Any:
    """Make a std_msgs/Header of a stamp, ns."""
    seconds, nanoseconds = divmod(stamp, 1_000_000_000)
    return TYPES["std_msgs/msg/Header"](TYPES["builtin_interfaces/msg/Time"](seconds, nanoseconds), tf_frame(frame_id))


def vector_message(xyz: np.ndarray) -> Any:
    """Make a geometry_msgs/Vector3 of (3,)."""
    return TYPES["geometry_msgs/msg/Vector3"](*map(float, xyz))


def imu_message(stamp: int, frame_id: str, angular: np.ndarray, covariance: np.ndarray) -> Any:
    """Make a sensor_msgs/Imu of an angular velocity (3,), rad/s, and its covariance (3, 3), and of nothing else."""
    return TYPES["sensor_msgs/msg/Imu"](
        header=header_message(stamp, frame_id),
        orientation=TYPES["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
        orientation_covariance=_NOT_ESTIMATED,
        angular_velocity=vector_message(angular),
        angular_velocity_covariance=covariance.ravel(),
        linear_acceleration=vector_message(np.zeros(3)),
        linear_acceleration_covariance=_NOT_ESTIMATED,
    )


def _increasing(estimates: Iterable[tuple[int, str, Velocity]]) -> Iterator[tuple[int, str, Velocity]]:
    """Leave out what is not later than the one before, as the node does.

    Raises:
        InputError: the stamps jump back; a bag is in their order, in which two rounds would be one.
    """
    last = 0
    for estimate in estimates:
        if estimate[0] < last - RESTART:
            raise InputError(
                "the estimates cannot be written as a bag: their stamps jump back by "
                f"{1e-9 * (last - estimate[0]):.1f} s, as time starts again in the recording; evaluate a recording of "
                "one part alone"
            )
        if estimate[0] > last:
            last = estimate[0]
            yield estimate
