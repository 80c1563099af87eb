"""The topics that the node listens to: their types and QoS, what is wrong with them, and what the log says of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rclpy.clock import Clock, ClockType  # pyright: ignore[reportPrivateImportUsage]  # Humble has no other place
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.messages.camera_info import camera_info_problems, other_frames
from image_as_imu_ros.messages.image_files import REPUBLISH
from image_as_imu_ros.messages.images import stamp_to_nanoseconds
from image_as_imu_ros.nodes.exposure_sources import EXPOSURE_TOPICS, exposure_reader
from image_as_imu_ros.nodes.outputs import OUTPUTS
from image_as_imu_ros.nodes.parameters import Settings
from image_as_imu_ros.nodes.rate_hint import RateHintType, rate_hint_reader

if TYPE_CHECKING:
    from rclpy.node import Node

_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_SEVERAL = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
_LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
VELOCITY_TOPICS = ("imu/data_raw", "twist")
_LATCHED_PERIOD = 0.5  # s between two searches for a publisher of a latched CameraInfo
_IMAGES = {"raw": Image, "compressed": CompressedImage}


@dataclass(frozen=True)
class Input:
    """A topic that the node listens to, by the name that it has before it is remapped."""

    topic: str
    message_type: type
    qos: QoSProfile

    @property
    def type_name(self) -> str:
        """Name of the type as ROS writes it."""
        return _name_of(self.message_type)


def inputs_of(settings: Settings) -> list[Input]:
    """List the topics that these settings need.

    Raises:
        InputError: a message type is not installed.
    """
    inputs = [
        Input("image", _IMAGES[settings.image_transport], _NEWEST),
        Input("camera_info", CameraInfo, _NEWEST),
    ]
    if settings.depth_transport != "none":
        inputs.append(Input("depth", _IMAGES[settings.depth_transport], _NEWEST))
    if settings.exposure_source in EXPOSURE_TOPICS:
        message_type, _ = exposure_reader(settings.exposure_source, settings.exposure_unit)
        inputs.append(Input("exposure", message_type, _SEVERAL))
    if settings.rate_hint_type != RateHintType.NONE:
        message_type, _ = rate_hint_reader(settings.rate_hint_type)
        inputs.append(Input("rate_hint", message_type, _SEVERAL))
    return inputs


class LatchedCameraInfo:
    """Receives a latched CameraInfo: one that was published once (transient local), perhaps before the node started.

    Only a transient-local subscription receives it. That one in turn does not match volatile publishers, which would
    log a warning about its QoS: so it is created once a transient-local publisher is seen.
    """

    def __init__(self, node: Node, callback: Callable[[Any], None]) -> None:
        self._node = node
        self._callback = callback
        self._subscription: Subscription | None = None
        self._timer = node.create_timer(_LATCHED_PERIOD, self.subscribe, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.subscribe()

    def subscribe(self) -> None:
        """Subscribe if there is a transient-local publisher."""
        publishers = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name("camera_info"))
        if any(info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for info in publishers):
            self._timer.cancel()
            self._subscription = self._node.create_subscription(CameraInfo, "camera_info", self._callback, _LATCHED)

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._timer)
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)


def topic_state(node: Node, source: Input) -> str:
    """Say who publishes on an input's topic, for people who wonder why nothing arrives."""
    topic = node.resolve_topic_name(source.topic)
    publishers = node.get_publishers_info_by_topic(topic)
    others = {info.topic_type for info in publishers if info.topic_type != source.type_name}
    if not publishers:
        return f"nobody publishes on {topic}"
    if others:
        hint = ""
        if source.topic in ("image", "depth"):
            is_taken = others <= {_name_of(message_type) for message_type in _IMAGES.values()}
            hint = f" (see {source.topic}_transport)" if is_taken else f"; {REPUBLISH}"
        return f"{topic} carries {', '.join(others)}, expected {source.type_name}{hint}"
    large = source.message_type is Image
    hint = "; large images need the Fast DDS profile at their sender (docs/node.md)" if large else ""
    return f"{topic} has {len(publishers)} publisher(s){hint}"


