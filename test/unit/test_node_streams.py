"""What the node says and does about its streams: silence, order, several cameras, frame ids, exposures."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest
from test_node_parts import MS, camera_info, diagnostics, image_message

pytest.importorskip("sensor_msgs.msg")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.config import Measurement
from image_as_imu_ros.estimation.exposure import MeasuredExposure
from image_as_imu_ros.estimation.exposure_check import reason_to_hold_back
from image_as_imu_ros.estimation.velocity import Term, Velocity
from image_as_imu_ros.messages.exposure import exposure_of_message, reporting_camera
from image_as_imu_ros.messages.images import decode_image
from image_as_imu_ros.nodes import message_conversion
from image_as_imu_ros.nodes import progress as progress_module
from image_as_imu_ros.nodes.buffers import StampCache
from image_as_imu_ros.nodes.diagnostics import LastEstimate, Report
from image_as_imu_ros.nodes.exposure_sources import ExposureWatch
from image_as_imu_ros.nodes.frames import FrameAssembler, Refused
from image_as_imu_ros.nodes.inputs import describe_age, frame_id_problem, inputs_of, topic_state
from image_as_imu_ros.nodes.message_conversion import diagnostics_message, imu_message, twist_message
from image_as_imu_ros.nodes.outputs import Outputs
from image_as_imu_ros.nodes.parameters import Settings
from image_as_imu_ros.nodes.progress import Progress
from image_as_imu_ros.nodes.stamp_order import StampOrder


class Log:
    """A node that keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def get_logger(self) -> Log:
        return self

    def info(self, line: str) -> None:
        self.lines.append(("info", line))

    def warning(self, line: str) -> None:
        self.lines.append(("warning", line))

    def error(self, line: str) -> None:
        self.lines.append(("error", line))


