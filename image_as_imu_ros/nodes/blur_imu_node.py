"""The lifecycle node blur_imu_node: camera images in, sensor_msgs/Imu and geometry_msgs/TwistWithCovarianceStamped out.

Callbacks run in a single-threaded executor and only store what arrives; one worker thread decodes, estimates and
publishes. Entities (subscriptions, publishers, timers) are created and destroyed by lifecycle transitions only.
"""

from __future__ import annotations

import argparse
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistWithCovarianceStamped
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rclpy.utilities import remove_ros_args
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame, Shutter
from image_as_imu_ros.evaluation.overlay import draw_overlay
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.messages.images import stamp_to_nanoseconds
from image_as_imu_ros.nodes.buffers import Slot
from image_as_imu_ros.nodes.diagnostics import Health
from image_as_imu_ros.nodes.exposure_sources import EXPOSURE_TOPICS, contradiction, exposure_reader
from image_as_imu_ros.nodes.frames import FrameAssembler, Refused, refusing
from image_as_imu_ros.nodes.message_conversion import diagnostics_message, image_message, imu_message, twist_message
from image_as_imu_ros.nodes.parameters import Settings, declare_settings
from image_as_imu_ros.nodes.rate_hint import rate_hint_reader
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_BESIDE = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
_OUTPUT = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


@dataclass(frozen=True)
class _Received:
    """An image message and when it came, s of the monotonic clock."""

    message: Image | CompressedImage
    arrival: float


@dataclass(frozen=True)
class _Answered:
    """A frame that went into the estimator; with `sign_resolution: centered` its answer comes one frame later."""

    received: _Received
    frame: Frame


