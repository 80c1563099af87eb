"""How the node starts and what its log says meanwhile, over real DDS: it runs in a process of its own."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("image_as_imu_ros.nodes")
pytest.importorskip("rclpy")

from camera_process import PERIOD, CameraWithEars, Log, node_process
from geometry_msgs.msg import Point, PointStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from image_as_imu_ros.nodes.progress import STARTING

pytestmark = pytest.mark.usefixtures("ros")

ROUNDING = 0.1  # s between what the node measures and the stamps of its log
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def logging_node(model: Path, *parameters: str, namespace: str) -> AbstractContextManager[Log]:
    """Run the node with a model of the tests and an exposure of 10 ms."""
    given = (f"model:={model}", "exposure_time:=0.01", "motion_model:=rotation", *parameters)
    return node_process(*given, namespace=namespace)


@pytest.fixture
def make_camera() -> Iterator[Callable[..., CameraWithEars]]:
    cameras = []

    def make(**arguments) -> CameraWithEars:
        cameras.append(CameraWithEars(**arguments))
        return cameras[-1]

    yield make
    for camera in cameras:
        camera.close()


def unexpected(log: Log, since: float) -> list[str]:
    """Warnings since a time, s of the node's clock, but those that nothing is published for some seconds."""
    return [line for line in log.warnings(since) if not line.startswith("no velocity")]


def play(camera: CameraWithEars, seconds: float) -> None:
    for _ in range(round(seconds / (PERIOD * 1e-9))):
        camera.images.publish(camera.image_message())
        time.sleep(PERIOD * 1e-9)


def test_a_mask_is_as_large_as_the_cameras_images(tiny_model, make_camera, tmp_path):
    mask = np.full((480, 640), 255, np.uint8)
    mask[400:] = 0
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    camera = make_camera(namespace="/masked")
    with logging_node(tiny_model, f"mask:={tmp_path / 'mask.png'}", namespace="/masked") as log:
        camera.wait_for_node()
        camera.info = camera.info_message()
        camera.play_until(lambda: len(camera.imus) > 2, "velocities")
        camera.wait_until(lambda: "view left out" in str(camera.diagnostics), "the share that is left out")
        assert not unexpected(log, 0.0)


def test_a_normal_start_says_what_comes_and_warns_of_nothing(tiny_model, make_camera):
    """The images are there before the CameraInfo."""
    camera = make_camera(namespace="/normal")
    with logging_node(tiny_model, namespace="/normal") as log:
        listening = log.wait_for("INFO", "active: ")
        assert "/normal/image (sensor_msgs/msg/Image), /normal/camera_info (sensor_msgs/msg/CameraInfo)" in listening
        camera.wait_until(camera.images.get_subscription_count, "the node")
        play(camera, 0.5)
        camera.info = camera.info_message()
        camera.play_until(lambda: len(camera.imus) > 5, "velocities")
        first = log.wait_for("INFO", "first image: ")
        assert re.fullmatch(r"first image: 640×480 mono8, frame 'camera_optical', stamped [\d.e+]+ s ago", first)
        assert log.wait_for("INFO", "first camera_info: ").startswith("first camera_info: 640×480, fx=500, fy=500")
        assert "in frame 'camera_optical'" in log.wait_for("INFO", "first velocity: ")
        for kind in ("image", "camera_info", "velocity"):
            assert len(log.find("INFO", f"first {kind}: ")) == 1
        # On a busy machine discovery takes longer than the node waits, and it may say so; never before, nor afterwards.
        assert not log.warnings(until=log.time_of("active: ") + STARTING - ROUNDING)
        assert not [
            line for line in log.warnings(log.time_of("first velocity: ")) if not line.startswith("no velocity")
        ]


def test_silence_is_said_with_its_reason_and_level(tiny_model, make_camera):
    with logging_node(tiny_model, "diagnostics_period:=0.2", namespace="/silent") as log:
        camera = make_camera(namespace="/silent")
        log.wait_for("WARN", "no velocity for 3 s: ")
        log.wait_for("ERROR", "no velocity for 10 s: ")
        camera.wait_until(lambda: camera.diagnostics and camera.diagnostics[-1].level == b"\x02", "an error")
        for reason in ("no images arrive: /silent/image", "no camera_info: /silent/camera_info"):
            camera.wait_until(lambda reason=reason: f"{reason} has 1 publisher(s)" in camera.node_says, "the reason")
        camera.info = camera.info_message()
        camera.play_until(lambda: len(camera.imus) > 5, "velocities")
        log.wait_for("INFO", "velocities are published again")
        camera.play_until(lambda: camera.diagnostics[-1].level == b"\x00", "diagnostics without a warning")


