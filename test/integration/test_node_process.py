"""The node over real DDS: it runs in one process, the camera and the listener in another."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("image_as_imu_ros.nodes")
pytest.importorskip("rclpy")

from camera_process import HEIGHT, PERIOD, WIDTH, CameraWithEars, node_process, stamp_of
from conftest import TINY_MODEL_RATE
from geometry_msgs.msg import Point, PointStamped
from sensor_msgs.msg import CompressedImage, Image, Imu

pytestmark = pytest.mark.usefixtures("ros")

MS = 1_000_000  # ns


@pytest.fixture(scope="module")
def plain_node(tiny_model):
    """Raw images, a fixed exposure of 10 ms, stamps at its start."""
    with node_process(
        f"model:={tiny_model}",
        "exposure_time:=0.01",
        "stamp_reference:=start",
        "motion_model:=rotation",
        "measurement:=single",
        "diagnostics_period:=0.2",
    ) as log:
        yield log


@pytest.fixture(scope="module")
def long_lived_camera(plain_node):
    camera = CameraWithEars()
    camera.wait_for_node()
    yield camera
    camera.close()


@pytest.fixture
def camera(long_lived_camera):
    """A camera whose last image was answered."""
    camera = long_lived_camera
    camera.info = camera.info_message()
    camera.imus.clear()
    camera.play_until(lambda: camera.imus, "the first answer")
    return camera


def test_images_become_imu_and_twist(camera):
    for _ in range(8):
        imu, twist = camera.ask(5 * MS)
        assert imu.header == twist.header
        assert imu.header.frame_id == "camera_optical"
        assert imu.orientation_covariance[0] == -1
        assert imu.linear_acceleration_covariance[0] == -1
        angular = imu.angular_velocity
        # Not exactly the model's rate: the image's spectra have a small say.
        assert (angular.x, angular.y, angular.z) == pytest.approx((0, TINY_MODEL_RATE, 0), abs=0.03)
        assert twist.twist.twist.angular == angular
        covariance = twist.twist.covariance.reshape(6, 6)
        assert np.linalg.eigvalsh(covariance).min() > 0
        np.testing.assert_array_equal(imu.angular_velocity_covariance.reshape(3, 3), covariance[3:, 3:])


@pytest.fixture
def aligning_camera(camera):
    """A camera whose node answers with aligned velocities."""
    assert camera.set_parameter("measurement", "aligned")[0]
    yield camera
    assert camera.set_parameter("measurement", "single")[0]


def test_aligned_answers_are_stamped_halfway_between_two_frames(aligning_camera):
    camera = aligning_camera
    camera.imus.clear()
    camera.play_until(lambda: int(camera.diagnostic("aligned") or 0) > 3, "aligned answers")
    # A busy machine skips images: dt is then several periods.
    half_periods = [divmod(camera.stamp + 5 * MS - stamp, PERIOD // 2) for stamp in camera.imus]
    assert {rest for _, rest in half_periods} == {0}
    assert any(number % 2 for number, _ in half_periods)
    rates = [imu.angular_velocity.y for imu in camera.imus.values()]
    assert np.median(rates) == pytest.approx(TINY_MODEL_RATE, rel=0.15), "the texture is translated, not rotated"
    assert camera.diagnostic("measurement") == "aligned"
    assert camera.diagnostic("alignment")


def bad_images(camera: CameraWithEars) -> dict[str, Image]:
    image = camera.image_message
    return {
        "unknown encoding": image(encoding="nonsense"),
        "step too small": image(step=WIDTH - 1),
        "truncated": image(height=HEIGHT + 1),
        "zero size": image(width=0),
        "huge": image(width=100_000, step=100_000),
        "another size than camera_info": image(width=WIDTH // 2),
        "no data": image(data=[]),
    }


def test_bad_images_are_counted_and_the_next_good_one_is_answered(camera):
    for what, image in bad_images(camera).items():
        before = camera.refusals()
        camera.publish_until(
            lambda image=image: camera.images.publish(image),
            lambda before=before: camera.refusals() > before,
            f"the refusal of: {what}",
        )
    camera.imus.clear()
    camera.play_until(lambda: camera.imus, "an answer")


def test_bad_camera_info_is_named_and_forgiven(camera):
    uncalibrated = camera.info_message()
    uncalibrated.k = np.zeros(9)
    before = camera.count("refused: camera_info")
    camera.info = uncalibrated
    camera.play_until(lambda: camera.count("refused: camera_info") > before, "the refusal")
    assert any("is the camera calibrated" in status.message for status in camera.diagnostics)
    camera.info = camera.info_message()
    camera.imus.clear()
    camera.play_until(lambda: camera.imus, "answers again")


def test_zero_and_repeated_stamps_are_refused_and_time_may_jump_back(camera):
    before = camera.count("refused: stamp")
    camera.publish_until(
        lambda: camera.images.publish(camera.stamped(camera.image_message(), stamp=0)),
        lambda: camera.count("refused: stamp") > before,
        "the refusal of stamp 0",
    )

    imu, _ = camera.ask(5 * MS)
    for later in (0, 238):  # ns: stamps that went through seconds as a double differ by so much
        image = camera.stamped(camera.image_message(), stamp_of(imu) - 5 * MS + later)
        before = camera.count("refused: estimate")
        camera.publish_until(
            lambda image=image: camera.images.publish(image),
            lambda before=before: camera.count("refused: estimate") > before,
            "the refusal of a repeated stamp",
        )

    camera.stamp -= 60_000 * MS
    camera.imus.clear()
    camera.play_until(lambda: camera.imus, "answers after the jump")
    assert min(camera.imus) < camera.stamp + 5 * MS + 1


def test_nothing_is_published_without_an_exposure_time(camera):
    assert camera.set_parameter("exposure_time", 0.0) == (True, "")
    before = camera.count("refused: exposure")
    camera.play_until(lambda: camera.count("refused: exposure") > before, "the refusal")
    camera.imus.clear()
    before = camera.count("refused: exposure")
    camera.play_until(lambda: camera.count("refused: exposure") > before + 2, "more of them")
    assert not camera.imus
    assert any("exposure_time is not set" in status.message for status in camera.diagnostics)
    # Twice the exposure than true: half the velocity, and a sign that the images do not confirm.
    assert camera.set_parameter("exposure_time", 0.02) == (True, "")
    assert camera.set_parameter("publish_unresolved", True) == (True, "")
    camera.play_until(lambda: camera.imus, "answers again")
    imu = camera.imus[max(camera.imus)]
    assert abs(imu.angular_velocity.y) == pytest.approx(TINY_MODEL_RATE / 2, abs=0.01)
    assert camera.set_parameter("publish_unresolved", False) == (True, "")
    assert camera.set_parameter("exposure_time", 0.01) == (True, "")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("exposure_time", 7.0, "out of range"),
        ("exposure_time", math.nan, "exposure_time"),
        ("sign_resolution", "up", "expected one of: causal, centered, axial"),
        ("stamp_reference", "", "expected one of"),
        ("motion_model", 3, "Wrong parameter type"),
        ("model", "other.onnx", "read"),
        ("engine", "tensorrt", "read"),
    ],
)
def test_bad_parameters_are_refused_with_a_reason(camera, name, value, says):
    successful, reason = camera.set_parameter(name, value)
    assert not successful
    assert says in reason


def test_the_debug_image_is_there_for_subscribers(camera):
    camera.node.create_subscription(Image, "debug/image", camera.debug_images.append, 10)
    camera.play_until(lambda: camera.debug_images, "a debug image")
    image = camera.debug_images[0]
    assert (image.width, image.height, image.encoding, image.step) == (WIDTH, HEIGHT, "bgr8", 3 * WIDTH)
    assert len(image.data) == 3 * WIDTH * HEIGHT


def test_compressed_images_with_exposure_and_depth_of_their_own(tiny_model):
    with node_process(
        f"model:={tiny_model}",
        "image_transport:=compressed",
        "exposure_source:=topic",
        "exposure_unit:=ms",
        "depth_transport:=raw",
        "stamp_reference:=end",
        "sign_resolution:=axial",
        "rate_hint_type:=imu",
        "diagnostics_period:=0.2",
        namespace="/second",
    ):
        camera = CameraWithEars(CompressedImage, namespace="/second")
        camera.wait_for_node()
        camera.info = camera.info_message()
        camera.imus.clear()
        gyroscope = camera.node.create_publisher(Imu, "rate_hint", 10)

        def publish_all() -> None:
            image = camera.compressed_message()
            gyroscope.publish(camera.stamped(Imu()))
            camera.exposures.publish(camera.stamped(PointStamped(point=Point(x=8.0))))
            depth = Image(encoding="16UC1", width=4, height=3, step=8, data=list(range(24)))
            camera.depths.publish(camera.stamped(depth))
            camera.images.publish(image)

        camera.play_until(lambda: len(camera.imus) > 3, "answers", publish_all)
        camera.wait_until(lambda: camera.diagnostic("depth from") == "topic", "measured depth to be used")
        assert camera.diagnostic("exposure from") == "topic"
        assert camera.diagnostic("rate hint") == "used"
        assert camera.diagnostic("exposure (s)") == "0.008"
        assert all((camera.stamp - stamp - 4 * MS) % (33 * MS) == 0 for stamp in camera.imus)
        assert camera.count("refused: internal error") == 0

        before = camera.count("refused: image")

        def publish_broken() -> None:
            broken = camera.compressed_message()
            broken.data = broken.data[:500]
            camera.exposures.publish(camera.stamped(PointStamped(point=Point(x=8.0))))
            camera.images.publish(broken)

        camera.publish_until(
            publish_broken, lambda: camera.count("refused: image") > before, "the refusal of a cut JPEG"
        )
        without = camera.count("refused: exposure")
        camera.publish_until(
            lambda: camera.images.publish(camera.compressed_message()),
            lambda: camera.count("refused: exposure") > without,
            "the refusal of an image without exposure",
        )
        camera.close()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", "autostart:=true", "-p", "model:=nowhere.onnx"], "cannot be configured: model file 'nowhere.onnx'"),
        (["-p", "exposure_time:=soon"], "parameter exposure_time must be of type float"),
        (["-p", "exposure_source:=realsense"], "RealSense cameras report '100us'"),
    ],
)
def test_what_cannot_start_says_why_in_one_line(arguments, says):
    command = [sys.executable, "-m", "image_as_imu_ros", "blur_imu_node", "--ros-args", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 2
    assert says in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
