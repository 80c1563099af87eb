"""The ROS 2 node. Importing this package makes rclpy from PyPI work: nothing else in the project imports rclpy."""

import os
import sys

# rclpy looks its middleware up under this prefix. A sourced ROS sets it; wheels in a virtual environment do not.
os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