def test_camera_info_published_once_before_the_node_is_heard_and_kept(tiny_model, make_camera):
    """Latched: transient local, once. Nobody publishes it again after the node was deactivated and activated."""
    camera = make_camera(namespace="/latched")
    camera.destroy(camera.infos)
    latched = camera.node.create_publisher(CameraInfo, "camera_info", LATCHED)
    latched.publish(camera.info_message())
    with logging_node(tiny_model, namespace="/latched") as log:
        camera.wait_until(camera.images.get_subscription_count, "the node")
        camera.play_until(lambda: camera.imus, "velocities")
        assert not unexpected(log, log.time_of("first camera_info: "))

        camera.destroy(latched)
        client = camera.node.create_client(ChangeState, "blur_imu_node/change_state")
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
            future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
            camera.wait_until(future.done, "the transition")
            assert future.result().success
        camera.imus.clear()
        camera.play_until(lambda: camera.imus, "velocities with the CameraInfo from before")


def test_an_ordinary_camera_driver_is_not_made_to_warn_of_qos(tiny_model, make_camera, capfd):
    with logging_node(tiny_model, namespace="/ordinary"):
        camera = make_camera(namespace="/ordinary")
        camera.wait_for_node()
        time.sleep(1.5)
        assert "incompatible QoS" not in capfd.readouterr().err


def test_every_topic_that_was_asked_for_and_is_silent_is_named(tiny_model, make_camera):
    parameters = ("depth_transport:=raw", "exposure_source:=topic", "diagnostics_period:=0.2")
    with logging_node(tiny_model, *parameters, namespace="/asked") as log:
        camera = make_camera(namespace="/asked")
        camera.wait_for_node()
        camera.info = camera.info_message()
        camera.play_until(lambda: "no exposure: /asked/exposure has 1 publisher(s)" in camera.node_says, "the exposure")
        assert "no depth: /asked/depth has 1 publisher(s)" in camera.node_says
        assert "no camera_info" not in camera.node_says

        def publish_all() -> None:
            image = camera.image_message()
            camera.exposures.publish(camera.stamped(PointStamped(point=Point(x=0.01))))
            camera.depths.publish(camera.stamped(Image(encoding="16UC1", width=4, height=3, step=8, data=[1] * 24)))
            camera.images.publish(image)

        camera.play_until(lambda: camera.diagnostics[-1].level == b"\x00", "an end of the warnings", publish_all)
        assert log.wait_for("INFO", "first exposure: ") == "first exposure: 0.01 s"
        assert "first depth: 4×3 16UC1" in log.wait_for("INFO", "first depth: ")


def test_frame_id_is_warned_of_and_overridden(tiny_model, make_camera):
    with logging_node(tiny_model, "diagnostics_period:=0.2", namespace="/frames") as log:
        camera = make_camera(namespace="/frames")
        camera.wait_for_node()
        camera.info = camera.info_message()

        def image_in(frame_id: str):
            message = camera.image_message()
            message.header.frame_id = frame_id
            return message

        def publish_until(frame_id: str, condition, what: str) -> None:
            camera.play_until(condition, what, lambda: camera.images.publish(image_in(frame_id)))

        publish_until("", lambda: "empty frame_id" in camera.node_says, "the warning")
        log.wait_for("WARN", "empty frame_id")
        publish_until("camera_link", lambda: "not an optical frame" in camera.node_says, "the other warning")
        assert camera.set_parameter("frame_id", "front_optical")[0]
        camera.imus.clear()
        publish_until(
            "camera_link",
            lambda: any(imu.header.frame_id == "front_optical" for imu in camera.imus.values()),
            "the override",
        )
        camera.diagnostics.clear()
        publish_until("camera_link", lambda: len(camera.diagnostics) > 2, "diagnostics")
        assert "frame_id" not in camera.node_says
