"""Topics of another camera, of another sensor, too late, or the node's own: over real DDS."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("image_as_imu_ros.nodes")
pytest.importorskip("rclpy")

from camera_process import PATIENCE, PERIOD, CameraWithEars, Log, node_command, node_process
from sensor_msgs.msg import Image, Imu

pytestmark = pytest.mark.usefixtures("ros")


@pytest.fixture(scope="module")
def node(tiny_model) -> Iterator[Log]:
    """A node that is to get depth images and a gyroscope."""
    parameters = (f"model:={tiny_model}", "exposure_time:=0.01", "depth_transport:=raw", "rate_hint_type:=imu")
    with node_process(*parameters, "diagnostics_period:=0.2", namespace="/misconnected") as log:
        yield log


@pytest.fixture
def camera(node) -> Iterator[CameraWithEars]:
    camera = CameraWithEars(namespace="/misconnected")
    camera.wait_for_node()
    camera.info = camera.info_message()
    yield camera
    camera.close()


def depth_message(camera: CameraWithEars, stamp: int, frame_id: str = "camera_optical") -> Image:
    message = camera.stamped(Image(encoding="16UC1", width=4, height=3, step=8, data=[1] * 24), stamp)
    message.header.frame_id = frame_id
    return message


def test_a_gyroscope_that_measures_nothing_is_said(camera, node):
    gyroscope = camera.node.create_publisher(Imu, "rate_hint", 10)

    def publish() -> None:
        image, hint = camera.image_message(), Imu()
        hint.angular_velocity_covariance[0] = -1.0
        gyroscope.publish(camera.stamped(hint))
        camera.images.publish(image)

    camera.play_until(lambda: camera.count("refused: rate_hint") > 5, "refused hints", publish)
    node.wait_for("WARN", "rate_hint: the Imu says by angular_velocity_covariance[0] = -1")
    assert "no rate_hint" not in camera.node_says
    camera.destroy(gyroscope)


def test_depth_images_that_come_too_late_are_said(camera):
    def publish() -> None:
        image = camera.image_message()
        camera.depths.publish(depth_message(camera, camera.stamp - 4 * PERIOD))
        camera.images.publish(image)

    camera.play_until(lambda: "without a depth image within 20 ms" in camera.node_says, "the warning", publish)
    assert camera.count("without depth") > 0
    camera.play_until(lambda: camera.imus, "velocities", publish)


def test_depth_and_camera_info_of_another_camera_are_said_once(camera, node):
    camera.info.header.frame_id = "right_optical"

    def publish() -> None:
        image = camera.image_message()
        camera.depths.publish(depth_message(camera, camera.stamp, "depth_optical"))
        camera.images.publish(image)

    expected = ("the depth images are in the frame 'depth_optical'", "camera_info is of the frame 'right_optical'")
    camera.play_until(lambda: all(text in camera.node_says for text in expected), "the warnings", publish)
    camera.diagnostics.clear()
    camera.play_until(lambda: len(camera.diagnostics) > 2, "diagnostics", publish)
    assert [len([line for line in node.find("WARN", text) if line.startswith(text)]) for text in expected] == [1, 1]
    camera.play_until(lambda: camera.imus, "velocities", publish)


def test_another_publisher_of_velocities_is_said(camera, node):
    gyroscope = camera.node.create_publisher(Imu, "imu/data_raw", 10)
    camera.play_until(lambda: "/misconnected/imu/data_raw has 2 publishers" in camera.node_says, "the warning")
    node.wait_for("WARN", "/misconnected/imu/data_raw has 2 publishers: a filter takes them for one sensor")
    camera.destroy(gyroscope)
    camera.play_until(lambda: "publishers" not in camera.node_says, "an end of the warning")


def test_images_of_two_cameras_on_one_topic_are_not_compared_and_said(camera, node):
    """One pans, one is at rest: between their images both seemed to move the other way."""
    other, rest = camera.node.create_publisher(Image, "image", 10), camera.pixels()

    def publish() -> None:
        camera.images.publish(camera.image_message())
        time.sleep(0.01)
        image = camera.image_message(data=rest.tobytes())
        camera.stamp -= PERIOD
        camera.stamped(image, camera.stamp + PERIOD // 3).header.frame_id = "other_optical"
        other.publish(image)

    expected = ("/misconnected/image has 2 publishers", "the images' frame_id changed")
    camera.play_until(lambda: all(text in camera.node_says for text in expected), "the warnings", publish)
    camera.imus.clear()
    before = camera.count("ambiguous")
    camera.play_until(lambda: camera.count("ambiguous") > before + 20, "velocities without a sign", publish)
    assert len(camera.imus) < 5
    camera.destroy(other)


@pytest.mark.parametrize(("kind", "topic"), [("imu", "imu/data_raw"), ("twist", "twist")])
def test_its_own_velocities_are_no_rate_hint(tiny_model, kind, topic):
    """A gyroscope's usual name is imu/data_raw, too: each velocity would confirm the sign of the one before."""
    said = refused(f"model:={tiny_model}", f"rate_hint_type:={kind}", remapping=f"rate_hint:=/own/{topic}")
    assert f"cannot be configured: the input rate_hint is /own/{topic}, which this node publishes" in said


@pytest.mark.parametrize(
    ("parameter", "remapping", "says"),
    [
        ("exposure_source:=topic", "exposure:=/diagnostics", "carries diagnostic_msgs/msg/DiagnosticArray here, not"),
        ("depth_transport:=compressed", "depth:=/own/image", "carries sensor_msgs/msg/Image here, not sensor_msgs"),
    ],
)
def test_two_types_on_one_topic_are_refused_in_one_line(tiny_model, parameter, remapping, says):
    """DDS takes one type per topic and process: its words were 'invalid allocator', in a traceback."""
    said = refused(f"model:={tiny_model}", parameter, remapping=remapping)
    assert f"cannot be configured: {remapping.replace(':=', ' is ')}, which {says}" in said
    assert "Traceback" not in said


def refused(*parameters: str, remapping: str) -> str:
    """Run a node that cannot start, and return what it says."""
    command = [*node_command(*parameters, namespace="/own"), "-r", remapping]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert result.returncode == 2
    return result.stderr
