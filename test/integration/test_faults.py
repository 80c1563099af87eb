"""What goes wrong with cameras, drivers and networks, done to the node over real DDS: it lives, counts and goes on.

docs/reliability.md sums up what is seen here.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from array import array
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("image_as_imu_ros.nodes")
pytest.importorskip("rclpy")

from camera_process import HEIGHT, PATIENCE, PERIOD, WIDTH, CameraWithEars, node_command, node_process, stamp_of
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Vector3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu

import image_as_imu_ros.nodes.blur_imu_node as module
from image_as_imu_ros.messages.images import _ENCODINGS

pytestmark = pytest.mark.usefixtures("ros")

MS = 1_000_000  # ns
SMALL = 64, 48  # px; a size at which fuzzed images are often large enough
FUZZED = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = st.floats(width=64) | st.sampled_from([0.0, -1.0, math.nan, math.inf, 1e300])


@pytest.fixture(scope="module")
def node(tiny_model):
    with node_process(
        f"model:={tiny_model}",
        "exposure_time:=0.01",
        "motion_model:=rotation",
        "diagnostics_period:=0.1",
        "depth_transport:=raw",
        "rate_hint_type:=imu",
        namespace="/faults",
    ) as log:
        yield log


@pytest.fixture(scope="module")
def long_lived_camera(node):
    camera = CameraWithEars(namespace="/faults")
    camera.gyroscope = camera.node.create_publisher(Imu, "rate_hint", 10)
    camera.wait_for_node()
    yield camera
    camera.close()


@pytest.fixture
def camera(long_lived_camera, node):
    """A camera whose images are answered before and after the test, and nothing unexpected happens meanwhile."""
    answers(long_lived_camera)
    yield long_lived_camera
    answers(long_lived_camera)
    assert "Traceback" not in node.text, node.text
    assert long_lived_camera.count("refused: internal error") == 0, long_lived_camera.node_says


def answers(camera: CameraWithEars) -> None:
    camera.info = camera.info_message()
    camera.imus.clear()
    camera.play_until(lambda: len(camera.imus) > 2, "velocities")


def pause() -> None:
    time.sleep(0.015)


headers = st.fixed_dictionaries(
    {
        "sec": st.integers(-(2**31), 2**31 - 1),
        "nanosec": st.integers(0, 2**32 - 1),
        "frame_id": st.sampled_from(["", "camera_optical", "/", "ä€", "x" * 300]),
    }
)


def with_header(camera: CameraWithEars, message, header: dict | None):
    """Give a message the next stamp, or a fuzzed header."""
    camera.stamp += PERIOD
    camera.stamped(message)
    if header is not None:
        message.header.stamp.sec, message.header.stamp.nanosec = header["sec"], header["nanosec"]
        message.header.frame_id = header["frame_id"]
    return message


# Fuzzed messages


@FUZZED
@given(
    header=st.none() | headers,
    encoding=st.sampled_from([*_ENCODINGS, "bayer_rggb12", "", "nonsense"]),
    width=st.sampled_from([0, 1, SMALL[0], SMALL[0] + 1, 2**32 - 1]),
    height=st.sampled_from([0, 1, SMALL[1], SMALL[1] + 1, 2**32 - 1]),
    pixel=st.integers(0, 9),
    size=st.integers(0, 6 * SMALL[0] * SMALL[1]),
    is_bigendian=st.integers(0, 255),
    seed=st.integers(0, 2**32 - 1),
)
def test_fuzzed_images(camera_of_small_images, header, encoding, width, height, pixel, size, is_bigendian, seed):
    data = array("B", np.random.default_rng(seed).bytes(size))
    step = min(pixel * width, 2**32 - 1)
    image = Image(encoding=encoding, width=width, height=height, step=step, is_bigendian=is_bigendian, data=data)
    camera_of_small_images.infos.publish(camera_of_small_images.info)
    camera_of_small_images.images.publish(with_header(camera_of_small_images, image, header))
    pause()


@pytest.fixture
def camera_of_small_images(camera):
    camera.info.width, camera.info.height = SMALL
    camera.info.k = np.array([60.0, 0, 31.5, 0, 60.0, 23.5, 0, 0, 1])
    return camera


@FUZZED
@given(
    header=st.none() | headers,
    size=st.tuples(*2 * [st.sampled_from([0, 1, 480, 640, 2**32 - 1])]),
    k=st.lists(NUMBERS, min_size=9, max_size=9),
    d=st.lists(NUMBERS, max_size=15),
    lens=st.sampled_from(["", "plumb_bob", "equidistant", "rational_polynomial", "fisheye", "none", "nonsense"]),
    binning=st.tuples(*2 * [st.sampled_from([0, 1, 2, 2**32 - 1])]),
    roi=st.lists(st.sampled_from([0, 1, 100, 2**32 - 1]), min_size=4, max_size=4),
)
def test_fuzzed_camera_info(camera, header, size, k, d, lens, binning, roi):
    info = CameraInfo(width=size[0], height=size[1], distortion_model=lens, binning_x=binning[0], binning_y=binning[1])
    info.k, info.d = np.array(k), array("d", d)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = roi
    camera.infos.publish(with_header(camera, info, header))
    camera.images.publish(camera.image_message())
    pause()


@FUZZED
@given(
    header=st.none() | headers,
    encoding=st.sampled_from(["16UC1", "32FC1", "8UC1", ""]),
    size=st.tuples(*2 * [st.sampled_from([0, 1, 40, 2**32 - 1])]),
    length=st.sampled_from([0, 1, 40 * 40 * 2, 40 * 40 * 4]),
    value=st.integers(0, 255),
    rates=st.tuples(NUMBERS, NUMBERS, NUMBERS),
)
def test_fuzzed_depth_and_rate_hints(camera, header, encoding, size, length, value, rates):
    pixel = 4 if encoding == "32FC1" else 2
    step = min(pixel * size[0], 2**32 - 1)
    depth = Image(encoding=encoding, width=size[0], height=size[1], step=step, data=array("B", [value] * length))
    image = camera.image_message()
    camera.depths.publish(with_header(camera, depth, header) if header else camera.stamped(depth))
    imu = Imu(angular_velocity=Vector3(x=rates[0], y=rates[1], z=rates[2]))
    camera.gyroscope.publish(with_header(camera, imu, header) if header else camera.stamped(imu))
    camera.images.publish(image)
    pause()


def test_fuzzed_compressed_images_and_exposures(tiny_model):
    with node_process(
        f"model:={tiny_model}",
        "image_transport:=compressed",
        "exposure_source:=camera_ros",
        "motion_model:=rotation",
        "diagnostics_period:=0.1",
        namespace="/compressed_faults",
    ):
        camera = CameraWithEars(CompressedImage, "/compressed_faults", DiagnosticArray)
        camera.wait_for_node()
        camera.info = camera.info_message()
        jpeg = bytes(camera.compressed_message().data)

        def publish(image: CompressedImage, exposure: str) -> None:
            status = DiagnosticStatus(values=[KeyValue(key="ExposureTime", value=exposure)])
            camera.exposures.publish(camera.stamped(DiagnosticArray(status=[status])))
            camera.infos.publish(camera.info)
            camera.images.publish(image)
            pause()

        @FUZZED
        @given(
            st.binary(max_size=200),
            st.integers(0, len(jpeg)),
            st.integers(0, len(jpeg)),
            st.sampled_from(["10000", "nan", "inf", "-1", "0", "1e400", "soon", "", "9" * 500]),
            st.sampled_from(["jpeg", "", "png", "rgb8; jpeg compressed bgr8", "16UC1; compressedDepth"]),
        )
        def fuzz(rubbish, at, end, exposure, name):
            camera.stamp += PERIOD
            data = (jpeg[:at] + rubbish + jpeg[at + len(rubbish) :])[:end]
            publish(camera.stamped(CompressedImage(format=name, data=array("B", data))), exposure)

        fuzz()
        camera.imus.clear()
        camera.play_until(lambda: camera.imus, "velocities", lambda: publish(camera.compressed_message(), "10000"))
        camera.wait_until(lambda: camera.count("refused: image"), "refused images")
        assert camera.count("refused: internal error") == 0
        camera.close()


def test_nothing_of_that_was_unexpected(camera):
    """Each fuzzed message was refused with a reason of its own, and what was published has sound covariances."""
    for reason in ("image", "camera_info", "stamp", "depth"):
        assert camera.count(f"refused: {reason}") > 0
    for imu in camera.imus.values():
        covariance = np.reshape(imu.angular_velocity_covariance, (3, 3))
        assert (covariance == covariance.T).all()
        assert np.linalg.eigvalsh(covariance).min() > 0


# Cameras and times


@pytest.mark.parametrize("changes", [{"encoding": "mono16"}, {"height": HEIGHT // 2}], ids=["encoding", "shape"])
def test_images_whose_depth_cannot_be_used_are_answered(camera, changes):
    fields = {"encoding": "16UC1", "width": WIDTH, "height": HEIGHT, "step": 2 * WIDTH} | changes
    depth = Image(**fields, data=array("B", bytes(fields["step"] * fields["height"])))

    def publish() -> None:
        image = camera.image_message()
        camera.depths.publish(camera.stamped(depth))
        camera.images.publish(image)

    refused = camera.count("refused: depth")
    camera.imus.clear()
    camera.play_until(
        lambda: len(camera.imus) > 2 and camera.count("refused: depth") > refused,
        "velocities, and that the depth was not used",
        publish,
    )
    assert "the network's depth is used" in camera.node_says


def test_a_camera_that_vanishes_and_returns(camera):
    camera.destroy(camera.images)
    camera.wait_until(lambda: "no images arrive: nobody publishes on /faults/image" in camera.node_says, "the reason")
    time.sleep(1.0)
    camera.images = camera.node.create_publisher(Image, "image", 10)
    camera.wait_until(camera.images.get_subscription_count, "the node")
    answers(camera)
    camera.wait_until(lambda: "no images" not in camera.node_says, "an end of the warning")


def test_another_resolution_waits_for_its_camera_info(camera):
    half = {"width": WIDTH // 2, "height": HEIGHT // 2, "step": WIDTH // 2}
    small = array("B", np.random.default_rng(0).bytes(WIDTH * HEIGHT // 4))
    before = camera.refusals()
    camera.publish_until(
        lambda: camera.images.publish(camera.image_message(**half, data=small)),
        lambda: camera.refusals() > before,
        "the refusal of the new size",
    )
    camera.info.width, camera.info.height = WIDTH // 2, HEIGHT // 2
    camera.info.k = np.array([250.0, 0, 159.5, 0, 250.0, 119.5, 0, 0, 1])
    camera.imus.clear()
    assert camera.set_parameter("publish_unresolved", True)[0]

    camera.play_until(
        lambda: camera.imus,
        "velocities at the new size",
        lambda: camera.images.publish(camera.image_message(**half, data=small)),
    )
    assert camera.set_parameter("publish_unresolved", False)[0]


def test_five_times_the_rate(camera):
    """Images that come faster than they are worked on are overwritten, not queued: the next ones are answered."""
    before = fates(camera)
    for _ in range(300):
        camera.images.publish(camera.image_message())
        time.sleep(PERIOD * 1e-9 / 5)
    last = camera.stamp
    camera.play_until(lambda: camera.imus and max(camera.imus) > last, "an answer to one that came after")
    camera.wait_until(lambda: fates(camera)[0] > before[0] + 50, "the count of images")  # the rest may be lost by DDS
    received, accounted = (now - then for now, then in zip(fates(camera), before, strict=True))
    assert abs(received - accounted) <= 3, "each image but those under way has one fate"


def fates(camera: CameraWithEars) -> tuple[int, int]:
    """How many images the latest diagnostics say came, and of how many they say what became of them."""
    last = {entry.key: entry.value for entry in camera.diagnostics[-1].values}
    counts = [int(last.get(fate, 0)) for fate in ("published", "overwritten", "ambiguous")]
    refused = [int(value) for key, value in last.items() if key.startswith("refused: ")]
    return int(last["received"]), sum(counts) + sum(refused)


@pytest.mark.parametrize("jump", [-3600_000 * MS, -2_000 * MS, 3600_000 * MS])
def test_a_time_that_jumps(camera, jump):
    camera.stamp += jump
    camera.imus.clear()
    camera.play_until(lambda: len(camera.imus) > 2, "velocities after the jump")


def test_images_out_of_order_leave_the_published_stamps_increasing(camera):
    """Every sixth pair is swapped."""
    stamps: list[int] = []
    camera.node.create_subscription(Imu, "imu/data_raw", lambda message: stamps.append(stamp_of(message)), 10)
    before = camera.count("refused: order")

    def publish() -> None:
        images = [camera.image_message() for _ in range(6)]
        images[4], images[5] = images[5], images[4]
        for image in images:
            camera.play(lambda image=image: camera.images.publish(image))

    camera.wait_until(
        lambda: publish() or (camera.count("refused: order") > before and len(stamps) > 10), "answers and refusals"
    )
    assert all(earlier < later for earlier, later in pairwise(stamps))


@pytest.mark.parametrize("every", [3, 1])
def test_repeated_images_under_new_stamps(camera, every):
    """Every third image, or all, are the one before under a new stamp: refused by name, and stamps increase."""
    camera.imus.clear()
    before = camera.count("refused: repeated image")
    last = camera.pixels()
    for i in range(40):
        image = camera.image_message()
        if i % every == 0:
            image.data = array("B", last.tobytes())
        else:
            last = camera.pixels()
        camera.images.publish(image)
        time.sleep(PERIOD * 1e-9)
    camera.wait_until(lambda: camera.count("refused: repeated image") > before, "refused repeats")
    stamps = list(camera.imus)
    assert stamps == sorted(stamps)
    if every == 1:
        assert len(stamps) <= 2, "the first of the frozen images, and one that was on its way"


def test_parameters_change_under_load(camera):
    changes = [
        ("exposure_time", 0.012),
        ("measurement", "aligned"),
        ("motion_model", "full"),
        ("sign_resolution", "centered"),
        ("readout_time", 0.01),
        ("stamp_reference", "end"),
        ("measurement", "single"),
        ("sign_resolution", "axial"),
        ("linear_velocity_std", 1.0),
    ]
    back = {"exposure_time": 0.01, "measurement": "auto", "motion_model": "rotation", "sign_resolution": "causal"}
    back |= {"readout_time": 0.0, "stamp_reference": "middle", "linear_velocity_std": 0.3}
    for name, value in 2 * [*changes, ("sign_resolution", "causal"), *back.items()]:
        for _ in range(3):
            camera.images.publish(camera.image_message())
            time.sleep(0.01)
        assert camera.set_parameter(name, value) == (True, "")


# Processes


def test_a_request_that_rclpy_cannot_read_does_not_end_the_node(tiny_model):
    """Its own callbacks raise: for a parameter of a type that is none, and for a /clock before 1970."""
    client = CameraWithEars(namespace="/ending")

    def ask(process: subprocess.Popen) -> None:
        no_type = ParameterMessage(name="exposure_time", value=ParameterValue(type=99))
        assert client.set_parameters_client.wait_for_service(PATIENCE)
        client.set_parameters_client.call_async(SetParameters.Request(parameters=[no_type]))
        for line in process.stderr:
            if "internal error: ValueError: 99 is not a valid Parameter.Type" in line:
                break
        assert client.set_parameter("exposure_time", 0.02) == (True, "")
        process.send_signal(signal.SIGINT)

    assert end_by_signal(tiny_model, ask) == 0
    client.close()


def test_200_lifecycle_cycles_keep_the_memory(tiny_model):
    overrides = [Parameter("model", value=str(tiny_model)), Parameter("exposure_time", value=0.01)]
    node = module.BlurImuNode(namespace="/cycles", parameter_overrides=overrides)

    def cycle() -> None:
        for step in (node.trigger_configure, node.trigger_activate, node.trigger_deactivate, node.trigger_cleanup):
            assert step() == module.TransitionCallbackReturn.SUCCESS

    for _ in range(20):
        cycle()
    before = resident_megabytes()
    for _ in range(200):
        cycle()
    grown = resident_megabytes() - before
    node.destroy_node()
    print(f"{grown:.1f} MB in 200 cycles")
    assert grown <= 10


def resident_megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def end_by_signal(tiny_model: Path, end: Callable[[subprocess.Popen], None]) -> int:
    command = node_command(f"model:={tiny_model}", namespace="/ending")
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        while "active: " not in process.stderr.readline():
            assert process.poll() is None
        end(process)
        return process.wait(PATIENCE)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_node_cleanly(tiny_model, number):
    assert end_by_signal(tiny_model, lambda process: process.send_signal(number)) == 0


def test_a_hail_of_interrupts_ends_the_node_cleanly(tiny_model):
    def hail(process: subprocess.Popen) -> None:
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.005)

    assert end_by_signal(tiny_model, hail) == 0
