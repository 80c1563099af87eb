"""What becomes of the node's frames, without DDS in between: which are compared, and what goes out for which."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from camera_process import CameraWithEars
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

import image_as_imu_ros.nodes.blur_imu_node as module
from image_as_imu_ros.nodes.buffers import Received
from image_as_imu_ros.nodes.outputs import Outputs

pytestmark = pytest.mark.usefixtures("ros")

SENSOR = {"exposure_time": 0.01, "motion_model": "rotation"}


@pytest.fixture
def camera() -> Iterator[CameraWithEars]:
    camera = CameraWithEars(namespace="/frames")
    yield camera
    camera.close()


@pytest.fixture
def make_node(tiny_model, camera):
    nodes = []

    def make(**parameters) -> module.BlurImuNode:
        overrides = [Parameter(name, value=value) for name, value in {"model": str(tiny_model), **parameters}.items()]
        nodes.append(module.BlurImuNode(namespace="/frames", parameter_overrides=overrides))
        assert nodes[-1].trigger_configure() == module.TransitionCallbackReturn.SUCCESS
        nodes[-1]._on_camera_info(camera.info_message())
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def answer(node: module.BlurImuNode, message: Image, arrival: float = 0.0) -> None:
    node._answer(node._infer(Received(message, arrival)))


def counts(node: module.BlurImuNode) -> dict[str, str]:
    return node._health.report("", [], {}).values


@pytest.fixture
def sent(monkeypatch) -> list[tuple]:
    """What is published: (estimate, frame_id), and what is drawn over: (estimate, image, frame_id)."""
    sent = []
    monkeypatch.setattr(Outputs, "publish", lambda _, *what: sent.append(what))
    monkeypatch.setattr(Outputs, "draw", lambda _, *what: sent.append(what))
    return sent


def test_images_of_two_cameras_are_not_compared(make_node, camera):
    node = make_node(**SENSOR)
    for number in range(4):
        message = camera.image_message()
        message.header.frame_id = "left_optical" if number < 3 else "right_optical"
        answer(node, message)
        assert node._estimator.at_start == (number in (0, 3))
    assert counts(node)["camera frame changed"] == "1"


@pytest.mark.parametrize(
    ("parameters", "published"),
    [({}, None), ({"publish_unresolved": True}, "1"), ({"sign_resolution": "axial"}, "1")],
    ids=["causal", "unresolved ones too", "axial"],
)
def test_a_sign_that_is_not_known_is_published_only_where_that_was_asked_for(make_node, camera, parameters, published):
    node = make_node(**SENSOR, **parameters)
    answer(node, camera.image_message())
    assert counts(node).get("single") == published
    assert counts(node)["ambiguous"] == ("0" if published else "1")


def test_a_velocity_that_is_not_later_than_the_last_one_is_not_published(make_node, camera):
    node = make_node(**SENSOR, publish_unresolved=True)
    message = camera.image_message()
    answer(node, message)
    node._order.may_publish(10**19)
    answer(node, camera.image_message())
    values = counts(node)
    assert (values["published"], values["refused: order"]) == ("1", "1")


@pytest.mark.parametrize(("sign_resolution", "waiting"), [("causal", 0), ("centered", 1)])
def test_what_goes_out_is_of_its_own_image_also_where_that_is_the_one_before(
    make_node, camera, sent, sign_resolution, waiting
):
    node = make_node(**SENSOR, sign_resolution=sign_resolution, publish_unresolved=True)
    images = {}
    for _ in range(3):
        message = camera.image_message()
        images[module.stamp_to_nanoseconds(message.header.stamp)] = message
        answer(node, message, arrival=time.monotonic())
    drawn = [what for what in sent if len(what) == 3]
    assert [estimate.header_stamp for estimate, *_ in drawn] == sorted(images)[: 3 - waiting]
    for estimate, image, frame_id in drawn:
        message = images[estimate.header_stamp]
        np.testing.assert_array_equal(image.ravel(), np.frombuffer(message.data, np.uint8))
        assert frame_id == message.header.frame_id
    assert 0 < float(counts(node)["latency p50 (ms)"]) < 60_000


@pytest.mark.parametrize("override", ["", "head_camera_optical"])
def test_velocities_are_in_the_images_frame_unless_a_parameter_names_another(make_node, camera, sent, override):
    node = make_node(**SENSOR, publish_unresolved=True, frame_id=override)
    message = camera.image_message()
    answer(node, message)
    assert {what[-1] for what in sent} == {override or message.header.frame_id}


def test_what_was_seen_before_a_pause_is_forgotten_but_the_intrinsics_until_cleanup(make_node, camera):
    node = make_node(**SENSOR)
    success = module.TransitionCallbackReturn.SUCCESS
    for _ in range(2):
        assert node.trigger_activate() == success
        for number in range(2):
            answer(node, camera.image_message())
            assert node._estimator.at_start == (number == 0)
        assert node.trigger_deactivate() == success
    assert node._assembler.camera_info is not None
    assert node.trigger_cleanup() == success
    assert node._assembler.camera_info is None
