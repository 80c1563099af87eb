"""blur_imu_node and robot_localization's ekf_node: blur_imu.launch.py with ekf:=true. Its arguments work here too."""

from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

from image_as_imu_ros.resources import resource


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: blur_imu.launch.py with ekf:=true."""
    return LaunchDescription(
        [
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(resource("launch/blur_imu.launch.py"))),
                launch_arguments={"ekf": "true"}.items(),
            )
        ]
    )
