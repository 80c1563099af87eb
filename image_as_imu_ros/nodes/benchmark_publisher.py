"""Publishing of estimates as the node does it, for the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import rclpy
from geometry_msgs.msg import TwistWithCovarianceStamped
from rclpy.context import Context
from sensor_msgs.msg import Imu

from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.nodes.message_conversion import imu_message, twist_message


@contextmanager
def publishing() -> Iterator[Callable[[MotionEstimate], None]]:
    """Give a function that builds and publishes the messages of an estimate."""
    context = Context()
    rclpy.init(args=[], context=context)
    try:
        node = rclpy.create_node("benchmark", context=context)
        imu = node.create_publisher(Imu, "imu/data_raw", 10)
        twist = node.create_publisher(TwistWithCovarianceStamped, "twist", 10)

        def publish(estimate: MotionEstimate) -> None:
            imu.publish(imu_message(estimate, "camera"))
            twist.publish(twist_message(estimate, "camera"))

        yield publish
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
