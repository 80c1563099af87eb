"""What the demo hears from the node: answers with the time of their arrival, and diagnostics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Imu

from image_as_imu_ros.demo.child import DemoError
from image_as_imu_ros.messages.images import stamp_to_nanoseconds

_RELIABLE = QoSProfile(depth=100)


@dataclass
class Answer:
    """What came back for one frame. Arrival in ns of the system clock."""

    twist: TwistWithCovarianceStamped | None = None
    imu: Imu | None = None
    imu_arrival: int | None = None


class Listener:
    """Subscribes to the node's topics and drives its lifecycle.

    Attributes:
        answers: by stamp, ns.
        diagnostics: the last values of the node's diagnostics, by name.
    """

    def __init__(self) -> None:
        self.answers: dict[int, Answer] = {}
        self.diagnostics: dict[str, str] = {}
        self._node = Node("demo")
        self._node.create_subscription(Imu, "imu/data_raw", self._on_imu, _RELIABLE)
        self._node.create_subscription(TwistWithCovarianceStamped, "twist", self._on_twist, _RELIABLE)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, _RELIABLE)
        self._change_state = self._node.create_client(ChangeState, "blur_imu_node/change_state")

    def spin(self, seconds: float) -> None:
        """Receive for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            rclpy.spin_once(self._node, timeout_sec=left)

    def activate(self, check_process: Callable[[], None], patience: float) -> None:
        """Configure and activate blur_imu_node.

        Args:
            check_process: raises if the node's process has ended.
            patience: s, for each step.

        Raises:
            DemoError: the node does not answer or refuses.
        """
        self._wait(self._change_state.service_is_ready, "start", check_process, patience)
        for step, transition in (
            ("be configured", Transition.TRANSITION_CONFIGURE),
            ("be activated", Transition.TRANSITION_ACTIVATE),
        ):
            request = ChangeState.Request(transition=Transition(id=transition))
            future = self._change_state.call_async(request)
            self._wait(future.done, step, check_process, patience)
            response = future.result()
            if response is None or not response.success:
                raise DemoError(f"blur_imu_node refused to {step}")

    def _wait(self, done: Callable[[], bool], step: str, check_process: Callable[[], None], patience: float) -> None:
        deadline = time.monotonic() + patience
        while not done():
            check_process()
            if time.monotonic() > deadline:
                raise DemoError(f"blur_imu_node did not {step} within {patience:g} s")
            self.spin(0.05)

    def _answer(self, stamp: Time) -> Answer:
        return self.answers.setdefault(stamp_to_nanoseconds(stamp), Answer())

    def _on_imu(self, message: Imu) -> None:
        answer = self._answer(message.header.stamp)
        answer.imu, answer.imu_arrival = message, time.time_ns()

    def _on_twist(self, message: TwistWithCovarianceStamped) -> None:
        self._answer(message.header.stamp).twist = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith("blur_imu_node"):
                self.diagnostics = {pair.key: pair.value for pair in status.values}
