"""The launch files: with ROS installed they are loaded for real; everywhere, what they declare is what they forward."""

from __future__ import annotations

import re
import runpy
import sys
from configparser import ConfigParser
from pathlib import Path
from unittest.mock import MagicMock
from xml.etree import ElementTree

import pytest
import yaml
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from image_as_imu_ros.nodes.parameters import Settings
from image_as_imu_ros.settings import settings_of

TOPICS = {"image", "camera_info", "depth", "exposure", "rate_hint"}
REPOSITORY = Path(__file__).parents[2]
LAUNCH_FILES = ("blur_imu.launch.py", "blur_imu_ekf.launch.py", "replay.launch.py")
LAUNCH_MODULES = (
    "launch",
    "launch.actions",
    "launch.conditions",
    "launch.event_handlers",
    "launch.events",
    "launch.launch_description_sources",
    "launch.substitutions",
    "launch_ros",
    "launch_ros.actions",
    "launch_ros.parameter_descriptions",
)


@pytest.fixture
def stand_ins(monkeypatch) -> dict[str, MagicMock]:
    """In place of launch and launch_ros, which are not on PyPI: objects that record what they are called with."""
    modules = {name: MagicMock() for name in LAUNCH_MODULES}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules


def first_arguments(mock: MagicMock) -> set[str]:
    return {call.args[0] for call in mock.call_args_list}


@pytest.mark.parametrize("name", LAUNCH_FILES)
def test_launch_file_loads(name):
    pytest.importorskip("launch_ros", reason="launch_ros comes with ROS only")
    namespace = runpy.run_path(str(REPOSITORY / "launch" / name))
    description = namespace["generate_launch_description"]()
    assert description.get_launch_arguments()


def test_every_launch_argument_is_forwarded(stand_ins):
    namespace = runpy.run_path(str(REPOSITORY / "launch" / "blur_imu.launch.py"))
    namespace["generate_launch_description"]()
    parameters = {parameter.name for parameter in settings_of(Settings)} - {"autostart"}
    namespace["active_node"](MagicMock(), [*parameters])

    declared = first_arguments(stand_ins["launch.actions"].DeclareLaunchArgument)
    others = {"namespace", "params_file", "use_sim_time", "ekf", "ekf_params_file"}
    assert declared == TOPICS | parameters | others
    assert first_arguments(stand_ins["launch.substitutions"].LaunchConfiguration) == declared

    node = stand_ins["launch_ros.actions"].LifecycleNode.call_args.kwargs
    _, given, autostart, _ = node["parameters"]
    assert given.keys() == parameters
    assert autostart == {"autostart": True}
    assert {topic for topic, _ in node["remappings"]} == TOPICS


def test_arguments_are_in_a_scope_of_their_own(stand_ins):
    """Else they are given to the same file where it is included for a second camera."""
    runpy.run_path(str(REPOSITORY / "launch" / "blur_imu.launch.py"))["generate_launch_description"]()
    argument = stand_ins["launch.actions"].DeclareLaunchArgument.return_value
    assert argument in stand_ins["launch.actions"].GroupAction.call_args.args[0]
    assert argument not in stand_ins["launch"].LaunchDescription.call_args.args[0]


def test_arguments_that_are_not_given_leave_the_parameter_file_alone(stand_ins):
    namespace = runpy.run_path(str(REPOSITORY / "launch" / "blur_imu.launch.py"))
    given = ["rubbish"]
    namespace["take_note"](MagicMock(launch_configurations={"measurement": "single", "image": "/camera/image"}), given)
    namespace["active_node"](MagicMock(), given)
    _, parameters, _, _ = stand_ins["launch_ros.actions"].LifecycleNode.call_args.kwargs["parameters"]
    assert parameters.keys() == {"measurement"}


def test_arguments_are_declared_with_defaults_choices_and_limits(stand_ins):
    runpy.run_path(str(REPOSITORY / "launch" / "blur_imu.launch.py"))["generate_launch_description"]()
    calls = stand_ins["launch.actions"].DeclareLaunchArgument.call_args_list
    declared = {call.args[0]: call.kwargs for call in calls}
    assert declared["measurement"]["default_value"] == "auto"
    assert declared["measurement"]["choices"] == ("single", "aligned", "auto")
    assert declared["exposure_time"]["default_value"] == "0.0"
    assert declared["exposure_time"]["choices"] is None
    assert declared["exposure_time"]["description"].endswith("(0 to 1)")
    assert declared["publish_unresolved"]["default_value"] == "false"


@pytest.mark.parametrize(("code", "shutting_down", "ends"), [(0, False, 1), (2, True, 0), (-2, True, 0)])
def test_a_process_that_ends_by_itself_ends_the_launch(stand_ins, code, shutting_down, ends):
    launch_file = runpy.run_path(str(REPOSITORY / "launch" / "blur_imu.launch.py"))
    handler = launch_file["ends_the_launch"]("blur_imu_node")
    assert len(handler(MagicMock(returncode=code), MagicMock(is_shutdown=shutting_down))) == ends


def test_a_process_that_fails_makes_the_launch_fail(stand_ins):
    handler = runpy.run_path(str(REPOSITORY / "launch" / "blur_imu.launch.py"))["ends_the_launch"]("ekf_node")
    with pytest.raises(RuntimeError, match="ekf_node ended with code 2"):
        handler(MagicMock(returncode=2), MagicMock(is_shutdown=False))


