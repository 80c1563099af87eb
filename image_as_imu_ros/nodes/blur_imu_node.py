"""The lifecycle node blur_imu_node: camera images in, sensor_msgs/Imu and geometry_msgs/TwistWithCovarianceStamped out.

Callbacks run in a single-threaded executor and only store what arrives; of a pipeline's two threads, one decodes and
runs the network, the other estimates and publishes. Entities (subscriptions, publishers, timers) are created and
destroyed by lifecycle transitions only.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType  # pyright: ignore[reportPrivateImportUsage]  # Humble has no other place
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import Measurement, MotionModel, SignResolution
from image_as_imu_ros.estimation.estimate import MotionEstimate
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.exposure_check import reason_to_hold_back
from image_as_imu_ros.estimation.inferred_frame import InferredFrame
from image_as_imu_ros.estimation.repeats import RepeatedImageError
from image_as_imu_ros.messages.exposure import reporting_camera
from image_as_imu_ros.messages.images import stamp_to_nanoseconds
from image_as_imu_ros.nodes.buffers import Inferred, Processed, Received
from image_as_imu_ros.nodes.diagnostics import Health, LastEstimate, alignment_state, estimate_details
from image_as_imu_ros.nodes.exposure_sources import (
    EXPOSURE_TOPICS,
    ExposureSource,
    exposure_problems,
    exposure_reader,
)
from image_as_imu_ros.nodes.frames import FrameAssembler, Refused, Sources, refusing
from image_as_imu_ros.nodes.inputs import (
    LatchedCameraInfo,
    check_topics,
    describe_age,
    describe_camera_info,
    describe_image,
    inputs_of,
    stream_problems,
    topic_state,
)
from image_as_imu_ros.nodes.message_conversion import diagnostics_message
from image_as_imu_ros.nodes.outputs import Outputs
from image_as_imu_ros.nodes.parameters import Settings, declare_settings, warn_of_former_names
from image_as_imu_ros.nodes.pipeline import Pipeline
from image_as_imu_ros.nodes.progress import Progress
from image_as_imu_ros.nodes.rate_hint import RateHintType, rate_hint_reader
from image_as_imu_ros.nodes.stamp_order import StampOrder
from image_as_imu_ros.nodes.transitions import answer_impossible_transitions, logging_errors
from image_as_imu_ros.nodes.warm_up import load_estimator, warm_up
from image_as_imu_ros.resources import DEFAULT_MODEL, resource


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
        self._latched_camera_info: LatchedCameraInfo | None = None
        self._diagnostics_timer: Timer | None = None
        self._assembler = FrameAssembler()
        self._forget()
        super().__init__("blur_imu_node", **kwargs)
        self.settings = declare_settings(self)
        warn_of_former_names(self)
        self.add_on_set_parameters_callback(self._change_settings)
        answer_impossible_transitions(self)

    def _forget(self) -> None:
        """Forget all that was received but the last camera_info, which may be published only once."""
        self._pipeline = Pipeline(self._infer, self._answer, self._failed)
        self._assembler = FrameAssembler(self._assembler.camera_info)
        self._sources = Sources()
        self._health = Health()
        self._order = StampOrder()
        self._progress = Progress(self)
        self._processed: deque[Processed] = deque(maxlen=2)
        self._last_estimate = LastEstimate()
        self._frame_id: str | None = None  # of the last image
        self._depth_frame_id = ""  # of the last depth image

    def _configured(self) -> tuple[MotionEstimator, Outputs]:
        """Return the estimator and the publishers, which exist from on_configure to on_cleanup."""
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
        """Load and warm up the model, create publishers. FAILURE, and one line in the log: not possible here."""
        try:
            model = self.settings.model or resource(DEFAULT_MODEL)
            estimator = self._estimator = load_estimator(model, self.settings, self.get_logger())
            check_topics(self, inputs_of(self.settings))
            warm_up(estimator)
        except InputError as error:
            self.get_logger().error(f"cannot be configured: {error}")
            self._free()
            return TransitionCallbackReturn.FAILURE
        self._outputs = Outputs.create(self)
        self.get_logger().info(f"configured: model {model}, engine {estimator.engine.name}")
        return super().on_configure(state)

    @logging_errors
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the pipeline."""
        estimator, _ = self._configured()
        self._forget()
        estimator.reset()
        inputs = inputs_of(self.settings)
        callbacks = self._message_callbacks()
        for source in inputs:
            callback = self.guarded(callbacks[source.topic])
            self._subscriptions_while_active.append(
                self.create_subscription(source.message_type, source.topic, callback, source.qos)
            )
        self._latched_camera_info = LatchedCameraInfo(self, self.guarded(self._on_camera_info))
        # A monotonic clock: diagnostics must also come when simulated time does not advance.
        self._diagnostics_timer = self.create_timer(
            self.settings.diagnostics_period,
            self.guarded(self._publish_diagnostics),
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )
        result = super().on_activate(state)
        self._pipeline.start()
        topics = ", ".join(f"{self.resolve_topic_name(source.topic)} ({source.type_name})" for source in inputs)
        self.get_logger().info(f"active: listening to {topics}")
        if (kept := self._assembler.camera_info) is not None:
            self._on_camera_info(kept)
        return result

    def _message_callbacks(self) -> dict[str, Callable[[Any], None]]:
        """Map each topic that is listened to to the callback of its messages."""
        settings = self.settings
        callbacks = {"image": self._on_image, "camera_info": self._on_camera_info, "depth": self._on_depth}
        if settings.exposure_source in EXPOSURE_TOPICS:
            _, read_exposure = exposure_reader(settings.exposure_source, settings.exposure_unit)
            callbacks["exposure"] = partial(self._on_exposure, read_exposure)
        if settings.rate_hint_type != RateHintType.NONE:
            _, read_rate_hint = rate_hint_reader(settings.rate_hint_type)
            callbacks["rate_hint"] = partial(self._on_rate_hint, read_rate_hint)
        return callbacks

    def guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Wrap a callback, or a turn of the executor: exceptions, which would end the node, are counted and logged."""

        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:
                if self.context.ok():
                    self._refuse(self._unexpected(error))

        return guarded

    @logging_errors
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End the pipeline and unsubscribe."""
        self._stop()
        return super().on_deactivate(state)

    @logging_errors
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self._free()
        self._assembler = FrameAssembler()
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
        """End the pipeline and free everything, whatever the state."""
        self._stop()
        self._free()
        super().destroy_node()

    def _stop(self) -> None:
        """Undo on_activate."""
        self._pipeline.close()
        for subscription in self._subscriptions_while_active:
            self.destroy_subscription(subscription)
        self._subscriptions_while_active = []
        if self._latched_camera_info is not None:
            self._latched_camera_info.destroy()
            self._latched_camera_info = None
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
        self._frame_id = message.header.frame_id
        self._progress.first("image", lambda: f"{describe_image(message)}, {describe_age(message, self.get_clock())}")
        if self._pipeline.put(Received(message, time.monotonic())):
            self._health.count("overwritten")

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._assembler.camera_info = message
        self._progress.first("camera_info", lambda: describe_camera_info(message))

    def _on_depth(self, message: Image | CompressedImage) -> None:
        self._depth_frame_id = message.header.frame_id
        self._progress.first("depth", lambda: describe_image(message))
        self._assembler.depths.add(stamp_to_nanoseconds(message.header.stamp), message)

    def _on_exposure(self, read: Callable[[Any], float | None], message: Any) -> None:
        with self._message_refused("exposure"):
            exposure = read(message)
            if exposure is not None:
                camera = reporting_camera(self.settings.exposure_source, message.header)
                self._progress.first("exposure", lambda: f"{exposure:.4g} s")
                self._assembler.exposures.add(stamp_to_nanoseconds(message.header.stamp), exposure, camera)

    def _on_rate_hint(self, read: Callable[[Any], np.ndarray], message: Any) -> None:
        with self._message_refused("rate_hint"):
            hint = read(message)
            self._progress.first("rate_hint", lambda: f"{np.round(hint, 3)} rad/s in its own axes")
            self._assembler.rate_hints.add(stamp_to_nanoseconds(message.header.stamp), hint)

    @contextmanager
    def _message_refused(self, topic: str) -> Iterator[None]:
        """Count and log a message of this topic that cannot be used, and go on without it."""
        try:
            yield
        except InputError as error:
            self._progress.came(topic)
            self._refuse(Refused(topic, str(error)))

    def _change_settings(self, parameters: list[Parameter]) -> SetParametersResult:
        """Check new parameter values and, if all are good, use them from the next frame on."""
        values = {p.name: p.value for p in parameters if p.name in Settings.__dataclass_fields__}
        try:
            settings = replace(self.settings, **values)
            # With any of these, what earlier frames told is about something else: the measured exposure is a ratio to
            # the former value, and dt is between two mid-exposures.
            changed = any(
                getattr(settings, name) != getattr(self.settings, name)
                for name in ("estimator", "exposure_time", "stamp_reference", "readout_time")
            )
            estimator = self._estimator
            if estimator is not None and changed:
                estimator = MotionEstimator(estimator.engine, settings.estimator)
                self._last_estimate = LastEstimate()
        except InputError as error:
            return SetParametersResult(successful=False, reason=str(error))
        # In this order: a new estimator must not meet a frame of the former settings.
        self.settings, self._estimator = settings, estimator
        return SetParametersResult(successful=True)

    def _publish_diagnostics(self) -> None:
        _, outputs = self._configured()
        state = topic_state(self, inputs_of(self.settings)[0])
        report = self._health.report(state, self._problems(), self._details())
        self._progress.check(report.message)
        report = replace(report, error=report.warning and self._progress.silent)
        name = f"{self.get_fully_qualified_name().lstrip('/')}: camera motion"
        outputs.diagnostics.publish(
            diagnostics_message(report, name, self._frame_id or "", self.get_clock().now().to_msg())
        )

    def _problems(self) -> list[str]:
        """List what is wrong with the streams now; the log says each once."""
        last = self._last_estimate.recent(self.settings.diagnostics_period)
        problems = exposure_problems(self._assembler.exposure_watch, self.settings.exposure_source, last)
        camera_info = self._assembler.camera_info
        problems += stream_problems(self, self.settings, camera_info, self._frame_id, self._depth_frame_id)
        for problem in problems:
            self._progress.warn_once(problem)
        if not self._progress.starting:
            beside_images = inputs_of(self.settings)[1:]
            missing = (source for source in beside_images if not self._progress.has_come(source.topic))
            problems += [f"no {source.topic}: {topic_state(self, source)}" for source in missing]
        return problems

    def _details(self) -> dict[str, str]:
        estimator, _ = self._configured()
        details = {"engine": estimator.engine.name, "exposure from": self._sources.exposure}
        if self.settings.motion_model == MotionModel.FULL:
            details["depth from"] = self._sources.depth
        if self.settings.rate_hint_type != RateHintType.NONE:
            details["rate hint"] = "used" if self._sources.rate_hint else "none within 0.1 s"
        return (
            details
            | estimate_details(self._last_estimate.recent(self.settings.diagnostics_period))
            | alignment_state(estimator.alignment)
        )

    # In the pipeline's threads

    def _infer(self, received: Received) -> Inferred:
        """Put together the frame of one image, and run the network on it.

        Raises:
            Refused: the frame cannot be used.
        """
        (estimator, _), settings = self._configured(), self.settings  # in this order, see _change_settings
        assembled = self._assembler.assemble(received.message, settings, estimator.engine.info.colour)
        sources = self._sources = assembled.sources
        if assembled.camera_changed:
            self._health.count("camera changed")
        for unused in assembled.unused:
            self._refuse(unused)
        if settings.exposure_source != sources.exposure == ExposureSource.PARAMETER:
            self._health.count("exposure fallback")
        if assembled.depth_missing:
            self._health.count("without depth")
        if settings.rate_hint_type != RateHintType.NONE and not sources.rate_hint:
            self._health.count("without rate hint")
        with refusing("estimate"):
            return Inferred(received, InferredFrame.of(assembled.frame, estimator.engine), settings, estimator)

    def _answer(self, inferred: Inferred) -> None:
        """Estimate from one frame and publish.

        Raises:
            Refused: the frame cannot be used.
        """
        received, frame = inferred.received, inferred.frame.frame
        settings, estimator = inferred.settings, inferred.estimator
        self._order.check(frame.stamp)
        frame_id = received.message.header.frame_id
        if self._processed and frame_id != self._processed[-1].received.message.header.frame_id:
            self._health.count("camera frame changed")
            estimator.reset()
        with refusing("estimate"):
            try:
                estimate = estimator.update(inferred.frame)
            except RepeatedImageError as error:
                raise Refused("repeated image", str(error)) from None
        self._processed.append(Processed(received, frame))
        if estimate is not None:
            if estimate.depth_too_sparse:
                self._health.count("depth too sparse")
            if estimate.depth_is_foreign:
                self._health.count("foreign depth")
            processed = next(one for one in self._processed if one.frame.stamp == estimate.header_stamp)
            self._publish(estimate, processed, settings)
        elif estimator.at_start and settings.sign_resolution == SignResolution.CENTERED:
            self._health.count("waiting for the next image")
        elif settings.measurement == Measurement.ALIGNED:
            self._health.count("not aligned")
        elif settings.exposure_source == ExposureSource.ESTIMATE:
            self._health.count("exposure being measured")
        else:
            self._health.count("exposure too uncertain")

    def _publish(self, estimate: MotionEstimate, processed: Processed, settings: Settings) -> None:
        _, outputs = self._configured()
        frame_id = settings.frame_id or processed.received.message.header.frame_id
        self._last_estimate = LastEstimate(estimate)
        if held_back := reason_to_hold_back(estimate, given=settings.exposure_source != ExposureSource.ESTIMATE):
            self._refuse(Refused("exposure", held_back))
        elif (
            estimate.ambiguous and not settings.publish_unresolved and settings.sign_resolution != SignResolution.AXIAL
        ):
            self._health.count("ambiguous")
        elif not self._order.may_publish(estimate.stamp):
            self._refuse(Refused("order", "its velocity is not later than the one before: stamps must increase"))
        else:
            outputs.publish(estimate, frame_id)
            self._health.count(estimate.measurement)
            self._health.published(time.monotonic() - processed.received.arrival)
            self._progress.first("velocity", lambda: f"{estimate.measurement}, in frame {frame_id!r}")
            self._progress.published()
        outputs.draw(estimate, processed.frame.image, frame_id)

    def _failed(self, error: Exception) -> None:
        """Count and log the exception that a frame raised in a thread of the pipeline."""
        if isinstance(error, Refused):
            self._refuse(error)
        elif self.context.ok():
            self._refuse(self._unexpected(error))

    def _unexpected(self, error: Exception) -> Refused:
        """Make a refusal, of one line, of an unexpected exception, and log its traceback at debug level."""
        self.get_logger().debug(traceback.format_exc())
        return Refused("internal error", f"{type(error).__name__}: {error} (log level debug says where)")

    def _refuse(self, refusal: Refused) -> None:
        if refusal.missing and self._progress.starting:
            self._health.count(f"waiting for {refusal.reason}")
            return
        if self._health.refused(refusal.reason, str(refusal)):
            self.get_logger().warning(f"{refusal.reason}: {refusal}")
