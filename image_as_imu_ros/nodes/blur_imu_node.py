"""The lifecycle node blur_imu_node: camera images in, sensor_msgs/Imu and geometry_msgs/TwistWithCovarianceStamped out.

Callbacks run in a single-threaded executor and only store what arrives; one worker thread decodes, estimates and
publishes. Entities (subscriptions, publishers, timers) are created and destroyed by lifecycle transitions only.
"""

from __future__ import annotations

import argparse
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType  # pyright: ignore[reportPrivateImportUsage]  # Humble has no other place
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from rclpy.utilities import remove_ros_args, try_shutdown
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import Measurement, MotionModel, SignResolution
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame
from image_as_imu_ros.estimation.repeats import RepeatedImageError
from image_as_imu_ros.messages.images import stamp_to_nanoseconds
from image_as_imu_ros.nodes.buffers import Slot
from image_as_imu_ros.nodes.diagnostics import Health, alignment_state, estimate_details, image_topic_state
from image_as_imu_ros.nodes.engine_log import engines_log_to
from image_as_imu_ros.nodes.exposure_sources import EXPOSURE_TOPICS, ExposureSource, exposure_problems, exposure_reader
from image_as_imu_ros.nodes.frames import FrameAssembler, Refused, refusing
from image_as_imu_ros.nodes.message_conversion import diagnostics_message
from image_as_imu_ros.nodes.outputs import Outputs
from image_as_imu_ros.nodes.parameters import Settings, declare_settings
from image_as_imu_ros.nodes.rate_hint import RateHintType, rate_hint_reader
from image_as_imu_ros.nodes.transitions import answer_impossible_transitions, logging_errors
from image_as_imu_ros.nodes.warm_up import warm_up
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_SEVERAL = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


@dataclass(frozen=True)
class _Received:
    """An image message and when it came, s of the monotonic clock."""

    message: Image | CompressedImage
    arrival: float


@dataclass(frozen=True)
class _Processed:
    """A frame that the estimator has; with `sign_resolution: centered` its estimate comes one frame later."""

    received: _Received
    frame: Frame


