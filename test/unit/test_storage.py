"""Recordings as they come from robots: foreign topics in them, cut off, without metadata, from ROS 1."""

from __future__ import annotations

import shutil
import sqlite3
import struct
import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import replay_bags as bags
import yaml
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.recordings.storage import recording_name

STAMPS = bags.frame_stamps(40)
IMAGE, INFO = "/camera/image_raw", "/camera/camera_info"
STORE = get_typestore(Stores.ROS2_JAZZY)
# Of rosbag2's own test resources: a definition that no parser of messages takes, as recorded of a service event.
SERVICE_EVENT = "service_msgs/ServiceEventInfo info\ntest_msgs/srv/BasicTypes_Request[<=1] request\n---\nint32 x\n"


def write(
    folder: Path,
    storage: StoragePlugin = StoragePlugin.MCAP,
    foreign: dict | None = None,
    compression: CompressionMode = CompressionMode.NONE,
) -> Path:
    """A camera, each image with its CameraInfo, and beside it topics of other kinds: topic → (type, options)."""
    bag = Writer(folder, version=Writer.VERSION_LATEST, storage_plugin=storage)
    bag.set_compression(compression, CompressionFormat.ZSTD)
    with bag as writer:
        others = [writer.add_connection(topic, kind, **options) for topic, (kind, options) in (foreign or {}).items()]
        connections = {}
        for number, stamp in enumerate(STAMPS):
            for topic, message in ((IMAGE, bags.raw_image_message(stamp, number)), (INFO, bags.camera_info(stamp))):
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=STORE)
                writer.write(connections[topic], stamp, STORE.serialize_cdr(message, message.__msgtype__))
            for other in others:
                writer.write(other, stamp, b"\0\1\0\0\0\0\0\0")
    return folder


def count(path: Path) -> int:
    with Recording(path) as recording:
        image = recording.image_topic()
        frames = list(recording.frames(image, recording.camera_info_topic(image)))
    assert [frame.stamp for frame in frames] == STAMPS[: len(frames)]
    assert all(np.isfinite(frame.decode_image("gray")).all() and frame.camera().fx > 0 for frame in frames[-3:])
    return len(frames)


def read(path: Path) -> list[int]:
    with Recording(path) as recording:
        return [frame.stamp for frame in recording.frames(IMAGE, INFO)]