@pytest.mark.parametrize(("environment", "variables"), [({}, 2), ({"FASTDDS_DEFAULT_PROFILES_FILE": "mine"}, 0)])
def test_the_large_image_profile_is_set_unless_the_user_has_one(stand_ins, environment, variables):
    namespace = runpy.run_path(str(REPOSITORY / "launch" / "blur_imu.launch.py"))
    assert len(namespace["large_image_profile"](MagicMock(environment=environment))) == variables


def test_replay_declares_and_uses_its_arguments(stand_ins):
    replay = runpy.run_path(str(REPOSITORY / "launch" / "replay.launch.py"))
    replay["generate_launch_description"]()
    stand_ins["launch.substitutions"].LaunchConfiguration.return_value.perform.return_value = "nowhere"
    replay["player"](MagicMock())
    declared = first_arguments(stand_ins["launch.actions"].DeclareLaunchArgument)
    assert declared == {"bag", "rate"} == first_arguments(stand_ins["launch.substitutions"].LaunchConfiguration)


@pytest.mark.parametrize(("topic", "given"), [("/camera/tick", ["--clock"]), ("/clock", [])])
def test_the_time_of_a_recording_is_that_of_its_own_clock(stand_ins, tmp_path, topic, given):
    """With another one beside it, the filter's time jumps between that of a simulation and that of the recorder."""
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.add_connection(topic, "rosgraph_msgs/msg/Clock", typestore=get_typestore(Stores.ROS2_JAZZY))
    stand_ins["launch.substitutions"].LaunchConfiguration.return_value.perform.return_value = str(tmp_path / "bag")
    runpy.run_path(str(REPOSITORY / "launch" / "replay.launch.py"))["player"](MagicMock())
    command = stand_ins["launch.actions"].ExecuteProcess.call_args.kwargs["cmd"]
    assert command[:-2] == ["ros2", "bag", "play", str(tmp_path / "bag"), *given]


def test_the_recording_starts_once_when_the_node_says_that_it_is_active(stand_ins):
    handler = runpy.run_path(str(REPOSITORY / "launch" / "replay.launch.py"))["starts_when_active"]("play")
    lines = (b"configured", b"[INFO] active: listening to /image", b"[INFO] active: listening to /image")
    assert [handler(MagicMock(text=line)) for line in lines] == [[], ["play"], []]


def test_the_ekf_launch_file_is_the_other_one_with_the_filter(stand_ins):
    runpy.run_path(str(REPOSITORY / "launch" / "blur_imu_ekf.launch.py"))["generate_launch_description"]()
    include = stand_ins["launch.actions"].IncludeLaunchDescription.call_args.kwargs
    assert dict(include["launch_arguments"]) == {"ekf": "true"}
    source = stand_ins["launch.launch_description_sources"].PythonLaunchDescriptionSource.call_args.args[0]
    assert Path(source).name == "blur_imu.launch.py"


def test_the_dds_profile_holds_several_images():
    text = (REPOSITORY / "config" / "fastdds_large_images.xml").read_text()
    sizes = [int(size) for size in re.findall(r"<segment_size>(\d+)<", text)]
    assert ElementTree.fromstring(text) is not None
    assert sizes == [32 * 1024 * 1024]


def test_the_systemd_unit_gives_arguments_that_the_launch_file_declares(stand_ins):
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read(REPOSITORY / "config" / "blur_imu.service")
    command = unit["Service"]["ExecStart"]
    assert "ros2 launch image_as_imu_ros blur_imu.launch.py" in command
    runpy.run_path(str(REPOSITORY / "launch" / "blur_imu.launch.py"))["generate_launch_description"]()
    declared = first_arguments(stand_ins["launch.actions"].DeclareLaunchArgument)
    assert {*re.findall(r"(\w+):=", command)} <= declared


def test_ekf_fuses_angular_velocity_once():
    parameters = yaml.safe_load((REPOSITORY / "config" / "ekf.yaml").read_text())["/**"]["ros__parameters"]
    assert parameters["imu0"] == "imu/data_raw"
    assert [i for i, on in enumerate(parameters["imu0_config"]) if on] == [9, 10, 11]  # vroll, vpitch, vyaw
    assert not parameters["two_d_mode"]
    assert "reset_on_time_jump" not in parameters  # does nothing in ROS 2
    for name in ("process_noise_covariance", "initial_estimate_covariance"):
        assert len(parameters[name]) == 15 * 15


def test_ekf_fuses_v_only_where_it_is_measured():
    """The lines for a measured depth image are there, commented out, and right when the comment signs are gone."""
    text = (REPOSITORY / "config" / "ekf.yaml").read_text()
    assert "twist0" not in yaml.safe_load(text)["/**"]["ros__parameters"]
    lines = re.sub(r"^    # (?=twist0)", "    ", text, flags=re.MULTILINE)
    parameters = yaml.safe_load(lines)["/**"]["ros__parameters"]
    assert parameters["twist0"] == "twist"
    assert [i for i, on in enumerate(parameters["twist0_config"]) if on] == [6, 7, 8]  # vx, vy, vz
    assert len(parameters["twist0_config"]) == 15