def stream_problems(
    node: Node, settings: Settings, camera_info: CameraInfo | None, frame_id: str | None, depth_frame_id: str
) -> list[str]:
    """List what is odd about the images' camera, and about who else publishes.

    Args:
        camera_info: the latest. frame_id: of the last image. None where there was none.
        depth_frame_id: of the last depth image, "" where there was none.
    """
    problems = [
        problem for topic in ("image", "camera_info", *VELOCITY_TOPICS) if (problem := _other_publishers(node, topic))
    ]
    if camera_info is not None:
        with suppress(InputError):  # that is said where it refuses a frame
            problems += camera_info_problems(camera_info, node.resolve_topic_name("image"))
    if frame_id is not None and (problem := frame_id_problem(frame_id, settings.frame_id)):
        problems.append(problem)
    of_camera_info = "" if camera_info is None else camera_info.header.frame_id
    problems += other_frames(frame_id or "", of_camera_info, depth_frame_id)
    return problems


def check_topics(node: Node, inputs: list[Input]) -> None:
    """Check that the node does not listen to its own velocities, nor to two types on one topic, which DDS refuses.

    Raises:
        InputError: it would, as it is remapped.
    """
    own = {node.resolve_topic_name(topic): topic for topic in VELOCITY_TOPICS}
    types = {node.resolve_topic_name(topic): message_type for topic, message_type in OUTPUTS.items()}
    for source in inputs:
        topic = node.resolve_topic_name(source.topic)
        if (other := types.setdefault(topic, source.message_type)) is not source.message_type:
            raise InputError(f"{source.topic} is {topic}, which carries {_name_of(other)} here, not {source.type_name}")
        if topic in own:
            raise InputError(
                f"the input {source.topic} is {topic}, which this node publishes itself: it would hear its own "
                f"velocities there; remap {own[topic]} to another name, or start the node in a namespace of its own"
            )


def _name_of(message_type: type) -> str:
    package = message_type.__module__.split(".")[0]
    return f"{package}/msg/{message_type.__name__}"


def _other_publishers(node: Node, topic: str) -> str:
    """Say that several publish on a topic where one alone belongs; empty if they do not."""
    name = node.resolve_topic_name(topic)
    count = node.count_publishers(name)  # which does not remap
    if count <= 1:
        return ""
    if topic == "image":
        return f"{name} has {count} publishers: between the images of two cameras there is no motion to measure"
    if topic == "camera_info":
        return f"{name} has {count} publishers: images are taken for those of whichever camera was described last"
    return (
        f"{name} has {count} publishers: a filter takes them for one sensor; remap "
        f"{topic} to another name, or start the node in a namespace of its own"
    )


def frame_id_problem(frame_id: str, override: str) -> str:
    """Say what is odd about the images' frame_id, or the parameter frame_id in its place; empty if nothing is."""
    if override:
        return ""
    if not frame_id:
        return (
            "the images have an empty frame_id, which robot_localization takes for base_link: set the parameter "
            "frame_id to the camera's optical frame"
        )
    if "optical" not in frame_id:
        return (
            f"the images' frame_id, {frame_id!r}, is not an optical frame (z forward, x right, y down) by its name: "
            "TF would rotate the velocities wrongly if it is another; set the parameter frame_id to the optical frame"
        )
    return ""


def describe_image(message: Image | CompressedImage) -> str:
    """Describe an image message in a few words."""
    what = (
        message.format
        if isinstance(message, CompressedImage)
        else f"{message.width}×{message.height} {message.encoding}"
    )
    return f"{what}, frame {message.header.frame_id!r}"


def describe_age(message: Image | CompressedImage, clock: Clock) -> str:
    """Say how old an image's stamp is: a filter predicts from it to its now, or waits until it is reached."""
    age = (clock.now().nanoseconds - stamp_to_nanoseconds(message.header.stamp)) * 1e-9
    return f"stamped {age:.3g} s ago" if age >= 0 else f"stamped {-age:.3g} s ahead of this node's time"


def describe_camera_info(message: CameraInfo) -> str:
    """Describe a CameraInfo message in a few words."""
    k = message.k
    lens = message.distortion_model if any(message.d) else "no distortion"
    return f"{message.width}×{message.height}, fx={k[0]:g}, fy={k[4]:g}, cx={k[2]:g}, cy={k[5]:g}, {lens}"
