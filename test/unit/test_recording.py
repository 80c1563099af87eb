"""Reading recordings: topics found by type, storage formats, camera_info, depth, and what cannot be read."""

import sqlite3

import numpy as np
import pytest
import replay_bags as bags
from rosbags.rosbag2 import StoragePlugin, Writer

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.nodes.frames import FrameAssembler
from image_as_imu_ros.nodes.parameters import Settings
from image_as_imu_ros.recordings.recording import Recording

STAMPS = bags.frame_stamps(3)


def open_with(tmp_path, topics, **options) -> Recording:
    return Recording(bags.write_recording(tmp_path / "bag", topics, **options))


def write_in_this_order(path, topics):
    """Times of recording, by which a bag is sorted, ascend as messages stand there."""
    with Writer(path, version=Writer.VERSION_LATEST, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, messages in topics.items():
            connection = writer.add_connection(topic, messages[0].__msgtype__, typestore=bags._STORE)
            for number, message in enumerate(messages):
                writer.write(connection, STAMPS[0] + number, bags._STORE.serialize_cdr(message, message.__msgtype__))
    return path


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("make_image", [bags.image_message, bags.raw_image_message])
def test_frames_come_in_order_with_their_camera(tmp_path, storage, make_image):
    topics = {
        "/camera/image_raw": [make_image(stamp, i) for i, stamp in enumerate(STAMPS)],
        "/camera/camera_info": [bags.camera_info(stamp) for stamp in STAMPS],
    }
    with open_with(tmp_path, topics, storage=storage) as recording:
        image = recording.image_topic()
        frames = list(recording.frames(image, recording.camera_info_topic(image)))
    assert [frame.stamp for frame in frames] == STAMPS
    assert [frame.decode_image("gray").mean() for frame in frames] == [0, 4, 8]
    assert frames[0].camera() == bags.CAMERA
    assert frames[0].frame_id == bags.FRAME_ID
    assert frames[0].decode_depth() is None


def thermal_message(stamp: int, offset: int):
    """One scene of 400 counts above an offset that drifts."""
    counts = 7000 + offset + 400 * np.random.default_rng(0).random((bags.CAMERA.height, bags.CAMERA.width))
    message = bags.raw_image_message(stamp, 0)
    message.encoding, message.step = "mono16", 2 * bags.CAMERA.width
    message.data = counts.astype("<u2").view(np.uint8).ravel()
    return message


def test_16_bit_images_are_decoded_as_by_the_node(tmp_path):
    """Through one window of counts that moves slowly: a change of the scene stays one. Each pass begins anew."""
    images = [thermal_message(stamp, offset) for stamp, offset in zip(STAMPS, (0, 40, 10), strict=True)]
    infos = [bags.camera_info(stamp) for stamp in STAMPS]
    node, settings = FrameAssembler(infos[0]), Settings(exposure_time=0.01, image_transport="raw")
    expected = [node.assemble(image, settings, "gray").frame.image for image in images]
    with open_with(tmp_path, {"/camera/image_raw": images, "/camera/camera_info": infos}) as recording:
        for _ in range(2):
            found = [one.decode_image("gray") for one in recording.frames("/camera/image_raw", "/camera/camera_info")]
            np.testing.assert_array_equal(found, expected)
    assert np.median(expected[1].astype(int) - expected[0]) > 10  # in windows of their own they would look alike


def test_a_single_file_is_a_recording_too(tmp_path):
    path = bags.moving_camera(tmp_path / "bag")
    with Recording(next(path.glob("*.mcap"))) as recording:
        assert recording.image_topic() == "/camera/image_raw/compressed"


def test_bags_of_older_distributions_hold_no_message_definitions(tmp_path):
    path = bags.write_recording(
        tmp_path / "bag", {"/image": [bags.image_message(STAMPS[0], 3)]}, storage=StoragePlugin.SQLITE3
    )
    with sqlite3.connect(next(path.glob("*.db3"))) as database:
        database.execute("DELETE FROM message_definitions")
    with Recording(path) as recording:
        ((topic, message),) = recording.messages("/image")
    assert (topic, message.format) == ("/image", "png")


def test_the_latest_camera_info_counts_and_the_first_serves_frames_before_it(tmp_path):
    topics = {
        "/image": [bags.image_message(stamp, 0) for stamp in STAMPS],
        "/camera_info": [bags.camera_info(STAMPS[0], fx=111.0), bags.camera_info(STAMPS[1], fx=222.0)],
    }
    with open_with(tmp_path, topics, delays={"/camera_info": 1000}) as recording:
        frames = list(recording.frames("/image", "/camera_info"))
    assert [frame.camera().fx for frame in frames] == [111.0, 111.0, 222.0]


def test_images_that_were_recorded_out_of_order_are_put_right(tmp_path):
    stamps = bags.frame_stamps(12)
    recorded = [stamps[i] for i in (0, 1, 3, 2, 4, 5, 6, 9, 7, 8, 10, 11)]
    again = [stamp - 5_000_000_000 for stamp in stamps[:2]]  # a recording that starts anew
    topics = {
        "/image": [bags.image_message(stamp, 0) for stamp in (*recorded, *again)],
        "/camera_info": [bags.camera_info(stamps[0])],
    }
    with Recording(write_in_this_order(tmp_path / "bag", topics)) as recording:
        assert [frame.stamp for frame in recording.frames("/image", "/camera_info")] == [*stamps, *again]


def test_depth_is_matched_by_its_stamp_even_if_it_was_recorded_later(tmp_path):
    topics = {
        "/image": [bags.image_message(stamp, 0) for stamp in STAMPS],
        "/camera_info": [bags.camera_info(STAMPS[0])],
        "/camera/depth/image": [bags.depth_message(STAMPS[0] + 1_000_000, 1.5), bags.depth_message(STAMPS[2], 2.5)],
    }
    with open_with(tmp_path, topics, delays={"/camera/depth/image": 60_000_000}) as recording:
        assert recording.image_topic() == "/image"
        frames = list(recording.frames("/image", "/camera_info", recording.depth_topic("auto")))
    depths = [frame.decode_depth() for frame in frames]
    assert depths[1] is None
    assert np.allclose(depths[0], 1.5)
    assert np.allclose(depths[2], 2.5)


class TestTopics:
    IMAGE = (bags.image_message(STAMPS[0], 0),)
    INFO = (bags.camera_info(STAMPS[0]),)
    TWIST = (bags.twist(STAMPS[0], np.ones(6)),)
    IMU = (bags.imu(STAMPS[0], np.ones(3)),)

    def test_raw_is_taken_where_one_stream_is_recorded_twice(self, tmp_path):
        raw = [bags.raw_image_message(STAMPS[0], 0)]
        with open_with(tmp_path, {"/image": raw, "/image/compressed": self.IMAGE}) as recording:
            assert recording.image_topic() == "/image"

    def test_two_cameras_have_to_be_named(self, tmp_path):
        topics = {"/left/image": self.IMAGE, "/right/image": self.IMAGE, "/left/camera_info": self.INFO}
        topics["/right/camera_info"] = self.INFO
        with open_with(tmp_path, topics) as recording:
            with pytest.raises(InputError, match="--image-topic: /left/image, /right/image"):
                recording.image_topic()
            assert recording.camera_info_topic("/right/image") == "/right/camera_info"

    def test_a_twist_is_better_ground_truth_than_a_gyroscope(self, tmp_path):
        with open_with(tmp_path, {"/imu": self.IMU, "/truth": self.TWIST}) as recording:
            assert recording.ground_truth_topic() == "/truth"
            assert recording.ground_truth_topic("/imu") == "/imu"

    def test_two_gyroscopes_have_to_be_named(self, tmp_path):
        with (
            open_with(tmp_path, {"/gyro": self.IMU, "/accel": self.IMU}) as recording,
            pytest.raises(InputError, match="--ground-truth-topic: /accel, /gyro"),
        ):
            recording.ground_truth_topic()

    def test_there_need_not_be_ground_truth(self, tmp_path):
        with open_with(tmp_path, {"/image": self.IMAGE}) as recording:
            assert recording.ground_truth_topic() is None

    def test_a_missing_topic_is_answered_with_those_that_would_do(self, tmp_path):
        with open_with(tmp_path, {"/image": self.IMAGE, "/imu": self.IMU}) as recording:
            with pytest.raises(InputError, match="'/imgae' is not in the recording; --image-topic can be /image"):
                recording.image_topic("/imgae")
            with pytest.raises(InputError, match="has type sensor_msgs/msg/Imu; --image-topic can be /image"):
                recording.image_topic("/imu")
            with pytest.raises(InputError, match="no camera_info topic; it has /image, /imu"):
                recording.camera_info_topic("/image")
            with pytest.raises(InputError, match="no depth topic"):
                recording.depth_topic("auto")


class TestUnreadable:
    def test_nothing_there(self, tmp_path):
        with pytest.raises(InputError, match="does not exist"):
            Recording(tmp_path / "nothing")

    def test_a_folder_that_is_no_bag(self, tmp_path):
        with pytest.raises(InputError, match="cannot be read as a rosbag2"):
            Recording(tmp_path)

    @pytest.mark.parametrize("path", ["/dev/null", "/" + 300 * "x"])
    def test_what_the_system_refuses(self, path):
        """As it does files and folders of other users."""
        with pytest.raises(InputError, match=r"recording '/.*' (cannot be read: Not a|cannot be read: File|does not)"):
            Recording(path)

    def test_a_file_that_is_no_bag(self, tmp_path):
        (tmp_path / "bag.mcap").write_bytes(b"not a recording")
        with pytest.raises(InputError, match="cannot be read as a rosbag2"):
            Recording(tmp_path / "bag.mcap")


def test_a_recording_of_another_image_transport_says_what_decodes_it(tmp_path):
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        packets = {"msgdef": "uint8[] data\n", "rihs01": "RIHS01_0"}
        writer.add_connection("/camera/image_raw/theora", "theora_image_transport/msg/Packet", **packets)
    with Recording(tmp_path / "bag") as recording, pytest.raises(InputError, match=r"/theora\. ros2 run .* republish"):
        recording.image_topic()
