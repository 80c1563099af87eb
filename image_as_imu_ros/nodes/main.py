"""The program blur_imu_node."""

from __future__ import annotations

import argparse

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.utilities import get_default_context, remove_ros_args, try_shutdown

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.nodes.blur_imu_node import BlurImuNode
from image_as_imu_ros.nodes.interruption import interruptible


def main(argv: list[str]) -> int:
    """Run the node until it is interrupted.

    Raises:
        InputError: arguments or parameters are refused.
    """
    parser = argparse.ArgumentParser(
        prog="blur_imu_node",
        description="Camera images in, sensor_msgs/Imu and geometry_msgs/TwistWithCovarianceStamped out.",
        epilog="Parameters and remappings follow --ros-args, for example: "
        "--ros-args -p autostart:=true -p exposure_time:=0.01 -r image:=/camera/image_raw "
        "-r camera_info:=/camera/camera_info",
    )
    with interruptible() as interrupted:
        try:
            others = remove_ros_args(argv)
            rclpy.init(args=argv)
            context = get_default_context()
        except Exception as error:  # rcl's errors about arguments share no public base
            raise InputError(f"the arguments after --ros-args cannot be used: {error}") from None
        node = None
        try:
            parser.parse_args(others)
            # At once: an executor that Ctrl-C meets in its constructor writes a traceback, which nobody can catch.
            executor = SingleThreadedExecutor()
            node = BlurImuNode()
            if node.settings.autostart and not node.start():
                return 0 if interrupted.is_set() or not context.ok() else 2
            executor.add_node(node)
            spin_once = node.guarded(executor.spin_once)  # rclpy's own callbacks may raise, too
            while context.ok() and not interrupted.is_set():
                spin_once()
        except Exception:
            if context.ok():
                raise  # else rclpy's context was shut down, in the middle of something
        finally:
            if node is not None:
                node.destroy_node()
            try_shutdown()
    return 0
