"""The topics that the node publishes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, Imu

from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.evaluation.overlay import draw_overlay
from image_as_imu_ros.nodes.frames import Refused
from image_as_imu_ros.nodes.message_conversion import image_message, imu_message, twist_message

_RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
OUTPUTS = {
    "imu/data_raw": Imu,
    "twist": TwistWithCovarianceStamped,
    "debug/image": Image,
    "/diagnostics": DiagnosticArray,
}


@dataclass(frozen=True)
class Outputs:
    """The publishers of a configured node; they are silent while the node is inactive."""

    imu: LifecyclePublisher
    twist: LifecyclePublisher
    debug_image: LifecyclePublisher
    diagnostics: LifecyclePublisher

    @classmethod
    def create(cls, node: LifecycleNode) -> Outputs:
        """Create the publishers on a node."""
        return cls(*(_publisher(node, message_type, topic) for topic, message_type in OUTPUTS.items()))

    def destroy(self, node: LifecycleNode) -> None:
        """Destroy the publishers of `node`."""
        for publisher in fields(self):
            node.destroy_lifecycle_publisher(getattr(self, publisher.name))

    def publish(self, estimate: MotionEstimate, frame_id: str) -> None:
        """Publish a velocity as Imu and Twist.

        Raises:
            Refused: a number in it is not finite, or the covariance not positive definite.
        """
        velocity = estimate.velocity
        if not (np.isfinite(velocity.vector).all() and np.isfinite(velocity.covariance).all()):
            raise Refused("estimate", "its velocity or covariance is not finite")
        if np.linalg.eigvalsh(velocity.covariance).min() <= 0:
            raise Refused("estimate", "the covariance of its velocity is not positive definite")
        self.imu.publish(imu_message(estimate, frame_id))
        self.twist.publish(twist_message(estimate, frame_id))

    def draw(self, estimate: MotionEstimate, image: np.ndarray, frame_id: str) -> None:
        """Publish the streaks over an image, where somebody subscribes to them."""
        if self.debug_image.get_subscription_count() > 0:
            self.debug_image.publish(image_message(draw_overlay(image, estimate), estimate.stamp, frame_id))


def _publisher(node: LifecycleNode, message_type: type, topic: str) -> LifecyclePublisher:
    publisher = node.create_lifecycle_publisher(message_type, topic, _RELIABLE)
    assert isinstance(publisher, LifecyclePublisher)
    return publisher


def serialise_once() -> None:
    """Serialise one message of each type: the first time takes tens of milliseconds."""
    for message_type in OUTPUTS.values():
        serialize_message(message_type())
