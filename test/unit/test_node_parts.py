"""What the node is made of, without ROS: buffers, exposure sources, parameters, frames, health."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.alignment import Alignment
from image_as_imu_ros.estimation.exposure import MeasuredExposure
from image_as_imu_ros.estimation.exposure_check import describe_contradiction
from image_as_imu_ros.estimation.frame import Shutter, StampReference
from image_as_imu_ros.messages.exposure import camera_ros_exposure, realsense_exposure
from image_as_imu_ros.nodes.buffers import Slot, StampCache
from image_as_imu_ros.nodes.diagnostics import Health, alignment_state
from image_as_imu_ros.nodes.exposure_sources import ExposureWatch
from image_as_imu_ros.nodes.frames import FrameAssembler, Refused
from image_as_imu_ros.nodes.parameters import Settings
from image_as_imu_ros.nodes.pipeline import spare_cores
from image_as_imu_ros.nodes.rate_hint import RateHintType, rate_hint_reader
from image_as_imu_ros.resources import resource
from image_as_imu_ros.settings import default_of, settings_of

REPOSITORY = Path(__file__).parents[2]
MS = 1_000_000  # ns


def later(action, seconds: float = 0.05) -> None:
    threading.Timer(seconds, action).start()


def test_slot_keeps_the_newest():
    slot = Slot()
    assert [slot.put(i) for i in range(3)] == [False, True, True]
    assert slot.take() == 2
    later(lambda: slot.put(3))
    assert slot.take() == 3
    later(slot.close)
    assert slot.take() is None


def test_cache_finds_the_nearest_stamp():
    cache = StampCache(depth=3, tolerance=0.001)
    for stamp in range(0, 50 * MS, 10 * MS):
        cache.add(stamp, stamp)
    assert cache.find(40 * MS) == 40 * MS
    assert cache.find(30 * MS - MS) == 30 * MS
    assert cache.find(25 * MS) is None
    assert cache.find(0) is None  # too long ago


def test_cache_waits_for_a_value_that_is_late():
    cache = StampCache(depth=3, tolerance=0.001)
    cache.add(1 * MS, "earlier")
    later(lambda: cache.add(20 * MS, "value"))
    assert cache.find(20 * MS, wait=10.0) == "value"


def test_cache_does_not_wait_for_what_cannot_come():
    cache = StampCache(depth=3, tolerance=0.001)
    started = time.monotonic()
    assert cache.find(20 * MS, wait=30.0) is None  # nothing ever came
    cache.add(40 * MS, "later")
    assert cache.find(20 * MS, wait=30.0) is None  # the stream is past it
    assert time.monotonic() - started < 20


def test_cache_starts_anew_when_time_jumps_back():
    cache = StampCache(depth=3, tolerance=0.001)
    cache.add(2_000 * MS, "old")
    cache.add(10 * MS, "new")
    assert cache.find(2_000 * MS) is None
    assert cache.find(10 * MS) == "new"


def test_cache_keeps_what_came_before_a_value_out_of_order():
    cache = StampCache(depth=8, tolerance=0.001)
    for stamp in (0, 66 * MS, 33 * MS):
        cache.add(stamp, stamp)
    assert [cache.find(stamp) for stamp in (0, 33 * MS, 66 * MS)] == [0, 33 * MS, 66 * MS]


def test_cache_waits_for_values_that_come_rarely_but_not_for_those_that_come_no_more(monkeypatch):
    """A camera at half a hertz, whose exposures come after their images."""
    cache = StampCache(depth=8, tolerance=0.001)
    cache.add(0, "before")
    now = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: now() + 2)
    later(lambda: cache.add(2_000 * MS, "value"))
    assert cache.find(2_000 * MS, wait=10.0) == "value"
    monkeypatch.setattr(time, "monotonic", lambda: now() + 4)
    waits = []
    for number in range(6):
        started = now()
        assert cache.find((4_000 + 2_000 * number) * MS, wait=0.02) is None
        waits.append(now() - started > 0.019)
    assert waits == [True, True, True, False, False, False]


def test_cache_waits_for_the_value_of_an_image_where_that_of_the_image_before_is_within_the_tolerance_too():
    """Depth at 60 Hz shows another view a period before; one by a time of its own, at 30 Hz, is not waited for."""
    cache = StampCache(depth=8, tolerance=0.02)
    for stamp in (0, 16, 32):
        cache.add(stamp * MS, stamp)
    later(lambda: cache.add(48 * MS, 48))
    assert cache.find(48 * MS, wait=10.0) == 48
    cache = StampCache(depth=8, tolerance=0.02)
    for stamp in (15, 48, 81):
        cache.add(stamp * MS, stamp)
    started = time.monotonic()
    assert cache.find(90 * MS, wait=10.0) == 81
    assert time.monotonic() - started < 5


def test_cache_waits_longer_where_a_recording_is_played_slowly_but_not_as_long_as_it_was_paused(monkeypatch):
    """At a tenth of its rate, what was recorded 15 ms after its image comes 150 ms after it."""
    cache, now = StampCache(depth=8, tolerance=0.02), [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for stamp in (0, 33):
        cache.add(stamp * MS, stamp)
        now[0] += 0.33
    later(lambda: cache.add(66 * MS, 66), 2.0)
    assert cache.find(66 * MS, wait=1.0) == 66
    now[0] += 3600
    cache.add(99 * MS, 99)
    started = time.perf_counter()
    assert cache.find(132 * MS, wait=0.02) is None
    assert time.perf_counter() - started < 30


def test_cache_says_how_far_the_nearest_value_is():
    cache = StampCache(depth=8, tolerance=0.001)
    assert cache.distance(0) is None
    cache.add(10 * MS, "value", "left")
    assert cache.distance(15 * MS, "left") == pytest.approx(-0.005)
    assert cache.distance(8 * MS) == pytest.approx(0.002)
    assert cache.distance(8 * MS, "right") is None


def test_realsense_metadata():
    assert realsense_exposure(json.dumps({"frame_number": 3, "actual_exposure": 156})) == 156
    for bad in ("", "{}", "[]", "null", '{"actual_exposure": "x"}', '{"actual_exposure": null}'):
        with pytest.raises(InputError, match="actual_exposure"):
            realsense_exposure(bad)


def diagnostics(**values: str) -> SimpleNamespace:
    entries = [SimpleNamespace(key=key, value=value) for key, value in values.items()]
    return SimpleNamespace(status=[SimpleNamespace(values=entries)])


def test_camera_ros_diagnostics():
    assert camera_ros_exposure(diagnostics(AeState="2", ExposureTime="29984")) == pytest.approx(0.029984)
    assert camera_ros_exposure(diagnostics(temperature="40")) is None
    with pytest.raises(InputError, match="not a number"):
        camera_ros_exposure(diagnostics(ExposureTime="auto"))


def test_a_stuck_exposure_is_noticed_but_not_a_steady_scene():
    steady, stuck, follows = ExposureWatch(), ExposureWatch(), ExposureWatch()
    for i in range(200):
        steady.observe(0.01, 100 + i % 10)
        stuck.observe(0.01, 100 + i % 90)
        follows.observe(0.01 + i * 1e-4, 100 + i % 90)
    assert (steady.stuck, stuck.stuck, follows.stuck) == (False, True, False)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"sign_resolution": "up"}, "sign_resolution is 'up', expected one of: causal, centered, axial"),
        ({"exposure_time": 7.0}, "exposure_time is 7.0, expected 0 to 1"),
        ({"exposure_time": -0.01}, "exposure_time is -0.01"),
        ({"exposure_time": float("nan")}, "exposure_time is nan"),
        ({"linear_velocity_std": 0.0}, "linear_velocity_std is 0.0"),
        ({"rate_hint_type": "gps"}, "rate_hint_type is 'gps', expected one of: none, imu, odometry, twist"),
        ({"rate_hint_axes": "x,y"}, "each of x, y and z must appear once"),
        ({"exposure_source": "realsense"}, "'100us' \\(colour\\)"),
    ],
)
def test_bad_parameters_are_refused_with_a_reason(values, says):
    with pytest.raises(InputError, match=says):
        Settings(**values)


def test_the_parameter_file_holds_every_parameter_at_its_default():
    written = yaml.safe_load(resource("config/blur_imu.yaml").read_text())["/**"]["ros__parameters"]
    defaults = {parameter.name: default_of(parameter) for parameter in settings_of(Settings)}
    assert written == defaults
    assert {name: type(value) for name, value in written.items()} == {n: type(d) for n, d in defaults.items()}


def image_message(stamp: int = 1_000 * MS) -> SimpleNamespace:
    header = SimpleNamespace(stamp=SimpleNamespace(sec=stamp // 10**9, nanosec=stamp % 10**9))
    pixels = np.full(640 * 480, 100, np.uint8)
    return SimpleNamespace(
        header=header, encoding="mono8", width=640, height=480, step=640, is_bigendian=0, data=pixels.tobytes()
    )


def camera_info(width: int = 640) -> SimpleNamespace:
    roi = SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0)
    k = [500.0, 0, 319.5, 0, 500.0, 239.5, 0, 0, 1]
    return SimpleNamespace(width=width, height=480, k=k, d=[], distortion_model="", binning_x=0, binning_y=0, roi=roi)


@pytest.fixture
def assembler() -> FrameAssembler:
    assembler = FrameAssembler()
    assembler.camera_info = camera_info()
    return assembler


@pytest.mark.parametrize("reference", ["start", "middle", "end"])
def test_frames_have_the_header_stamp_and_how_the_shutter_moved(assembler, reference):
    settings = Settings(exposure_time=0.01, stamp_reference=reference, readout_time=0.02)
    frame = assembler.assemble(image_message(), settings, "gray").frame
    assert frame.stamp == 1_000 * MS
    assert frame.shutter == Shutter(0.01, StampReference(reference), 0.02)
    assert (frame.shutter.exposure, frame.depth, frame.image.shape) == (0.01, None, (480, 640))


def test_an_exposure_from_the_topic_comes_before_the_parameter(assembler):
    settings = Settings(exposure_source="topic", exposure_time=0.01, stamp_reference="start")
    assembler.exposures.add(1_000 * MS, 0.004)
    assembled = assembler.assemble(image_message(), settings, "gray")
    assert (assembled.frame.stamp, assembled.frame.shutter.exposure) == (1_000 * MS, 0.004)
    assert assembled.sources.exposure == "topic"
    assembled = assembler.assemble(image_message(1_033 * MS), settings, "gray")
    assert (assembled.frame.shutter.exposure, assembled.sources.exposure) == (0.01, "parameter")


@pytest.mark.parametrize(("source", "stuck"), [("topic", True), ("parameter", False)])
def test_only_exposures_that_a_topic_tells_can_be_stuck(assembler, source, stuck):
    """A parameter stays the same whatever the brightness does."""
    settings = Settings(exposure_source=source, exposure_time=0.01)
    for number in range(160):
        message = image_message((1_000 + 33 * number) * MS)
        message.data = np.full(640 * 480, 60 + number % 100, np.uint8).tobytes()
        if source == "topic":
            assembler.exposures.add((1_000 + 33 * number) * MS, 0.01)
        assembler.assemble(message, settings, "gray")
    assert assembler.exposure_watch.stuck == stuck


def test_a_camera_info_of_another_camera_is_noticed_and_a_lens_that_focuses_is_none(assembler):
    settings, changed = Settings(exposure_time=0.01), []
    for focal in (500.0, 500.0, 500.1, 550.0, 500.0):
        assembler.camera_info.k = [focal, 0, 319.5, 0, focal, 239.5, 0, 0, 1]
        changed.append(assembler.assemble(image_message(), settings, "gray").camera_changed)
    assert changed == [False, False, False, True, True]


def test_measured_depth_goes_along(assembler):
    depth = image_message()
    depth.encoding, depth.width, depth.height, depth.step = "16UC1", 320, 240, 640
    assembler.depths.add(1_000 * MS, depth)
    settings = Settings(exposure_time=0.01, depth_transport="raw")
    assembled = assembler.assemble(image_message(), settings, "gray")
    assert assembled.sources.depth == "topic"
    np.testing.assert_allclose(assembled.frame.depth, np.full((240, 320), 0x6464 * 1e-3))
    assert assembler.assemble(image_message(1_500 * MS), settings, "gray").sources.depth == "network"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoding": "mono16", "step": 1280}, "mono16"),
        ({"width": 480}, "depth image is 480×480 px, another shape than the image's 640×480"),
        ({"data": b""}, "0 bytes"),
    ],
)
def test_an_image_whose_depth_cannot_be_used_goes_without(assembler, changes, says):
    depth = image_message()
    vars(depth).update({"encoding": "16UC1", "step": 1280, "data": bytes(480 * 1280)} | changes)
    assembler.depths.add(1_000 * MS, depth)
    settings = Settings(exposure_time=0.01, depth_transport="raw")
    assembled = assembler.assemble(image_message(), settings, "gray")
    assert assembled.frame.depth is None
    (unused,) = assembled.unused
    assert unused.reason == "depth"
    assert says in str(unused)
    assert "the network's depth is used" in str(unused)
    assert not assembler.assemble(image_message(1_500 * MS), settings, "gray").unused


def test_depth_that_comes_too_late_is_missing_and_depth_that_never_came_is_not(assembler):
    settings, missing = Settings(exposure_time=0.01, depth_transport="raw"), []
    for stamp in (None, 1_000, 1_100):
        if stamp is not None:
            depth = image_message(stamp * MS)
            depth.encoding, depth.width, depth.height, depth.step = "16UC1", 320, 240, 640
            assembler.depths.add(stamp * MS, depth)
        missing.append(assembler.assemble(image_message(1_100 * MS), settings, "gray").depth_missing)
    assert missing == [False, True, False]


@pytest.mark.parametrize("exposure", [0.0, -0.01, float("nan"), 9.0])
def test_an_exposure_that_is_none_is_passed_over_where_another_one_is_given(assembler, exposure):
    assembler.exposures.add(1_000 * MS, exposure)
    settings = Settings(exposure_source="topic", exposure_time=0.01)
    assembled = assembler.assemble(image_message(), settings, "gray")
    assert (assembled.frame.shutter.exposure, assembled.sources.exposure) == (0.01, "parameter")
    (unused,) = assembled.unused
    assert (unused.reason, "exposure_time is used" in str(unused)) == ("exposure", True)


def test_a_rate_hint_is_rotated_into_the_cameras_axes_and_found_within_a_tenth_of_a_second(assembler):
    settings = Settings(exposure_time=0.01, rate_hint_type="odometry", rate_hint_axes="-y,-z,x")
    assert assembler.assemble(image_message(), settings, "gray").frame.rate_hint is None
    assembler.rate_hints.add(880 * MS, np.array([9.0, 9.0, 9.0]))
    assembled = assembler.assemble(image_message(), settings, "gray")
    assert (assembled.frame.rate_hint, assembled.sources.rate_hint) == (None, False)
    assembler.rate_hints.add(920 * MS, np.array([0.1, 0.2, 1.5]))  # the robot rotates to the left
    assembled = assembler.assemble(image_message(), settings, "gray")
    assert assembled.sources.rate_hint
    np.testing.assert_array_equal(assembled.frame.rate_hint, [-0.2, -1.5, 0.1])


def test_rate_hints_of_a_gyroscope_at_1_khz_are_kept_until_an_image_that_is_half_a_second_late(assembler):
    settings = Settings(exposure_time=0.01, rate_hint_type="imu")
    for stamp in range(400, 1_500):
        assembler.rate_hints.add(stamp * MS, np.array([stamp, 0.0, 0.0]))
    assembled = assembler.assemble(image_message(), settings, "gray")
    np.testing.assert_array_equal(assembled.frame.rate_hint, [1_000, 0, 0])


@pytest.mark.parametrize("kind", list(RateHintType)[1:])
def test_rate_hints_are_read_from_each_type(kind):
    pytest.importorskip("nav_msgs.msg" if kind == "odometry" else "sensor_msgs.msg")
    message_type, read = rate_hint_reader(kind)
    message = message_type()
    angular = message.angular_velocity if kind == "imu" else message.twist.twist.angular
    angular.x, angular.y, angular.z = 0.1, 0.2, 0.3
    np.testing.assert_array_equal(read(message), [0.1, 0.2, 0.3])
    angular.y = float("nan")
    with pytest.raises(InputError, match=r"angular velocity is \[0.1 nan 0.3\] rad/s; it must be finite"):
        read(message)


def test_an_imu_that_measures_no_rotation_gives_no_hint():
    pytest.importorskip("sensor_msgs.msg")
    message_type, read = rate_hint_reader("imu")
    message = message_type()
    message.angular_velocity_covariance[0] = -1.0
    with pytest.raises(InputError, match="measures no angular velocity"):
        read(message)


@pytest.mark.parametrize(
    ("reason", "says", "message", "info", "settings"),
    [
        ("stamp", "stamp is 0 ns", image_message(0), camera_info(), Settings(exposure_time=0.01)),
        ("camera_info", "no camera_info has arrived", image_message(), None, Settings(exposure_time=0.01)),
        ("camera_info", "size is 0×480", image_message(), camera_info(width=0), Settings(exposure_time=0.01)),
        ("exposure", "exposure_time is not set", image_message(), camera_info(), Settings()),
        ("exposure", "no exposure with this", image_message(), camera_info(), Settings(exposure_source="topic")),
    ],
)
def test_what_is_missing_is_named(reason, says, message, info, settings):
    assembler = FrameAssembler()
    assembler.camera_info = info
    with pytest.raises(Refused, match=says) as refusal:
        assembler.assemble(message, settings, "gray")
    assert refusal.value.reason == reason


@pytest.mark.parametrize(("off", "says"), [(5, "5 ms later"), (-250, "250 ms earlier")])
def test_an_exposure_with_another_stamp_is_said_by_how_much(assembler, off, says):
    """Drivers stamp metadata by another time than the image, or send it late."""
    assembler.exposures.add((1_000 + off) * MS, 0.01)
    with pytest.raises(Refused, match=f"no exposure with this image's header stamp .the nearest one's is {says}., and"):
        assembler.assemble(image_message(), Settings(exposure_source="topic"), "gray")


def test_an_exposure_in_the_wrong_unit_is_refused(assembler):
    assembler.exposures.add(1_000 * MS, 8.5)
    with pytest.raises(Refused, match=r"8.5 s; .*check the unit") as refusal:
        assembler.assemble(image_message(), Settings(exposure_source="topic"), "gray")
    assert refusal.value.reason == "exposure"


def test_an_exposure_that_contradicts_the_blur_is_said():
    sure, unsure = MeasuredExposure(0.010, 0.05), MeasuredExposure(0.010, 0.4)
    assert "1.8× what the blur shows" in describe_contradiction(0.018, sure)
    assert "0.5× what the blur shows" in describe_contradiction(0.005, sure)
    assert not describe_contradiction(0.013, sure)
    assert not describe_contradiction(0.018, unsure)


def test_an_estimated_exposure_needs_none_and_starts_from_the_given_one(assembler):
    settings = Settings(exposure_source="estimate", stamp_reference="start")
    assembled = assembler.assemble(image_message(), settings, "gray")
    assert (assembled.frame.shutter.exposure, assembled.sources.exposure) == (None, "estimate")
    started = assembler.assemble(image_message(), replace(settings, exposure_time=0.03), "gray")
    assert started.frame.shutter.exposure == 0.03


def test_health_says_that_no_images_arrive_but_not_between_those_of_a_camera_with_few(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: now.seconds)
    health = Health()
    messages = []
    for second in range(12):
        now.seconds += 1
        if second in (1, 3, 5):
            health.count("received")
        messages.append(health.report("nobody publishes on /image", [], {}).message)
    silent = ["no images arrive: nobody publishes on /image"] * 4
    assert messages == ["0.0 velocities per second"] * 8 + silent


def test_health_speaks_of_the_time_since_the_last_report():
    health = Health()
    for _ in range(10):
        health.count("received")
        health.published(0.004)
    report = health.report("", [], {"engine": "x"})
    assert not report.warning
    assert report.values["latency p95 (ms)"] == "4.0"
    assert (report.values["received"], report.values["published"], report.values["engine"]) == ("10", "10", "x")
    health.count("received")
    assert [health.refused("image", "it is truncated") for _ in range(3)] == [True, False, False]
    report = health.report("", ["more"], {})
    assert report.warning
    assert report.message == "3 times image refused: it is truncated; more"
    assert report.values["refused: image"] == "3"
    health.count("received")
    assert not health.report("", [], {}).warning


def test_health_warns_where_most_images_have_no_depth():
    health = Health()
    for what in ("received", "without depth", "received"):
        health.count(what)
    assert not health.report("", [], {}).warning
    for what in ("received", "without depth"):
        health.count(what)
    message = health.report("", [], {}).message
    assert message.startswith("1 images without a depth image within 20 ms of their stamp")


def test_health_says_why_an_uncertain_exposure_gives_no_velocity():
    health = Health()
    for _ in range(3):
        health.count("received")
        health.count("exposure too uncertain")
    report = health.report("", [], {})
    assert report.warning
    assert "3 images without a velocity from their blur" in report.message
    assert "exposure_relative_error above 0.4" in report.message


def test_health_warns_of_a_scene_that_the_network_does_not_know():
    health = Health()
    for _ in range(3):
        health.count("received")
        health.published(0.004)
    health.count("foreign depth")
    assert not health.report("", [], {}).warning
    for what in ("received", "foreign depth"):
        health.count(what)
    health.published(0.004)
    assert "several times too small or too large" in health.report("", [], {}).message


def test_health_warns_of_a_machine_that_cannot_keep_up():
    health = Health()
    for what in ("received", "received", "overwritten"):
        health.count(what)
    assert "1 of 2 images skipped" in health.report("", [], {}).message


def test_diagnostics_say_that_a_part_of_the_scene_moves_by_itself():
    alignment = Alignment(None, 0.9, 1.0, None)
    assert alignment_state(alignment) == {"alignment": "accepted (similarity 0.90)"}
    moving = alignment_state(replace(alignment, parts_move=True))
    assert moving["alignment"].endswith("by the larger part of the scene: a nearer or farther one moves by itself")


@pytest.mark.parametrize(
    ("cores", "siblings", "spare"),
    [
        ({0}, "{}", 1),
        ({0, 1}, "{}", 1),
        ({2, 3, 4, 5}, "{}", 3),
        ({0, 1, 2, 3}, "0,2 or 1,3", 1),
        ({0, 1, 2, 3}, None, 3),
    ],
    ids=["one core", "two", "four of more", "two of two hyperthreads", "a container that hides them"],
)
def test_the_network_leaves_a_core_to_the_thread_that_estimates(cores, siblings, spare, monkeypatch):
    def read_text(path: Path, encoding: str) -> str:
        if siblings is None:
            raise FileNotFoundError(path)
        cpu = int(path.parts[5].removeprefix("cpu"))
        return siblings.format(cpu) if "{}" in siblings else siblings.split(" or ")[cpu % 2]

    monkeypatch.setattr("os.sched_getaffinity", lambda _: cores)
    monkeypatch.setattr(Path, "read_text", read_text)
    assert spare_cores() == spare