def replace_schema_encoding(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    old, new = (struct.pack("<I", len(text)) + text for text in (old, new))
    assert len(old) == len(new)
    path.write_bytes(content.replace(old, new))


UNKNOWN = {"/state": ("my_robot_msgs/msg/State", {"msgdef": "int32 x\n", "rihs01": "RIHS01_0"})}


class TestUnrelatedTopics:
    def test_a_service_event_is_not_parsed(self, tmp_path):
        event = {"/service_event": ("test_msgs/srv/Basic_Event", {"msgdef": SERVICE_EVENT, "rihs01": "RIHS01_1"})}
        assert count(write(tmp_path / "bag", foreign=event)) == len(STAMPS)

    @pytest.mark.parametrize("encoding", [b"unknown", b"foreign"])
    def test_a_schema_of_another_kind_in_an_mcap(self, tmp_path, encoding):
        folder = write(tmp_path / "bag", foreign=UNKNOWN)
        replace_schema_encoding(next(folder.glob("*.mcap")), b"ros2msg", encoding)
        assert count(folder) == len(STAMPS)  # those of the camera too: they are standard

    def test_a_definition_that_the_recorder_did_not_find_in_a_database(self, tmp_path):
        folder = write(tmp_path / "bag", StoragePlugin.SQLITE3, UNKNOWN)
        with sqlite3.connect(next(folder.glob("*.db3"))) as database:
            database.execute("UPDATE message_definitions SET encoding = 'unknown' WHERE topic_type LIKE 'my_robot%'")
        assert count(folder) == len(STAMPS)

    def test_standard_types_come_from_the_store_where_the_recording_has_none(self, tmp_path):
        folder = write(tmp_path / "bag", StoragePlugin.SQLITE3, UNKNOWN)
        with sqlite3.connect(next(folder.glob("*.db3"))) as database:
            database.execute("DELETE FROM message_definitions WHERE topic_type = 'sensor_msgs/msg/CameraInfo'")
        assert count(folder) == len(STAMPS)

    def test_channels_of_other_serialisations_are_left_out(self, tmp_path):
        options = {"msgdef": "{}", "rihs01": "RIHS01_2", "serialization_format": "json"}
        json = {"/detections": ("foxglove.Detections", options)}
        assert count(write(tmp_path / "bag", foreign=json)) == len(STAMPS)

    def test_a_chosen_topic_of_an_unknown_type_is_named(self, tmp_path):
        folder = write(tmp_path / "bag", StoragePlugin.SQLITE3, UNKNOWN)
        with sqlite3.connect(next(folder.glob("*.db3"))) as database:
            database.execute("DELETE FROM message_definitions WHERE topic_type LIKE 'my_robot%'")
        with Recording(folder) as recording, pytest.raises(InputError, match=r"/state' has type my_robot_msgs/"):
            list(recording.messages("/state"))


class TestDamagedContainers:
    @pytest.mark.parametrize("share", [0.9, 0.6])
    def test_of_a_cut_mcap_the_whole_part_is_read_and_the_loss_is_said(self, tmp_path, caplog, share):
        content = next(write(tmp_path / "bag").glob("*.mcap")).read_bytes()
        cut = tmp_path / "cut.mcap"
        cut.write_bytes(content[: int(share * len(content))])
        assert share * 0.8 < count(cut) / len(STAMPS) <= share * 1.05
        (warning,) = caplog.messages
        assert "cut.mcap is cut off after" in warning
        assert "mcap recover cut.mcap" in warning

    def test_an_mcap_of_which_nothing_is_left_names_the_cure(self, tmp_path):
        content = next(write(tmp_path / "bag").glob("*.mcap")).read_bytes()
        (tmp_path / "cut.mcap").write_bytes(content[:60])
        with pytest.raises(InputError, match=r"cannot be read .* mcap recover cut\.mcap"):
            Recording(tmp_path / "cut.mcap")

    def test_of_a_cut_database_the_whole_part_is_read_and_the_cure_works(self, tmp_path, caplog):
        folder = write(tmp_path / "bag", StoragePlugin.SQLITE3)
        database = next(folder.glob("*.db3"))
        content = database.read_bytes()
        database.write_bytes(content[: int(0.6 * len(content))])
        found = count(folder)
        assert 0.5 < found / len(STAMPS) <= 0.62
        warning = caplog.messages[0]
        assert "bag.db3 is damaged" in warning
        if shutil.which("sqlite3"):
            cure = warning[warning.index("(") + 1 : warning.index(" makes a whole file")]
            subprocess.run(cure, shell=True, cwd=folder, check=True)
            caplog.clear()
            assert count(folder / "recovered.db3") == found
            assert not caplog.messages

    @pytest.mark.parametrize("given", ["killed", "killed/bag.db3"])
    @pytest.mark.parametrize("metadata", [True, False])
    def test_what_a_killed_recorder_left_in_the_databases_log_is_read(self, tmp_path, given, metadata):
        """So does rosbag2's profile for storage that is named resilient."""
        folder = write(tmp_path / "bag", StoragePlugin.SQLITE3)
        with closing(sqlite3.connect(folder / "bag.db3")) as database:
            database.execute("PRAGMA journal_mode = WAL")
            half = "SELECT id, topic_id, timestamp, data FROM messages WHERE id > (SELECT max(id) / 2 FROM messages)"
            rows = database.execute(half).fetchall()
            database.executemany("DELETE FROM messages WHERE id = ?", [row[:1] for row in rows])
            database.commit()
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows)
            database.commit()
            shutil.copytree(folder, tmp_path / "killed")
        if not metadata:
            (tmp_path / "killed/metadata.yaml").unlink()
        assert count(tmp_path / given) == len(STAMPS)

    @pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
    @pytest.mark.parametrize("metadata", [True, False])
    def test_a_damaged_page_of_a_database_costs_few_messages(self, tmp_path, caplog, share, metadata):
        folder = write(tmp_path / "bag", StoragePlugin.SQLITE3)
        database = next(folder.glob("*.db3"))
        content = bytearray(database.read_bytes())
        page = int(share * len(content) / 4096) * 4096
        content[page : page + 4096] = bytes(4096)
        database.write_bytes(content)
        if not metadata:
            (folder / "metadata.yaml").unlink()
        for _ in range(2):
            stamps = read(folder)
            assert len(STAMPS) - 4 <= len(stamps) < len(STAMPS)
            assert stamps == sorted(stamps)
        said = "\n".join(caplog.messages)
        assert "is damaged" in said or "cannot be decoded" in said
        assert "reindex" not in said

    def test_of_a_database_of_which_nothing_is_left_a_cure_is_named(self, tmp_path):
        folder = write(tmp_path / "bag", StoragePlugin.SQLITE3)
        database = next(folder.glob("*.db3"))
        database.write_bytes(database.read_bytes()[:4096])
        with pytest.raises(InputError, match=r"malformed.*; sqlite3 bag\.db3 \.dump \|"):
            Recording(folder)

    @pytest.mark.parametrize("data", [b"", b"\0\1\0\0" + 16 * b"\xff"])
    def test_messages_that_cannot_be_decoded_are_left_out_and_said_once(self, tmp_path, caplog, data):
        folder = write(tmp_path / "bag", StoragePlugin.SQLITE3)
        with sqlite3.connect(next(folder.glob("*.db3"))) as database:
            image = "(SELECT id FROM topics WHERE name = ?)"
            rows = database.execute(f"SELECT id FROM messages WHERE topic_id = {image}", (IMAGE,)).fetchall()
            database.executemany("UPDATE messages SET data = ? WHERE id = ?", [(data, *rows[i]) for i in (3, 7)])
        with Recording(folder) as recording:
            for _ in range(2):
                assert len(list(recording.frames(IMAGE, INFO))) == len(STAMPS) - 2
        (warning,) = caplog.messages
        assert f"holds 2 messages on '{IMAGE}' that cannot be decoded" in warning

    @pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
    def test_without_metadata_the_files_are_read_in_their_order(self, tmp_path, storage):
        folder = write(tmp_path / "bag", storage)
        (folder / "metadata.yaml").unlink()
        assert count(folder) == len(STAMPS)

    @pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
    def test_messages_that_are_compressed_one_by_one_are_read_without_metadata(self, tmp_path, storage):
        folder = write(tmp_path / "bag", storage, compression=CompressionMode.MESSAGE)
        assert count(folder) == len(STAMPS)
        (folder / "metadata.yaml").unlink()
        assert count(folder) == len(STAMPS)

    def test_an_empty_storage_identifier_is_made_up_for_by_the_files(self, tmp_path):
        folder = write(tmp_path / "bag")
        metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
        metadata["rosbag2_bagfile_information"]["storage_identifier"] = ""
        (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
        assert count(folder) == len(STAMPS)

    def test_a_missing_part_of_a_split_recording_is_said(self, tmp_path, caplog):
        folder = write(tmp_path / "bag")
        metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
        metadata["rosbag2_bagfile_information"]["relative_file_paths"].append("bag_1.mcap")
        (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
        assert count(folder) == len(STAMPS)
        assert "bag_1.mcap" in caplog.messages[0]

    def test_a_folder_without_recordings_says_so(self, tmp_path):
        with pytest.raises(InputError, match=r"holds no \.mcap and no \.db3 file"):
            Recording(tmp_path)


class TestRos1:
    @pytest.fixture
    def bag(self, tmp_path) -> Path:
        store = get_typestore(Stores.ROS1_NOETIC)
        types = store.types
        path = tmp_path / "drive.bag"
        with Ros1Writer(path) as writer:
            image = writer.add_connection(IMAGE, "sensor_msgs/msg/Image", typestore=store)
            info = writer.add_connection(INFO, "sensor_msgs/msg/CameraInfo", typestore=store)
            for number, stamp in enumerate(STAMPS):
                time = types["builtin_interfaces/msg/Time"](stamp // 10**9, stamp % 10**9)
                header = types["std_msgs/msg/Header"](number, time, "camera_optical")
                pixels = np.full(48 * 64, number, np.uint8)
                picture = types["sensor_msgs/msg/Image"](header, 48, 64, "mono8", 0, 64, pixels)
                k = np.array([50.0, 0, 32, 0, 50, 24, 0, 0, 1])
                region = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
                camera = types["sensor_msgs/msg/CameraInfo"](
                    header, 48, 64, "plumb_bob", np.zeros(5), k, np.eye(3).ravel(), np.zeros(12), 0, 0, region
                )
                for connection, message in ((image, picture), (info, camera)):
                    writer.write(connection, stamp, store.serialize_ros1(message, message.__msgtype__))
        return path

    def test_they_are_read(self, bag):
        assert count(bag) == len(STAMPS)

    @pytest.mark.parametrize("name", ["drive.bag", "drive.bag.active"])
    def test_one_that_was_not_closed_names_the_cure(self, bag, tmp_path, name):
        folder = tmp_path / "cut"
        folder.mkdir()
        (folder / name).write_bytes(bag.read_bytes()[:-3000])
        with pytest.raises(InputError, match=rf"ROS 1 bag that was not closed .*; cure: rosbag reindex {name}"):
            Recording(folder / name)

    def test_a_closed_one_may_still_be_called_active(self, bag):
        active = bag.with_suffix(".bag.active")
        shutil.move(bag, active)
        assert count(active) == len(STAMPS)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("run_0.5ms/", "run_0.5ms"),
        ("run_0.8ms/", "run_0.8ms"),
        ("walk.mcap/", "walk.mcap"),
        ("run_0.5ms/run_0.5ms_0.mcap", "run_0.5ms_0"),
        ("walk_0.db3", "walk_0"),
        ("walk_0.mcap.zstd", "walk_0"),
        ("2024-05-01.12.bag", "2024-05-01.12"),
        ("walk.bag.active", "walk"),
        ("run_0.5ms", "run_0.5ms"),
    ],
)
def test_only_what_files_of_recordings_end_with_is_no_part_of_their_names(tmp_path, path, name):
    file = tmp_path / path
    (file if path.endswith("/") else file.parent).mkdir(exist_ok=True)
    if not path.endswith("/"):
        file.touch()
    assert recording_name(file) == recording_name(str(file)) == name


@pytest.mark.parametrize("single", [True, False])
def test_compressed_files_without_their_metadata_are_said_with_the_cure(tmp_path, single):
    store = get_typestore(Stores.ROS2_JAZZY)
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    message = bags.image_message(bags.FIRST_STAMP, 1)
    with writer:
        connection = writer.add_connection("/image", message.__msgtype__, typestore=store)
        writer.write(connection, 1, store.serialize_cdr(message, message.__msgtype__))
    (tmp_path / "bag" / "metadata.yaml").unlink()
    path = tmp_path / "bag" / "bag.mcap.zstd" if single else tmp_path / "bag"
    with pytest.raises(InputError, match=r"its files are compressed: unzstd bag\.mcap\.zstd, then give"):
        Recording(path)


@pytest.mark.parametrize(("given", "cure"), [("bag/metadata.yaml", "give its folder"), ("ros1", "give run_0.bag")])
def test_what_lies_beside_a_recording_is_not_given_in_its_place(tmp_path, given, cure):
    for name in ("bag/metadata.yaml", "ros1/run_0.bag", "ros1/run_1.bag"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=cure):
        Recording(tmp_path / given)
