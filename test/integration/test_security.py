"""The SROS 2 policy against what a running node publishes, subscribes to and serves."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("rclpy")

from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from image_as_imu_ros.nodes.blur_imu_node import BlurImuNode

pytestmark = pytest.mark.usefixtures("ros")

POLICY = ElementTree.parse(Path(__file__).parents[2] / "config" / "sros2_policy.xml").getroot()
EVERYTHING = {
    "depth_transport": "raw",
    "exposure_source": "topic",
    "exposure_time": 0.01,
    "rate_hint_type": "imu",
    "use_sim_time": True,  # subscribes to /clock
}


def allowed(element: str, attribute: str) -> set[str]:
    """Names that the policy allows, as they are in the graph."""
    (profile,) = POLICY.iter("profile")
    home = {"~/": f"/{profile.get('node')}/", "/": "/"}
    names = [one.text or "" for group in profile if group.get(attribute) == "ALLOW" for one in group.iter(element)]
    return {
        next((home[start] + name[len(start) :] for start in home if name.startswith(start)), f"/{name}")
        for name in names
    }


@pytest.fixture
def node(tiny_model):
    overrides = [Parameter(name, value=value) for name, value in {"model": str(tiny_model), **EVERYTHING}.items()]
    node = BlurImuNode(parameter_overrides=overrides)
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    yield node
    node.destroy_node()


def names(found: list[tuple[str, list[str]]]) -> set[str]:
    return {name for name, _ in found}


def test_the_policy_allows_what_the_node_does_and_no_more(node):
    name, namespace = node.get_name(), node.get_namespace()
    published = names(node.get_publisher_names_and_types_by_node(name, namespace))
    subscribed = names(node.get_subscriber_names_and_types_by_node(name, namespace))
    served = names(node.get_service_names_and_types_by_node(name, namespace))
    assert published == allowed("topic", "publish")
    assert subscribed <= allowed("topic", "subscribe") <= subscribed | {"/parameter_events"}
    assert served <= allowed("service", "reply") <= served | {f"/{name}/get_type_description"}
