"""The launch files run by `ros2 launch`: where ROS is, or by tools/test_launch.sh."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("launch_ros", reason="launch_ros comes with ROS only")
pytest.importorskip("ros2launch", reason="ros2 launch comes with ROS only")
rclpy = pytest.importorskip("rclpy")

from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 60.0  # s; for loaded machines

STAND_IN_FOR_EKF_NODE = """#!{python}
# In place of robot_localization's ekf_node: prints the parameters that it is given, and ends cleanly when interrupted.
import rclpy
from rclpy.executors import ExternalShutdownException

rclpy.init()
node = rclpy.create_node("ekf", automatically_declare_parameters_from_overrides=True)
print("given", sorted(node._parameters), flush=True)
try:
    rclpy.spin(node)
except (KeyboardInterrupt, ExternalShutdownException):
    pass
"""


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """Variables for a workspace that holds this source tree and a stand-in for robot_localization."""
    prefix = tmp_path / "workspace"
    index = prefix / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    for package in ("image_as_imu_ros", "robot_localization"):
        (index / package).touch()
    (prefix / "share/image_as_imu_ros").symlink_to(REPOSITORY)
    (prefix / "lib/robot_localization").mkdir(parents=True)
    node = prefix / "lib/image_as_imu_ros/blur_imu_node"
    node.parent.mkdir()
    shutil.copy(REPOSITORY / "scripts/blur_imu_node", node)
    node.write_text(node.read_text().replace("/usr/bin/env python3", sys.executable, 1))
    ekf_node = prefix / "lib/robot_localization/ekf_node"
    ekf_node.write_text(STAND_IN_FOR_EKF_NODE.format(python=sys.executable))
    ekf_node.chmod(0o755)
    return {
        **os.environ,
        "AMENT_PREFIX_PATH": f"{prefix}:{os.environ.get('AMENT_PREFIX_PATH', sys.prefix)}",
        "PYTHONPATH": f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}",
        "ROS_LOG_DIR": str(tmp_path / "log"),
    }


@contextmanager
def launched(
    environment: dict[str, str],
    output: Path,
    *arguments: str,
    file: str = "blur_imu.launch.py",
    package: str = "image_as_imu_ros",
) -> Iterator[subprocess.Popen]:
    """Run a launch file as from a terminal, its output in a file."""
    main = "import sys; sys.argv[0] = 'ros2'; from ros2cli.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", main, "launch", *filter(None, [package]), file, *arguments]
    with output.open("w") as stdout:
        process = subprocess.Popen(
            command, env=environment, stdout=stdout, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(text: str, output: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while text not in output.read_text():
        assert time.monotonic() < deadline, output.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("exposure_time:=10", "Parameter exposure_time out of range"),
        ("measurement:=foo", 'Argument "measurement" provided value "foo" is not valid'),
        ("model:=nowhere.onnx", "cannot be configured: model file 'nowhere.onnx' does not exist"),
        ("params_file:=nowhere.yaml", "params_file:=nowhere.yaml is not a file"),
    ],
)
def test_what_cannot_start_ends_the_launch_with_the_reason(environment, tmp_path, argument, reason):
    output = tmp_path / "output"
    with launched(environment, output, argument) as process:
        assert process.wait(timeout=PATIENCE) == 1
    assert reason in output.read_text()


def test_arguments_are_shown_with_defaults_and_choices(environment, tmp_path):
    output = tmp_path / "output"
    with launched(environment, output, "--show-args") as process:
        assert process.wait(timeout=PATIENCE) == 0
    said = output.read_text()
    assert "Valid choices are: ('single', 'aligned', 'auto')" in said
    assert "(default: 'auto')" in said
    assert "exposure time of one row, s" in said


def test_what_is_not_given_is_as_the_parameter_file_says(environment, tmp_path, tiny_model):
    """The file refuses to start, unless an argument gives another value."""
    parameters, output = tmp_path / "parameters.yaml", tmp_path / "output"
    parameters.write_text("/**:\n  ros__parameters: {exposure_source: realsense, exposure_unit: s}\n")
    arguments = (f"model:={tiny_model}", f"params_file:={parameters}")
    with launched(environment, output, *arguments) as process:
        assert process.wait(timeout=PATIENCE) == 1
    assert "RealSense cameras report '100us'" in output.read_text()
    with launched(environment, output, *arguments, "exposure_source:=parameter") as process:
        wait_for("active: ", output)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 0


TWO_CAMERAS = """
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

