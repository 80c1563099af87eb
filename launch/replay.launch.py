"""Plays a recording through blur_imu_node, in the recording's own time, and ends with it.

Arguments of blur_imu.launch.py work here too, for example
ros2 launch image_as_imu_ros replay.launch.py bag:=… image:=/camera/image_raw camera_info:=/camera/camera_info …
"""

from collections.abc import Callable

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.resources import resource


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: the node and, once it is active, the recording."""
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="the recording: a rosbag2 folder or MCAP file"),
            DeclareLaunchArgument("rate", default_value="1.0", description="how many times as fast as recorded"),
            OpaqueFunction(function=player),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(resource("launch/blur_imu.launch.py"))),
                launch_arguments={"use_sim_time": "true"}.items(),
            ),
        ]
    )


def player(context: LaunchContext) -> list:
    """Make what plays the recording. Its time is that of its own /clock, if it has one, which stamps in it are of."""
    bag = LaunchConfiguration("bag").perform(context)
    publisher = [] if has_sim_time(bag) else ["--clock"]
    play = ExecuteProcess(
        cmd=["ros2", "bag", "play", bag, *publisher, "--rate", LaunchConfiguration("rate")], output="screen"
    )
    starts = starts_when_active(play)
    return [
        RegisterEventHandler(OnProcessIO(on_stdout=starts, on_stderr=starts)),
        RegisterEventHandler(OnProcessExit(target_action=play, on_exit=playback_has_ended)),
    ]


def has_sim_time(bag: str) -> bool:
    """Tell whether a recording holds /clock, as those of simulations do."""
    try:
        with Recording(bag) as recording:
            return "/clock" in recording.topics
    except InputError:  # ros2 bag play reads other kinds, or says what is wrong
        return False


def starts_when_active(play: ExecuteProcess) -> Callable:
    """Make the handler of the node's output: it starts the recording once the node says that it is active.

    The node brings itself to active, perhaps before anybody here has discovered its topic of transitions.
    """
    started = []

    def handler(event) -> list:
        if started or b"active: listening to" not in event.text:
            return []
        started.append(play)
        return [play]

    return handler


def playback_has_ended(event, context: LaunchContext) -> list:
    """End the launch with the recording; with code 1 where it could not be played."""
    if event.returncode and not context.is_shutdown:
        raise RuntimeError(f"ros2 bag play ended with code {event.returncode}: its last line says why")
    return [EmitEvent(event=Shutdown(reason="the recording has ended"))]
