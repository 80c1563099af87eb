"""The bag of estimates against the node's own messages."""

from pathlib import Path

import numpy as np
import pytest
import replay_bags as bags
from rosbags.highlevel import AnyReader

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame, Shutter
from image_as_imu_ros.recordings.bag_writer import write_bag


def test_rclpy_reads_the_messages_that_the_node_would_publish(tmp_path):
    serialization = pytest.importorskip("rclpy.serialization", reason="rclpy is not installed")
    from image_as_imu_ros.nodes.message_conversion import imu_message, twist_message

    stamp = bags.FIRST_STAMP + 123_456_789
    estimator = MotionEstimator(bags.ExactEngine([bags.FIRST_STAMP]), EstimatorConfig(sign_resolution="axial"))
    image = np.zeros((bags.CAMERA.height, bags.CAMERA.width), np.uint8)
    estimate = estimator.update(Frame(image, stamp, bags.CAMERA, Shutter(bags.EXPOSURE)))
    write_bag(tmp_path / "bag", [(estimate.stamp, "camera", estimate.velocity)])
    with AnyReader([tmp_path / "bag"]) as reader:
        written = {connection.topic: (time, bytes(data)) for connection, time, data in reader.messages()}
    for topic, message_of in {"/imu/data_raw": imu_message, "/twist": twist_message}.items():
        time, data = written[topic]
        message = message_of(estimate, "camera")
        assert time == stamp
        assert serialization.deserialize_message(data, type(message)) == message


@pytest.mark.parametrize("place", ["there", "there/inside"])
def test_nothing_is_overwritten(tmp_path: Path, place):
    (tmp_path / "there").write_text("mine")
    with pytest.raises(InputError, match=r"exists already|cannot be written"):
        write_bag(tmp_path / place, [])
    assert (tmp_path / "there").read_text() == "mine"