@pytest.fixture
def now(monkeypatch) -> SimpleNamespace:
    """A monotonic time that the test sets."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: now.seconds)
    return now


def test_the_first_of_each_kind_is_said_once(now):
    log = Log()
    progress = Progress(log)
    for _ in range(3):
        progress.first("image", lambda: "640×480 mono8")
        progress.warn_once("the exposure is 1.8× what the blur shows")
        progress.warn_once("the exposure is 1.9× what the blur shows")
    assert log.lines == [
        ("info", "first image: 640×480 mono8"),
        ("warning", "the exposure is 1.8× what the blur shows"),
    ]


def test_silence_is_a_warning_then_an_error_and_its_end_is_said(now):
    log = Log()
    progress = Progress(log)
    for _ in range(12):
        now.seconds += 1
        progress.check("nobody publishes on /image")
    assert log.lines == [
        ("warning", "no velocity for 3 s: nobody publishes on /image"),
        ("error", "no velocity for 10 s: nobody publishes on /image"),
    ]
    assert progress.silent
    progress.published()
    assert not progress.silent
    assert log.lines[2:] == [("info", "velocities are published again")]
    progress.published()
    progress.check("")
    assert len(log.lines) == 3


def test_what_is_missing_may_come_in_the_first_seconds(now):
    progress = Progress(Log())
    assert progress.starting
    now.seconds += progress_module.STARTING
    assert not progress.starting


def test_nothing_that_came_before_counts_as_missing():
    settings = Settings(exposure_source="topic")
    assembler = FrameAssembler()
    for give, missing in [
        (lambda: None, True),
        (lambda: setattr(assembler, "camera_info", camera_info()), True),
        (lambda: assembler.exposures.add(1, 0.01), False),
    ]:
        give()
        with pytest.raises(Refused) as refusal:
            assembler.assemble(image_message(), settings, "gray")
        assert refusal.value.missing == missing


def test_images_a_little_out_of_order_are_refused_and_a_restart_is_not():
    order = StampOrder()
    for stamp in (100, 133, 200):
        order.check((10_000 + stamp) * MS)
    with pytest.raises(Refused, match="34 ms older than the one before") as refusal:
        order.check(10_166 * MS)
    assert refusal.value.reason == "order"
    order.check(10_233 * MS)
    order.check(1_000 * MS)


def taken(order: StampOrder, stamps: list[int]) -> list[bool]:
    """Whether each of the images with these stamps, ms, is taken."""
    found = []
    for stamp in stamps:
        try:
            order.check((10_000 + stamp) * MS)
            found.append(True)
        except Refused:
            found.append(False)
    return found


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0, 33, 967, 100, 133, 167, 200], [True, True, True, False, False, True, True]),  # one stamp far ahead
        ([0, 33, 67, 100, 0, 33, 67, 100], [True] * 4 + [False, False, True, True]),  # a recording of 0.1 s in a loop
        ([0, 900, 33, 933, 67, 967, 100], [True, True, False, True, False, True, False]),  # two cameras on one topic
        ([0, 33, 167, 133, 100, 67, 200], [True, True, True, False, False, False, True]),  # a burst, last first
    ],
)
def test_three_older_images_in_order_are_a_time_that_went_back(stamps, expected):
    assert taken(StampOrder(), stamps) == expected


def test_published_stamps_increase_until_a_recording_starts_again():
    order = StampOrder()
    order.check(10_000 * MS)
    assert [order.may_publish(stamp * MS) for stamp in (10_000, 9_990, 10_000, 10_001)] == [True, False, False, True]
    order.check(2_000 * MS)
    assert order.may_publish(2_000 * MS)


def camera_ros_message(frame_id: str, stamp: int, exposure: float) -> SimpleNamespace:
    message = diagnostics(ExposureTime=str(round(1e6 * exposure)))
    message.header = SimpleNamespace(frame_id=frame_id, stamp=SimpleNamespace(sec=0, nanosec=stamp))
    return message


@pytest.mark.parametrize("frame_ids", [("left_optical", "right_optical"), ("camera", "camera")])
def test_of_two_cameras_on_one_topic_each_image_gets_its_own_exposure(frame_ids):
    """Two camera_ros on /diagnostics, 18.4 and 3 ms; their stamps are half a millisecond apart."""
    assembler = FrameAssembler()
    assembler.camera_info = camera_info()
    settings = Settings(exposure_source="camera_ros")
    for number in range(1, 40):
        stamp = number * 33 * MS
        for frame_id, at, exposure in zip(frame_ids, (stamp, stamp + MS // 2), (0.0184, 0.003), strict=True):
            message = camera_ros_message(frame_id, at, exposure)
            value = exposure_of_message("camera_ros", "us", message)
            assembler.exposures.add(at, value, message.header.frame_id)
        image = image_message(stamp)
        image.header.frame_id = frame_ids[0]
        assert assembler.assemble(image, settings, "gray").frame.shutter.exposure == pytest.approx(0.0184)


@pytest.mark.parametrize("frame_id", ["left_optical", "right_optical"])
def test_of_two_cameras_that_are_triggered_at_once_each_has_its_own_exposure(frame_id):
    assembler = FrameAssembler()
    assembler.camera_info = camera_info()
    exposures = {"left_optical": 0.0184, "right_optical": 0.003}
    for camera, exposure in exposures.items():
        header = camera_ros_message(camera, 33 * MS, exposure).header
        assembler.exposures.add(33 * MS, exposure, reporting_camera("camera_ros", header))
    image = image_message(33 * MS)
    image.header.frame_id = frame_id
    frame = assembler.assemble(image, Settings(exposure_source="camera_ros"), "gray").frame
    assert frame.shutter.exposure == exposures[frame_id]
    assert reporting_camera("topic", image.header) == "", "such a topic belongs to one camera, whatever its frame_id"


def test_a_camera_does_not_wait_for_another_ones_value():
    cache = StampCache(depth=8, tolerance=0.001)
    cache.add(20 * MS, "left", "left_optical")
    assert cache.find(20 * MS, camera="right_optical") is None
    assert cache.find(20 * MS, camera="left_optical") == "left"
    assert cache.find(20 * MS + 1, camera="left_optical", exact=True) is None


@pytest.mark.parametrize("source", ["flir", "depthai"])
def test_drivers_that_report_microseconds(source):
    assert exposure_of_message(source, "s", SimpleNamespace(exposure_time=18400)) == pytest.approx(0.0184)


@pytest.mark.parametrize(("source", "package"), [("flir", "flir_camera_msgs"), ("depthai", "depthai_ros_msgs")])
def test_a_message_package_that_is_missing_is_named(source, package):
    with pytest.raises(InputError, match=f"needs the package {package}, which is not installed"):
        inputs_of(Settings(exposure_source=source))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ("sensor_msgs/msg/CompressedImage", " (see image_transport)"),
        ("theora_image_transport/msg/Packet", "; ros2 run image_transport republish makes raw images"),
    ],
)
def test_images_of_another_transport_are_said_with_what_helps(other, says):
    node = SimpleNamespace(
        resolve_topic_name=lambda name: f"/camera/{name}",
        get_publishers_info_by_topic=lambda topic: [SimpleNamespace(topic_type=other)],
    )
    state = topic_state(node, inputs_of(Settings(exposure_time=0.01))[0])
    assert f"/camera/image carries {other}, expected sensor_msgs/msg/Image{says}" in state


def test_stamps_of_another_clock_are_seen():
    """As of cameras that stamp by the time since their start, or by a computer that is ahead."""
    now = 1_700_000_000_000 * MS
    clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=now))
    assert describe_age(image_message(now - 23 * MS), clock) == "stamped 0.023 s ago"
    assert describe_age(image_message(5_000_000 * MS), clock) == "stamped 1.7e+09 s ago"
    assert describe_age(image_message(now + 1_500 * MS), clock) == "stamped 1.5 s ahead of this node's time"


@pytest.mark.parametrize(
    ("frame_id", "override", "says"),
    [
        ("", "", "empty frame_id, which robot_localization takes for base_link"),
        ("camera_link", "", "'camera_link', is not an optical frame"),
        ("camera_color_optical_frame", "", ""),
        ("", "camera_optical", ""),
        ("camera_link", "camera_link", ""),
        ("/camera_optical", "", ""),
    ],
)
def test_a_frame_id_that_misleads_is_warned_of(frame_id, override, says):
    problem = frame_id_problem(frame_id, override)
    assert says in problem
    assert bool(problem) == bool(says)


def estimate_of(measurement: Measurement, given: float, measured: MeasuredExposure | None) -> SimpleNamespace:
    return SimpleNamespace(measurement=measurement, exposure=given, measured_exposure=measured)


@pytest.mark.parametrize(
    ("measurement", "given", "measured", "held_back"),
    [
        (Measurement.SINGLE, 0.003, MeasuredExposure(0.0184, 0.1), True),
        (Measurement.SINGLE, 0.0184, MeasuredExposure(0.003, 0.1), True),
        (Measurement.SINGLE, 0.010, MeasuredExposure(0.0184, 0.1), False),  # warned of
        (Measurement.SINGLE, 0.003, MeasuredExposure(0.0184, 0.8), False),  # not sure
        (Measurement.SINGLE, 0.003, None, False),
        (Measurement.ALIGNED, 0.003, MeasuredExposure(0.0184, 0.1), False),  # needs no exposure
    ],
)
def test_velocities_from_blur_are_held_back_when_their_exposure_is_wrong_by_more_than_three(
    measurement, given, measured, held_back
):
    reason = reason_to_hold_back(estimate_of(measurement, given, measured), given=True)
    assert bool(reason) == held_back
    assert ("velocities from single frames are held back" in reason) == held_back
    assert not reason_to_hold_back(estimate_of(measurement, given, measured), given=False)


def test_a_stuck_exposure_that_was_put_right_is_forgotten():
    watch = ExposureWatch()
    for i in range(200):
        watch.observe(0.01, 100 + i % 90)
    assert watch.stuck
    for _ in range(150):
        watch.observe(0.01, 120)
    assert not watch.stuck


def test_an_old_estimate_says_nothing_about_now(now):
    last = LastEstimate(estimate_of(Measurement.SINGLE, 0.01, None))
    assert last.recent(1.0) is not None
    now.seconds += 6
    assert last.recent(1.0) is None
    assert last.recent(60.0) is not None


def test_covariances_are_exactly_symmetric():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    covariance = root @ np.diag(rng.random(6)) @ root.T
    assert (covariance != covariance.T).any()
    estimate = SimpleNamespace(stamp=1, velocity=Velocity(np.zeros(3), np.zeros(3), {Term.DATA: covariance}))
    published = np.reshape(twist_message(estimate, "").twist.covariance, (6, 6))
    np.testing.assert_array_equal(published, published.T)
    angular = np.reshape(imu_message(estimate, "").angular_velocity_covariance, (3, 3))
    np.testing.assert_array_equal(angular, angular.T)
    np.testing.assert_array_equal(angular, published[3:, 3:])


@pytest.mark.parametrize("fault", ["nan velocity", "infinite variance", "zero variance", "correlation above 1", "none"])
def test_no_velocity_is_published_that_a_filter_cannot_take(fault):
    covariance, angular = np.eye(6), np.zeros(3)
    if fault == "nan velocity":
        angular[1] = np.nan
    elif fault == "correlation above 1":
        covariance[0, 4] = covariance[4, 0] = 1.1
    elif fault != "none":
        covariance[4, 4] = np.inf if fault == "infinite variance" else 0.0
    published = []
    publisher = SimpleNamespace(publish=published.append)
    outputs = Outputs(publisher, publisher, publisher, publisher)
    estimate = SimpleNamespace(stamp=1, velocity=Velocity(np.zeros(3), angular, {Term.DATA: covariance}))
    if fault == "none":
        outputs.publish(estimate, "camera_optical")
        assert len(published) == 2
    else:
        with pytest.raises(Refused, match=r"not finite|not positive"):
            outputs.publish(estimate, "camera_optical")
        assert not published


@pytest.mark.parametrize(
    ("warning", "error", "level"),
    [(False, False, DiagnosticStatus.OK), (True, False, DiagnosticStatus.WARN), (True, True, DiagnosticStatus.ERROR)],
)
def test_levels_of_diagnostics(warning, error, level):
    message = diagnostics_message(Report(warning, "", {}, error), "node", "", Time())
    assert message.status[0].level == level


def test_a_debug_image_is_read_as_it_was_drawn():
    bgr = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)[:, ::2]  # not contiguous
    message = message_conversion.image_message(bgr, 12_000_000_034, "/camera_optical")
    np.testing.assert_array_equal(decode_image(message, "rgb"), bgr[..., ::-1])
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (12, 34)
    assert message.header.frame_id == "camera_optical"


def test_imu_and_twist_hold_linear_and_angular_velocity_in_the_order_of_ros():
    covariance = np.diag([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    velocity = Velocity(np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.6]), {Term.DATA: covariance})
    estimate = SimpleNamespace(stamp=12_000_000_034, velocity=velocity)
    imu, twist = imu_message(estimate, "/camera_optical"), twist_message(estimate, "/camera_optical")
    for message in (imu, twist):
        assert (message.header.stamp.sec, message.header.stamp.nanosec) == (12, 34)
        assert message.header.frame_id == "camera_optical", "as tf2 writes it"
    assert (imu.angular_velocity.x, imu.angular_velocity.y, imu.angular_velocity.z) == (0.4, 0.5, 0.6)
    np.testing.assert_array_equal(np.reshape(imu.angular_velocity_covariance, (3, 3)), np.diag([4.0, 5.0, 6.0]))
    assert imu.orientation_covariance[0] == imu.linear_acceleration_covariance[0] == -1, "not measured (REP-145)"
    linear, angular = twist.twist.twist.linear, twist.twist.twist.angular
    assert (linear.x, linear.y, linear.z, angular.x, angular.y, angular.z) == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    np.testing.assert_array_equal(np.reshape(twist.twist.covariance, (6, 6)), covariance)
