"""Recordings: a rosbag2 (sqlite3 or MCAP) or ROS 1 bag, read message after message without a ROS installation."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.messages.camera_info import camera_from_info, camera_info_problems, other_frames
from image_as_imu_ros.messages.depth import decode_compressed_depth, decode_depth
from image_as_imu_ros.messages.exposure import EXPOSURE_TYPES
from image_as_imu_ros.messages.image_files import REPUBLISH
from image_as_imu_ros.messages.images import decode_compressed, decode_image, stamp_to_nanoseconds
from image_as_imu_ros.messages.intensity import IntensityWindow
from image_as_imu_ros.messages.stamps import DEPTH_TOLERANCE, RESTART
from image_as_imu_ros.recordings.storage import Storage

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
# Kinds of ground truth, the most telling first: where several are recorded, an earlier kind is taken.
GROUND_TRUTH_KINDS = (
    ("geometry_msgs/msg/TwistStamped", "geometry_msgs/msg/TwistWithCovarianceStamped"),
    ("nav_msgs/msg/Odometry",),
    ("geometry_msgs/msg/PoseStamped", "geometry_msgs/msg/PoseWithCovarianceStamped"),
    ("sensor_msgs/msg/Imu",),
)
GROUND_TRUTH_TYPES = tuple(name for kind in GROUND_TRUTH_KINDS for name in kind)

_MOST_HELD = 2  # images by which one may be recorded too late
_MOST_WAITING = 10  # images held back for a depth image that was recorded later


@dataclass(frozen=True)
class CameraMessages:
    """One image message and what belongs to it, not yet decoded.

    Attributes:
        image, camera_info: messages. depth: message, or None.
        window: what 16-bit images of this pass over the recording go through, one after the other as in the node.
        stamp: of the image's header, ns. frame_id: of the image's header.
    """

    image: Any
    camera_info: Any
    depth: Any | None
    window: IntensityWindow

    @property
    def stamp(self) -> int:
        return stamp_to_nanoseconds(self.image.header.stamp)

    @property
    def frame_id(self) -> str:
        return self.image.header.frame_id

    def problems(self, topic: str) -> list[str]:
        """List what is odd about the camera of an image that came on `topic`, and what may be another camera's.

        Raises:
            InputError: as `camera`.
        """
        depth = "" if self.depth is None else self.depth.header.frame_id
        of_other_frames = other_frames(self.frame_id, self.camera_info.header.frame_id, depth)
        return camera_info_problems(self.camera_info, topic) + of_other_frames

    def camera(self) -> Camera:
        """Read the intrinsics.

        Raises:
            InputError: the camera is not calibrated.
        """
        return camera_from_info(self.camera_info)

    def decode_image(self, colour: str) -> np.ndarray:
        """Decode to (H, W) uint8 for "gray", (H, W, 3) for "rgb": each image once, in the order of the frames.

        Raises:
            InputError: the image cannot be decoded.
        """
        decode = decode_compressed if hasattr(self.image, "format") else decode_image
        return decode(self.image, colour, self.window)

    def decode_depth(self) -> np.ndarray | None:
        """Decode to (H, W) float32 m; None without depth.

        Raises:
            InputError: the depth image cannot be decoded.
        """
        if self.depth is None:
            return None
        return decode_compressed_depth(self.depth) if hasattr(self.depth, "format") else decode_depth(self.depth)


class Recording(AbstractContextManager):
    """An open recording. Topics are chosen by name or found by type.

    Attributes:
        path: of the recording: its folder or its one file.
        topics: name → message type.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a recording.

        Raises:
            InputError: it does not exist or cannot be read.
        """
        self.path = Path(path)
        try:
            if not self.path.exists():
                raise InputError(f"recording {str(path)!r} does not exist")
            self._storage = Storage(self.path)
        except OSError as error:  # not allowed, or neither a file nor a folder
            raise InputError(f"recording {str(path)!r} cannot be read: {error.strerror or error}") from None
        self.topics = {connection.topic: connection.msgtype for connection in self._storage.connections}

    def __exit__(self, *_) -> None:
        self._storage.close()

    def count(self, topic: str) -> int:
        """Count the messages of a topic."""
        return sum(connection.msgcount for connection in self._storage.connections if connection.topic == topic)

    def messages(self, *topics: str) -> Iterator[tuple[str, Any]]:
        """Yield (topic, message) in the order of recording. Messages that are damaged are left out and logged, once.

        Raises:
            InputError: a type is not known, or nothing of the recording is whole.
        """
        connections = [connection for connection in self._storage.connections if connection.topic in topics]
        for connection, message in self._storage.messages(connections):
            yield connection.topic, message

    def image_topic(self, name: str | None = None) -> str:
        """Choose the topic of images: `name`, or the only one there is.

        Depth streams are no images. Of one stream recorded raw and compressed, raw is taken.

        Raises:
            InputError: no such topic, or none, or several.
        """
        types = (IMAGE, COMPRESSED_IMAGE)
        if name is not None:
            return self._named(name, types, "--image-topic")
        found = [topic for topic in self._of_type(*types) if "depth" not in topic.lower()]
        return self._only(found, "image", "--image-topic")

    def camera_info_topic(self, image_topic: str, name: str | None = None) -> str:
        """Choose the topic of the intrinsics: `name`, or the one beside the images, or the only one there is."""
        if name is not None:
            return self._named(name, (CAMERA_INFO,), "--camera-info-topic")
        found = self._of_type(CAMERA_INFO)
        beside = f"{_stream(image_topic).rpartition('/')[0]}/camera_info"
        return beside if beside in found else self._only(found, "camera_info", "--camera-info-topic")

    def depth_topic(self, name: str) -> str:
        """Choose the topic of depth images: `name`, or the only one there is if that is "auto"."""
        types = (IMAGE, COMPRESSED_IMAGE)
        if name != "auto":
            return self._named(name, types, "--depth-topic")
        found = [topic for topic in self._of_type(*types) if "depth" in topic.lower()]
        return self._only(found, "depth", "--depth-topic")

    def ground_truth_topic(self, name: str | None = None) -> str | None:
        """Choose the topic to compare with: `name`, or one of the most telling kind there is, or None.

        Kinds: a twist, an odometry, a pose, a gyroscope, in this order.

        Raises:
            InputError: no such topic, or several of that kind.
        """
        if name is not None:
            return self._named(name, GROUND_TRUTH_TYPES, "--ground-truth-topic")
        found = next(filter(None, (self._of_type(*kind) for kind in GROUND_TRUTH_KINDS)), None)
        return self._only(found, "ground truth", "--ground-truth-topic") if found else None

    def exposure_topic(self, source: str, name: str | None = None) -> str | None:
        """Choose the topic of each frame's exposure: `name`, or the only one of that kind, or None if there is none.

        Points are many things: only a topic that is called exposure is taken for one.

        Args:
            source: key of EXPOSURE_TYPES.

        Raises:
            InputError: no topic `name` of that type, or several to choose from.
        """
        type_name = EXPOSURE_TYPES[source]
        if name is not None:
            return self._named(name, (type_name,), "--exposure-topic")
        found = [topic for topic in self._of_type(type_name) if source != "topic" or "exposure" in topic.lower()]
        return self._only(found, "exposure", "--exposure-topic") if found else None

    def frames(self, image_topic: str, info_topic: str, depth_topic: str | None = None) -> Iterator[CameraMessages]:
        """Yield images, each with the latest camera_info and the depth image nearest in time.

        They come in the order of recording, but that a few which were recorded out of order are put right. The first
        frames, recorded before any camera_info, get the first one.

        Raises:
            InputError: the recording is damaged or holds no camera_info.
        """
        camera_info = next((message for _, message in self.messages(info_topic)), None)
        if camera_info is None:
            raise InputError(
                f"topic {info_topic!r} has no messages that can be read, so the camera's intrinsics are not known"
            )
        yield from _in_order(self._matched(camera_info, image_topic, info_topic, depth_topic))

    def _matched(
        self, camera_info: Any, image_topic: str, info_topic: str, depth_topic: str | None
    ) -> Iterator[CameraMessages]:
        """As `frames`, in the order of recording."""
        window = IntensityWindow()
        waiting: deque[tuple[Any, Any]] = deque()
        depths: deque[Any] = deque(maxlen=2 * _MOST_WAITING)
        for topic, message in self.messages(image_topic, info_topic, *([depth_topic] if depth_topic else [])):
            if topic == info_topic:
                camera_info = message
            elif topic == image_topic:
                waiting.append((message, camera_info))
            else:
                depths.append(message)
            while waiting and (depth_topic is None or len(waiting) > _MOST_WAITING or _passed(depths, waiting[0][0])):
                image, info = waiting.popleft()
                yield CameraMessages(image, info, _nearest(depths, image), window)
        for image, info in waiting:
            yield CameraMessages(image, info, _nearest(depths, image), window)

    def _of_type(self, *types: str) -> list[str]:
        return sorted(topic for topic, type_name in self.topics.items() if type_name in types)

    def _named(self, name: str, types: tuple[str, ...], option: str) -> str:
        if name not in self.topics:
            raise InputError(
                f"topic {name!r} is not in the recording; {option} can be {_listed(self._of_type(*types))}"
            )
        if self.topics[name] not in types:
            raise InputError(
                f"topic {name!r} has type {self.topics[name]}; {option} can be {_listed(self._of_type(*types))}"
            )
        return name

    def _only(self, found: list[str], what: str, option: str) -> str:
        if not found:
            hint = f". {REPUBLISH}" if what in ("image", "depth") else ""
            raise InputError(f"the recording has no {what} topic; it has {_listed(sorted(self.topics))}{hint}")
        if len({_stream(topic) for topic in found}) > 1:
            raise InputError(f"the recording has several {what} topics; choose one with {option}: {_listed(found)}")
        return min(found, key=len)


def _stream(topic: str) -> str:
    """Strip the name of the suffix of its transport: the same for a raw topic and its compressed twin."""
    for suffix in ("/compressed", "/compressedDepth"):
        topic = topic.removesuffix(suffix)
    return topic


def _in_order(frames: Iterable[CameraMessages]) -> Iterator[CameraMessages]:
    """Sort frames by stamp, a few of them at a time; where stamps jump back for good, a new sequence begins."""
    held: list[CameraMessages] = []
    for frame in frames:
        if held and frame.stamp < held[-1].stamp - RESTART:
            yield from held
            held = []
        insort(held, frame, key=lambda one: one.stamp)
        if len(held) > _MOST_HELD:
            yield held.pop(0)
    yield from held


def _passed(depths: deque, image: Any) -> bool:
    """Whether no later depth image can be nearer to `image`."""
    return bool(depths) and stamp_to_nanoseconds(depths[-1].header.stamp) >= stamp_to_nanoseconds(image.header.stamp)


def _nearest(depths: deque, image: Any) -> Any | None:
    stamp = stamp_to_nanoseconds(image.header.stamp)
    distance = {abs(stamp_to_nanoseconds(depth.header.stamp) - stamp): depth for depth in depths}
    nearest = min(distance, default=DEPTH_TOLERANCE + 1)
    return distance[nearest] if nearest <= DEPTH_TOLERANCE else None


def _listed(topics: list[str]) -> str:
    return ", ".join(topics) or "none of its topics"
