"""The files for RViz, PlotJuggler and Foxglove are well-formed, and name the topics and fields that exist."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
import yaml

from image_as_imu_ros.resources import resource

MESSAGES = {
    "/imu/data_raw": "sensor_msgs.msg.Imu",
    "/twist": "geometry_msgs.msg.TwistWithCovarianceStamped",
    "/odometry/filtered": "nav_msgs.msg.Odometry",
}
TOPICS = {*MESSAGES, "/debug/image", "/diagnostics"}


def assert_field_exists(topic: str, path: list[str]) -> None:
    package, _, name = MESSAGES[topic].rpartition(".")
    message = getattr(pytest.importorskip(package), name)()
    for part in path:
        message = getattr(message, part)
    assert isinstance(message, float)


def test_rviz_shows_the_streaks_and_the_filter():
    config = yaml.safe_load(resource("config/blur_imu.rviz").read_text())
    displays = {display["Name"]: display for display in config["Visualization Manager"]["Displays"]}
    assert all(display["Class"].startswith("rviz_default_plugins/") for display in displays.values())
    topics = {name: display["Topic"]["Value"] for name, display in displays.items() if "Topic" in display}
    assert topics == {"Streaks": "/debug/image", "Filtered motion": "/odometry/filtered"}
    assert config["Visualization Manager"]["Global Options"]["Fixed Frame"] == "odom"


def test_plotjuggler_plots_fields_that_the_messages_have():
    root = ElementTree.parse(resource("config/blur_imu_plotjuggler.xml")).getroot()
    assert root.find("tabbed_widget") is not None
    for splitter in root.iter("DockSplitter"):
        assert len(splitter) == int(splitter.get("count")) == len(splitter.get("sizes").split(";"))
    curves = [curve.get("name") for curve in root.iter("curve")]
    assert len(curves) == len(set(curves)) == 12
    for curve in curves:
        topic = next(topic for topic in MESSAGES if curve.startswith(f"{topic}/"))
        assert_field_exists(topic, curve.removeprefix(f"{topic}/").split("/"))


def test_foxglove_lays_out_every_panel_once_and_plots_fields_that_the_messages_have():
    layout = json.loads(resource("config/blur_imu_foxglove.json").read_text())
    panels = layout["configById"]
    assert sorted(re.findall(r'"(\w+!\w+)"', json.dumps(layout["layout"]))) == sorted(panels)
    assert {panels["Image!streaks"]["imageMode"]["imageTopic"], "/diagnostics"} <= TOPICS
    for name, panel in panels.items():
        if name.startswith("Plot!"):
            for path in panel["paths"]:
                topic, *fields = path["value"].split(".")
                assert_field_exists(topic, fields)
                assert path["enabled"]