def _logging_errors(transition: Callable) -> Callable:
    """rclpy turns an exception in a transition into ERROR without a word."""

    @wraps(transition)
    def logged(node: BlurImuNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            node.get_logger().error(f"{transition.__name__} failed:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR

    return logged


class _RosLogHandler(logging.Handler):
    """Python's log records into a ROS logger."""

    def __init__(self, logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # rclpy wants one severity per calling line.
        if record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())


@contextmanager
def _engines_heard(logger) -> Iterator[None]:
    """What engines log while they load (why one is passed over, that a plan is built) goes to the node's log."""
    engines, handler = logging.getLogger("image_as_imu_ros.engine"), _RosLogHandler(logger)
    level, propagate = engines.level, engines.propagate
    engines.addHandler(handler)
    engines.setLevel(logging.INFO)
    engines.propagate = False
    try:
        yield
    finally:
        engines.removeHandler(handler)
        engines.setLevel(level)
        engines.propagate = propagate


class BlurImuNode(LifecycleNode):
    """See docs/node.md for topics and parameters.

    Raises:
        InputError: a parameter is refused.
    """

    def __init__(self, **kwargs) -> None:
        # Before rclpy's part: if that or a parameter fails, Kilted calls destroy_node on what is there.
        self._estimator: MotionEstimator | None = None
        self._publishers_by_topic = {}
        self._subscriptions_while_active = []
        self._diagnostics_timer = None
        self._worker: threading.Thread | None = None
        self._forget()
        super().__init__("blur_imu_node", **kwargs)
        self.settings = declare_settings(self)
        self.add_on_set_parameters_callback(self._change_settings)
        self._answer_impossible_transitions()

    def _forget(self) -> None:
        """Start with nothing seen."""
        self._slot: Slot[_Received] = Slot()
        self._assembler = FrameAssembler()
        self._health = Health()
        self._answered: deque[_Answered] = deque(maxlen=2)
        self._last_estimate: MotionEstimate | None = None
        self._hardware_id = ""

    def _answer_impossible_transitions(self) -> None:
        """Without this, one request for a transition that the state does not allow ends the process: rclpy raises."""
        change_state = self._service_change_state.callback

        def answer(request, response):
            try:
                return change_state(request, response)
            except RuntimeError as error:
                self.get_logger().warning(f"transition refused: {error}")
                response.success = False
                return response

        self._service_change_state.callback = answer

    def start(self) -> bool:
        """Configure and activate. Returns whether both succeeded."""
        return all(
            transition() == TransitionCallbackReturn.SUCCESS
            for transition in (self.trigger_configure, self.trigger_activate)
        )

    # Transitions

    @_logging_errors
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads and warms up the model, creates publishers. FAILURE, with one log line: they cannot be used here."""
        try:
            model = self.settings.model or resource(DEFAULT_MODEL)
            settings = self.settings
            with _engines_heard(self.get_logger()):
                self._estimator = MotionEstimator.from_model(
                    model,
                    settings.estimator,
                    engine=settings.engine,
                    threads=settings.threads,
                    precision=settings.precision,
                    dla_core=settings.dla_core,
                )
            if settings.exposure_source in EXPOSURE_TOPICS:
                exposure_reader(self.settings.exposure_source, self.settings.exposure_unit)
            if settings.rate_hint_type != "none":
                rate_hint_reader(settings.rate_hint_type)
            _warm_up(self._estimator)
        except InputError as error:
            self.get_logger().error(f"cannot be configured: {error}")
            self._free()
            return TransitionCallbackReturn.FAILURE
        self._publishers_by_topic = {
            "imu/data_raw": self.create_lifecycle_publisher(Imu, "imu/data_raw", _OUTPUT),
            "twist": self.create_lifecycle_publisher(TwistWithCovarianceStamped, "twist", _OUTPUT),
            "debug/image": self.create_lifecycle_publisher(Image, "debug/image", _OUTPUT),
            "/diagnostics": self.create_lifecycle_publisher(DiagnosticArray, "/diagnostics", _OUTPUT),
        }
        self.get_logger().info(f"configured: model {model}, engine {self._estimator.engine.name}")
        return super().on_configure(state)

    @_logging_errors
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribes and starts the worker."""
        self._forget()
        self._estimator.reset()
        settings = self.settings
        image_type = CompressedImage if settings.image_transport == "compressed" else Image
        self._subscriptions_while_active = [
            self.create_subscription(image_type, "image", self._on_image, _NEWEST),
            self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, _NEWEST),
        ]
        if settings.depth_transport != "none":
            depth_type = CompressedImage if settings.depth_transport == "compressed" else Image
            self._subscriptions_while_active.append(
                self.create_subscription(depth_type, "depth", self._on_depth, _NEWEST)
            )
        if settings.exposure_source in EXPOSURE_TOPICS:
            message_type, self._read_exposure = exposure_reader(settings.exposure_source, settings.exposure_unit)
            self._subscriptions_while_active.append(
                self.create_subscription(message_type, "exposure", self._on_exposure, _BESIDE)
            )
        if settings.rate_hint_type != "none":
            message_type, self._read_rate_hint = rate_hint_reader(settings.rate_hint_type)
            self._subscriptions_while_active.append(
                self.create_subscription(message_type, "rate_hint", self._on_rate_hint, _BESIDE)
            )
        # A steady clock: diagnostics must also come when simulated time stands still.
        self._diagnostics_timer = self.create_timer(
            settings.diagnostics_period, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        result = super().on_activate(state)
        self._worker = threading.Thread(target=self._work, args=(self._slot,), name="blur_imu_worker", daemon=True)
        self._worker.start()
        return result

    @_logging_errors
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Joins the worker and unsubscribes."""
        self._stop()
        return super().on_deactivate(state)

    @_logging_errors
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees the model."""
        self._free()
        return TransitionCallbackReturn.SUCCESS

    @_logging_errors
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Frees everything, from any state."""
        self._stop()
        self._free()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an unexpected error in a transition: back to unconfigured."""
        self._stop()
        self._free()
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Also stops the worker, whatever the state."""
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
        for publisher in self._publishers_by_topic.values():
            self.destroy_lifecycle_publisher(publisher)
        self._publishers_by_topic = {}
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

    def _on_exposure(self, message) -> None:
        try:
            exposure = self._read_exposure(message)
        except InputError as error:
            self._refuse(Refused("exposure", str(error)))
            return
        if exposure is not None:
            self._assembler.exposures.add(stamp_to_nanoseconds(message.header.stamp), exposure)

    def _on_rate_hint(self, message) -> None:
        hint = self._read_rate_hint(message)
        if hint is not None:
            self._assembler.rate_hints.add(stamp_to_nanoseconds(message.header.stamp), hint)

    def _change_settings(self, parameters) -> SetParametersResult:
        """Checks new parameter values and, if all are good, uses them from the next frame on."""
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
        problems = []
        if self._assembler.exposure_watch.stuck:
            problems.append(
                "the values on the topic exposure stay the same while the brightness changes: with auto-exposure they "
                "are wrong; set the exposure by hand and give it as exposure_time with exposure_source: parameter"
            )
        estimate = self._last_estimate
        given = self.settings.exposure_source != "estimate"
        if given and estimate is not None and estimate.measured_exposure is not None:
            problem = contradiction(estimate.exposure, estimate.measured_exposure)
            problems += [problem] if problem else []
        report = self._health.report(self._image_topic_state(), problems, self._details())
        name = f"{self.get_fully_qualified_name().lstrip('/')}: camera motion"
        message = diagnostics_message(report, name, self._hardware_id, self.get_clock().now().to_msg())
        self._publishers_by_topic["/diagnostics"].publish(message)

    def _image_topic_state(self) -> str:
        """Who publishes the images, for people who wonder why none arrive."""
        topic = self.resolve_topic_name("image")
        publishers = self.get_publishers_info_by_topic(topic)
        expected = "CompressedImage" if self.settings.image_transport == "compressed" else "Image"
        others = {info.topic_type for info in publishers if info.topic_type != f"sensor_msgs/msg/{expected}"}
        if not publishers:
            return f"nobody publishes on {topic}"
        if others:
            return f"{topic} carries {', '.join(others)}, expected {expected} (see image_transport)"
        hint = "; large images need the Fast DDS profile at their sender (docs/node.md)" if expected == "Image" else ""
        return f"{topic} has {len(publishers)} publisher(s){hint}"

    def _details(self) -> dict[str, str]:
        details = {"engine": self._estimator.engine.name, "exposure from": self._assembler.exposure_origin}
        if self.settings.motion_model == "full":
            details["depth from"] = self._assembler.depth_origin
        if self.settings.rate_hint_type != "none":
            details["rate hint"] = "used" if self._assembler.rate_hint_found else "none within 0.1 s"
        estimate = self._last_estimate
        if estimate is not None:
            sign_resolution = "resolved" if estimate.sign_resolved else "unresolved"
            details |= {
                "measurement": estimate.measurement,
                "exposure (s)": f"{estimate.exposure:.4g}",
                "exposure relative error": f"{estimate.exposure_log_std:.0%}",
                "sign": f"{sign_resolution} (probability {estimate.sign_probability:.3f})",
                "mean blur (px at 320 px width)": f"{estimate.mean_flow:.1f}",
                "residual": f"{estimate.residual:.2f}",
                "inliers": f"{estimate.inliers:.2f}",
                "log-likelihood ratio of spectra": f"{estimate.log_likelihood_ratio:.0f}",
            }
            if (measured := estimate.measured_exposure) is not None:
                details["exposure by blur (s)"] = f"{measured.seconds:.4g} ± {measured.log_std:.0%}"
        alignment = self._estimator.alignment
        if alignment is not None:
            accepted = f"accepted (similarity {alignment.similarity:.2f})"
            details["alignment"] = alignment.rejection.message if alignment.rejection else accepted
        return details

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
        """One image → Imu and Twist.

        Raises:
            Refused: the frame cannot be used.
        """
        settings, estimator = self.settings, self._estimator
        frame = self._assembler.assemble(received.message, settings, estimator.engine.info.colour)
        if settings.exposure_source != self._assembler.exposure_origin == "parameter":
            self._health.count("exposure fallback")
        if settings.rate_hint_type != "none" and not self._assembler.rate_hint_found:
            self._health.count("without rate hint")
        with refusing("estimate"):
            estimate = estimator.update(frame)
        self._answered.append(_Answered(received, frame))
        if estimate is not None:
            answered = next(answered for answered in self._answered if answered.frame.stamp == estimate.header_stamp)
            self._publish(estimate, answered, settings)
        elif settings.measurement == "aligned":
            self._health.count("not aligned")

    def _publish(self, estimate: MotionEstimate, answered: _Answered, settings: Settings) -> None:
        frame_id = self._hardware_id = answered.received.message.header.frame_id
        self._last_estimate = estimate
        if estimate.ambiguous and not settings.publish_unresolved and settings.sign_resolution != "axial":
            self._health.count("ambiguous")
        else:
            self._publishers_by_topic["imu/data_raw"].publish(imu_message(estimate, frame_id))
            self._publishers_by_topic["twist"].publish(twist_message(estimate, frame_id))
            self._health.count(estimate.measurement)
            self._health.published(time.monotonic() - answered.received.arrival)
        debug = self._publishers_by_topic["debug/image"]
        if debug.get_subscription_count() > 0:
            debug.publish(image_message(draw_overlay(answered.frame.image, estimate), estimate.stamp, frame_id))

    def _refuse(self, refusal: Refused) -> None:
        if self._health.refused(refusal.reason, str(refusal)):
            self.get_logger().warning(f"{refusal.reason}: {refusal}")


def _warm_up(estimator: MotionEstimator) -> None:
    """Do once what is slow only the first time: inference, solving, serialisation of each message type."""
    info = estimator.engine.info
    camera = Camera(info.width, info.height, info.width, info.width, info.width / 2, info.height / 2)
    shape = (info.height, info.width) if info.colour == "gray" else (info.height, info.width, 3)
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for stamp in (1, 2):
        estimator.update(Frame(image, stamp * 10_000_000, camera, Shutter(exposure=0.01)))
    estimator.reset()
    for message in (Imu(), TwistWithCovarianceStamped(), Image(), DiagnosticArray()):
        serialize_message(message)


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
        rclpy.try_shutdown()
    return 0
