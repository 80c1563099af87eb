"""Starts blur_imu_node, which brings itself to active; with ekf:=true, robot_localization beside it.

Every parameter of the node is a launch argument of the same name. An argument that is not given leaves what
params_file says, and that file's defaults are the node's own. Where a process ends that nobody stopped, the launch
ends too: with a code other than 0 if the process failed, so that whoever started it hears of it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, GroupAction, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterFile, ParameterValue

from image_as_imu_ros.nodes.parameters import Settings
from image_as_imu_ros.resources import resource
from image_as_imu_ros.settings import choices_of, default_of, settings_of

TOPICS = {
    "image": "the camera's images, as image_transport says",
    "camera_info": "the camera's CameraInfo",
    "depth": "depth registered to the images, as depth_transport says",
    "exposure": "the images' exposure times, as exposure_source says",
    "rate_hint": "another sensor's angular velocity, as rate_hint_type says",
}
PARAMETERS = [parameter for parameter in settings_of(Settings) if parameter.name != "autostart"]
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")  # Jazzy's name, Kilted's name


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: the node, brought to active, and the filter where it is asked for."""
    # In a scope of its own: included twice, as for two cameras, the second would take the first one's arguments and
    # defaults for given. The profile stays, as replay.launch.py's player needs it.
    return LaunchDescription([OpaqueFunction(function=large_image_profile), GroupAction(actions())])


def actions() -> list:
    """List the arguments and what is done with them."""
    given: list[str] = []
    return [
        OpaqueFunction(function=take_note, args=[given]),
        *(DeclareLaunchArgument(name, default_value=name, description=text) for name, text in TOPICS.items()),
        *(argument_of(p) for p in PARAMETERS),
        DeclareLaunchArgument("namespace", default_value="", description="of the node and its topics"),
        DeclareLaunchArgument(
            "params_file", default_value=str(resource("config/blur_imu.yaml")), description="the node's parameters"
        ),
        DeclareLaunchArgument("use_sim_time", default_value="false", description="take time from /clock"),
        DeclareLaunchArgument("ekf", default_value="false", description="start robot_localization's ekf_node too"),
        DeclareLaunchArgument(
            "ekf_params_file", default_value=str(resource("config/ekf.yaml")), description="its parameters"
        ),
        OpaqueFunction(function=parameter_files_exist),
        OpaqueFunction(function=active_node, args=[given]),
        Node(
            package="robot_localization",
            executable="ekf_node",
            name="ekf_filter_node",
            namespace=LaunchConfiguration("namespace"),
            parameters=[ParameterFile(LaunchConfiguration("ekf_params_file")), sim_time()],
            condition=IfCondition(LaunchConfiguration("ekf")),
            output="screen",
            on_exit=ends_the_launch("ekf_node"),
        ),
    ]


def parameter_files_exist(context: LaunchContext) -> list:
    """Refuse a parameter file that is not there: launch_ros would go on with the defaults."""
    for argument in ("params_file", "ekf_params_file"):
        path = LaunchConfiguration(argument).perform(context)
        if not Path(path).is_file():
            raise RuntimeError(f"{argument}:={path} is not a file")
    return []


def large_image_profile(context: LaunchContext) -> list:
    """Set a DDS profile for large raw images, most of which never arrive without one, where the user chose none."""
    if any(context.environment.get(name) for name in PROFILE_VARIABLES):
        return []
    profile = str(resource("config/fastdds_large_images.xml"))
    return [SetEnvironmentVariable(name, profile) for name in PROFILE_VARIABLES]


def argument_of(parameter: Any) -> DeclareLaunchArgument:
    """Declare the launch argument of a parameter."""
    default, choices, limits = default_of(parameter), choices_of(parameter.metadata), parameter.metadata["limits"]
    return DeclareLaunchArgument(
        parameter.name,
        default_value=str(default).lower() if isinstance(default, bool) else str(default),
        description=parameter.metadata["description"] + (f" ({limits[0]:g} to {limits[1]:g})" if limits else ""),
        choices=choices or None,
    )


def take_note(context: LaunchContext, given: list[str]) -> list:
    """Take note of the arguments that are given, before the others get their defaults."""
    given[:] = [p.name for p in PARAMETERS if p.name in context.launch_configurations]
    return []


def active_node(context: LaunchContext, given: list[str]) -> list:
    """Start the node, which configures and activates itself or ends with the reason.

    Args:
        given: names of the parameters whose arguments are given; the others are what params_file says.
    """
    parameters = {
        p.name: ParameterValue(LaunchConfiguration(p.name), value_type=type(default_of(p)))
        for p in PARAMETERS
        if p.name in given
    }
    node = LifecycleNode(
        package="image_as_imu_ros",
        executable="blur_imu_node",
        name="blur_imu_node",
        namespace=LaunchConfiguration("namespace"),
        parameters=[ParameterFile(LaunchConfiguration("params_file")), parameters, {"autostart": True}, sim_time()],
        remappings=[(name, LaunchConfiguration(name)) for name in TOPICS],
        output="screen",
        on_exit=ends_the_launch("blur_imu_node"),
    )
    return [node]


def ends_the_launch(name: str) -> Callable:
    """Make the handler for the end of a process: it ends the launch, with code 1 if the process failed."""

    def handler(event, context: LaunchContext) -> list:
        if context.is_shutdown:
            return []
        if event.returncode:
            raise RuntimeError(f"{name} ended with code {event.returncode}: its last line says why")
        return [EmitEvent(event=Shutdown(reason=f"{name} has ended"))]

    return handler


def sim_time() -> dict:
    """Pass use_sim_time on as a parameter."""
    return {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}