class BlurImuNode(LifecycleNode):
    """See docs/node.md for topics and parameters.

    Raises:
        InputError: a parameter is refused.
    """

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters. The arguments are those of LifecycleNode, but for the name."""
        # Before rclpy's part: if that or a parameter fails, Kilted calls destroy_node on what is there.
        self._estimator: MotionEstimator | None = None
        self._outputs: Outputs | None = None
        self._subscriptions_while_active: list[Subscription] = []
        self._diagnostics_timer: Timer | None = None
        self._worker: threading.Thread | None = None
        self._forget()
        super().__init__("blur_imu_node", **kwargs)
        self.settings = declare_settings(self)
        self.add_on_set_parameters_callback(self._change_settings)
        answer_impossible_transitions(self)

    def _forget(self) -> None:
        """Start with nothing seen."""
        self._slot: Slot[_Received] = Slot()
        self._assembler = FrameAssembler()
        self._health = Health()
        self._processed: deque[_Processed] = deque(maxlen=2)
        self._last_estimate: MotionEstimate | None = None
        self._frame_id = ""

    def _configured(self) -> tuple[MotionEstimator, Outputs]:
        """Give what exists from on_configure to on_cleanup."""
        assert self._estimator is not None
        assert self._outputs is not None
        return self._estimator, self._outputs

    def start(self) -> bool:
        """Configure and activate, and tell whether both succeeded."""
        return all(
            transition() == TransitionCallbackReturn.SUCCESS
            for transition in (self.trigger_configure, self.trigger_activate)
        )

    # Transitions

    @logging_errors
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load and warm up the model, create publishers. FAILURE, with one log line: they cannot be used here."""
        try:
            model = self.settings.model or resource(DEFAULT_MODEL)
            estimator = self._estimator = self._load(model)
            if self.settings.exposure_source in EXPOSURE_TOPICS:
                exposure_reader(self.settings.exposure_source, self.settings.exposure_unit)
            if self.settings.rate_hint_type != RateHintType.NONE:
                rate_hint_reader(self.settings.rate_hint_type)
            warm_up(estimator)
        except InputError as error:
            self.get_logger().error(f"cannot be configured: {error}")
            self._free()
            return TransitionCallbackReturn.FAILURE
        self._outputs = Outputs.create(self)
        self.get_logger().info(f"configured: model {model}, engine {estimator.engine.name}")
        return super().on_configure(state)

    def _load(self, model: str | Path) -> MotionEstimator:
        settings = self.settings
        with engines_log_to(self.get_logger()):
            return MotionEstimator.from_model(
                model,
                settings.estimator,
                engine=settings.engine,
                threads=settings.threads,
                precision=settings.precision,
                dla_core=settings.dla_core,
            )

    @logging_errors
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the worker."""
        estimator, _ = self._configured()
        self._forget()
        estimator.reset()
        self._subscribe()
        # A monotonic clock: diagnostics must also come when simulated time does not advance.
        self._diagnostics_timer = self.create_timer(
            self.settings.diagnostics_period, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        result = super().on_activate(state)
        self._worker = threading.Thread(target=self._work, args=(self._slot,), name="blur_imu_worker", daemon=True)
        self._worker.start()
        return result

    def _subscribe(self) -> None:
        settings = self.settings
        types = {"raw": Image, "compressed": CompressedImage}

        def subscribe(message_type: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile) -> None:
            self._subscriptions_while_active.append(self.create_subscription(message_type, topic, callback, qos))

        subscribe(types[settings.image_transport], "image", self._on_image, _NEWEST)
        subscribe(CameraInfo, "camera_info", self._on_camera_info, _NEWEST)
        if settings.depth_transport != "none":
            subscribe(types[settings.depth_transport], "depth", self._on_depth, _NEWEST)
        if settings.exposure_source in EXPOSURE_TOPICS:
            message_type, read_exposure = exposure_reader(settings.exposure_source, settings.exposure_unit)
            subscribe(message_type, "exposure", partial(self._on_exposure, read_exposure), _SEVERAL)
        if settings.rate_hint_type != RateHintType.NONE:
            message_type, read_rate_hint = rate_hint_reader(settings.rate_hint_type)
            subscribe(message_type, "rate_hint", partial(self._on_rate_hint, read_rate_hint), _SEVERAL)

    @logging_errors
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Join the worker and unsubscribe."""
        self._stop()
        return super().on_deactivate(state)

    @logging_errors
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self._free()
        return TransitionCallbackReturn.SUCCESS

    @logging_errors
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from any state."""
        self._stop()
        self._free()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured after an unexpected error in a transition."""
        self._stop()
        self._free()
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Stop the worker and free everything, whatever the state."""
        self._stop()
        self._free()
        super().destroy_node()

    def _stop(self) -> None:
        """Undo on_activate."""
        self._slot.close()
        if self._worker is not None:
            self._worker.join()
            self._worker = None
        for subscription in self._subscriptions_while_active:
            self.destroy_subscription(subscription)
        self._subscriptions_while_active = []
        if self._diagnostics_timer is not None:
            self.destroy_timer(self._diagnostics_timer)
            self._diagnostics_timer = None

    def _free(self) -> None:
        """Undo on_configure."""
        if self._outputs is not None:
            self._outputs.destroy(self)
            self._outputs = None
        if self._estimator is not None:
            self._estimator.engine.close()
            self._estimator = None

    # Callbacks, in the executor's thread

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._health.count("received")
        if self._slot.put(_Received(message, time.monotonic())):
            self._health.count("overwritten")

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._assembler.camera_info = message

    def _on_depth(self, message: Image | CompressedImage) -> None:
        self._assembler.depths.add(stamp_to_nanoseconds(message.header.stamp), message)

    def _on_exposure(self, read: Callable[[Any], float | None], message: Any) -> None:
        try:
            exposure = read(message)
        except InputError as error:
            self._refuse(Refused("exposure", str(error)))
            return
        if exposure is not None:
            self._assembler.exposures.add(stamp_to_nanoseconds(message.header.stamp), exposure)

    def _on_rate_hint(self, read: Callable[[Any], np.ndarray | None], message: Any) -> None:
        hint = read(message)
        if hint is not None:
            self._assembler.rate_hints.add(stamp_to_nanoseconds(message.header.stamp), hint)

    def _change_settings(self, parameters: list[Parameter]) -> SetParametersResult:
        """Check new parameter values and, if all are good, use them from the next frame on."""
        values = {p.name: p.value for p in parameters if p.name in Settings.__dataclass_fields__}
        try:
            settings = replace(self.settings, **values)
            if self._estimator is not None and settings.estimator != self.settings.estimator:
                self._estimator = MotionEstimator(self._estimator.engine, settings.estimator)
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        self.settings = settings
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        _, outputs = self._configured()
        source = self.settings.exposure_source
        problems = exposure_problems(self._assembler.exposure_watch, source, self._last_estimate)
        report = self._health.report(image_topic_state(self, self.settings), problems, self._details())
        name = f"{self.get_fully_qualified_name().lstrip('/')}: camera motion"
        outputs.diagnostics.publish(diagnostics_message(report, name, self._frame_id, self.get_clock().now().to_msg()))

    def _details(self) -> dict[str, str]:
        estimator, _ = self._configured()
        details = {"engine": estimator.engine.name, "exposure from": self._assembler.exposure_origin}
        if self.settings.motion_model == MotionModel.FULL:
            details["depth from"] = self._assembler.depth_origin
        if self.settings.rate_hint_type != RateHintType.NONE:
            details["rate hint"] = "used" if self._assembler.rate_hint_found else "none within 0.1 s"
        return details | estimate_details(self._last_estimate) | alignment_state(estimator.alignment)

    # The worker's thread

    def _work(self, slot: Slot[_Received]) -> None:
        while (received := slot.take()) is not None:
            try:
                self._answer(received)
            except Refused as refusal:
                self._refuse(refusal)
            except Exception:  # whatever one frame does, the next one gets its chance
                if not self.context.ok():
                    return
                self._refuse(Refused("internal error", traceback.format_exc()))

    def _answer(self, received: _Received) -> None:
        """Estimate from one image and publish.

        Raises:
            Refused: the frame cannot be used.
        """
        settings, (estimator, _) = self.settings, self._configured()
        frame = self._assembler.assemble(received.message, settings, estimator.engine.info.colour)
        if settings.exposure_source != self._assembler.exposure_origin == ExposureSource.PARAMETER:
            self._health.count("exposure fallback")
        if settings.rate_hint_type != RateHintType.NONE and not self._assembler.rate_hint_found:
            self._health.count("without rate hint")
        with refusing("estimate"):
            try:
                estimate = estimator.update(frame)
            except RepeatedImageError as error:
                raise Refused("repeated image", str(error)) from None
        self._processed.append(_Processed(received, frame))
        if estimate is not None:
            processed = next(one for one in self._processed if one.frame.stamp == estimate.header_stamp)
            self._publish(estimate, processed, settings)
        elif settings.measurement == Measurement.ALIGNED:
            self._health.count("not aligned")

    def _publish(self, estimate: MotionEstimate, processed: _Processed, settings: Settings) -> None:
        _, outputs = self._configured()
        self._frame_id = processed.received.message.header.frame_id
        self._last_estimate = estimate
        if estimate.ambiguous and not settings.publish_unresolved and settings.sign_resolution != SignResolution.AXIAL:
            self._health.count("ambiguous")
        else:
            outputs.publish(estimate, self._frame_id)
            self._health.count(estimate.measurement)
            self._health.published(time.monotonic() - processed.received.arrival)
        outputs.draw(estimate, processed.frame.image, self._frame_id)

    def _refuse(self, refusal: Refused) -> None:
        if self._health.refused(refusal.reason, str(refusal)):
            self.get_logger().warning(f"{refusal.reason}: {refusal}")


def main(argv: list[str]) -> int:
    """Run the node until it is interrupted.

    Raises:
        InputError: arguments or parameters are refused.
    """
    parser = argparse.ArgumentParser(
        prog="blur_imu_node",
        description="Camera images in, sensor_msgs/Imu and geometry_msgs/TwistWithCovarianceStamped out.",
        epilog="Parameters and remappings follow --ros-args, for example: "
        "--ros-args -p autostart:=true -p exposure_time:=0.01 -r image:=/camera/image_raw "
        "-r camera_info:=/camera/camera_info",
    )
    try:
        others = remove_ros_args(argv)
        rclpy.init(args=argv)
    except Exception as error:  # rcl's errors about arguments share no public base
        raise InputError(f"the arguments after --ros-args cannot be used: {error}") from None
    node = None
    try:
        parser.parse_args(others)
        node = BlurImuNode()
        if node.settings.autostart and not node.start():
            return 2
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if node is not None:
            node.destroy_node()
        try_shutdown()
    return 0