def camera(**arguments):
    return IncludeLaunchDescription(PythonLaunchDescriptionSource({file!r}), launch_arguments=arguments.items())

def generate_launch_description():
    first = camera(namespace="first", model={model!r}, params_file={first!r})
    return LaunchDescription([first, camera(namespace="second", params_file={second!r})])
"""


def test_included_for_two_cameras_each_has_its_own_parameter_file(environment, tmp_path, tiny_model):
    """Arguments that the first one does not give are not given to the second one by their defaults."""
    (tmp_path / "first").write_text("/**:\n  ros__parameters: {exposure_time: 0.01}\n")
    (tmp_path / "second").write_text("/**:\n  ros__parameters: {exposure_source: realsense, exposure_unit: s}\n")
    file, first, second = REPOSITORY / "launch/blur_imu.launch.py", tmp_path / "first", tmp_path / "second"
    bringup, output = tmp_path / "bringup.launch.py", tmp_path / "output"
    names = {"file": file, "model": tiny_model, "first": first, "second": second}
    bringup.write_text(TWO_CAMERAS.format(**{name: str(path) for name, path in names.items()}))
    with launched(environment, output, package="", file=str(bringup)) as process:
        assert process.wait(timeout=PATIENCE) == 1
    assert "RealSense cameras report '100us'" in output.read_text()


def test_the_filter_gets_its_parameters_in_any_namespace(environment, tmp_path, tiny_model):
    output = tmp_path / "output"
    arguments = (f"model:={tiny_model}", "exposure_time:=0.01", "namespace:=cam1", "ekf:=true")
    with launched(environment, output, *arguments) as process:
        wait_for("given [", output)
        wait_for("[cam1.blur_imu_node]: active: listening to /cam1/image (sensor_msgs/msg/Image)", output)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 0
    [given] = [line for line in output.read_text().splitlines() if "given [" in line]
    for name in ("imu0_config", "process_noise_covariance", "base_link_frame"):
        assert f"'{name}'" in given


@pytest.mark.usefixtures("ros")
def test_camera_info_published_once_before_the_launch_is_heard(environment, tmp_path, tiny_model):
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    camera = rclpy.create_node("camera")
    k = [500.0, 0.0, 319.5, 0.0, 500.0, 239.5, 0.0, 0.0, 1.0]
    camera.create_publisher(CameraInfo, "camera/camera_info", latched).publish(CameraInfo(width=640, height=480, k=k))
    output = tmp_path / "output"
    arguments = (f"model:={tiny_model}", "exposure_time:=0.01", "camera_info:=/camera/camera_info")
    with launched(environment, output, *arguments) as process:
        wait_for("first camera_info: 640×480", output)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 0
    camera.destroy_node()


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0])
def test_ctrl_c_ends_cleanly(environment, tmp_path, tiny_model, seconds):
    """A terminal sends the signal to all processes, and ros2 launch sends it to the node once more."""
    output = tmp_path / "output"
    with launched(environment, output, f"model:={tiny_model}", "exposure_time:=0.01") as process:
        wait_for("active: ", output)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=PATIENCE) == 0
    said = output.read_text()
    assert "process has finished cleanly" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("code", [0, 1])
def test_a_recording_is_played_once_the_node_is_active_and_ends_the_launch(environment, tmp_path, tiny_model, code):
    """In place of ros2 bag, which is not everywhere, a program that says what it is asked to do."""
    play = tmp_path / "bin/ros2"
    play.parent.mkdir()
    play.write_text(f"#!/bin/sh\necho ros2 $* with $FASTRTPS_DEFAULT_PROFILES_FILE\nexit {code}\n")
    play.chmod(0o755)
    environment["PATH"] = f"{play.parent}:{environment['PATH']}"
    output = tmp_path / "output"
    arguments = (f"model:={tiny_model}", "exposure_time:=0.01", "bag:=a_recording", "rate:=0.5")
    with launched(environment, output, *arguments, file="replay.launch.py") as process:
        assert process.wait(timeout=PATIENCE) == code
    said = output.read_text()
    assert said.index("active: listening to") < said.index("ros2 bag play a_recording --clock --rate 0.5 with /")
