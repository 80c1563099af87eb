"""The bag of estimates against the node's own messages."""

from pathlib import Path

import numpy as np
import pytest
import replay_bags as bags
from rosbags.highlevel import AnyReader

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import EstimatorConfig, SignResolution
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame, Shutter
from image_as_imu_ros.estimation.velocity import Term, Velocity
from image_as_imu_ros.recordings.bag_writer import write_bag


def test_rclpy_reads_the_messages_that_the_node_would_publish(tmp_path):
    serialization = pytest.importorskip("rclpy.serialization", reason="rclpy is not installed")
    from image_as_imu_ros.nodes.message_conversion import imu_message, twist_message

    stamp = bags.FIRST_STAMP + 123_456_789
    estimator = MotionEstimator(
        bags.ExactEngine([bags.FIRST_STAMP]), EstimatorConfig(sign_resolution=SignResolution.AXIAL)
    )
    image = np.zeros((bags.CAMERA.height, bags.CAMERA.width), np.uint8)
    estimate = estimator.update(Frame(image, stamp, bags.CAMERA, Shutter(bags.EXPOSURE)))
    write_bag(tmp_path / "bag", [(estimate.stamp, "/camera", estimate.velocity)])
    with AnyReader([tmp_path / "bag"]) as reader:
        written = {connection.topic: (time, bytes(data)) for connection, time, data in reader.messages()}
    for topic, message_of in {"/imu/data_raw": imu_message, "/twist": twist_message}.items():
        time, data = written[topic]
        message = message_of(estimate, "/camera")
        assert time == stamp
        assert message.header.frame_id == "camera"  # tf2 knows no frames with a slash
        assert serialization.deserialize_message(data, type(message)) == message


def test_a_filter_gets_no_stamp_twice_nor_two_rounds_at_once(tmp_path):
    velocity = Velocity(np.zeros(3), np.ones(3), {Term.DATA: np.eye(6)})
    first, period = bags.FIRST_STAMP, bags.FRAME_INTERVAL
    stamps = [first, first + 2 * period, first + period, first + 2 * period, first + 3 * period]
    write_bag(tmp_path / "bag", [(stamp, "camera", velocity) for stamp in stamps])
    with AnyReader([tmp_path / "bag"]) as reader:
        times = [time for connection, time, _ in reader.messages() if connection.topic == "/twist"]
    assert times == [first, first + 2 * period, first + 3 * period]
    rounds = [(stamp, "camera", velocity) for stamp in (first + 5_000_000_000, first)]
    with pytest.raises(InputError, match=r"jump back by 5\.0 s, as time starts again in the recording"):
        write_bag(tmp_path / "rounds", rounds)
    assert not (tmp_path / "rounds").exists()


@pytest.mark.parametrize("place", ["there", "there/inside"])
def test_nothing_is_overwritten(tmp_path: Path, place):
    (tmp_path / "there").write_text("mine")
    with pytest.raises(InputError, match=r"exists already|cannot be written"):
        write_bag(tmp_path / place, [])
    assert (tmp_path / "there").read_text() == "mine"


def test_what_the_system_refuses_is_said(tmp_path):
    """As a folder inside another user's."""
    with pytest.raises(InputError, match="cannot be written: File name too long"):
        write_bag(tmp_path / (300 * "x"), [])
