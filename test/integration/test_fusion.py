"""Our messages in a filter: a reference EKF with robot_localization's rules, and the real ekf_node where installed."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from reference_ekf import ReferenceEkf
from scipy.spatial.transform import Rotation

from image_as_imu_ros.datasets.ground_truth import GroundTruth
from image_as_imu_ros.estimation.config import EstimatorConfig
from image_as_imu_ros.estimation.constants import SHARED
from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame, Shutter
from image_as_imu_ros.geometry.axes import rotation_of_axes
from image_as_imu_ros.recordings.ground_truth import read_ground_truth
from image_as_imu_ros.recordings.recording import Recording
from image_as_imu_ros.resources import DEFAULT_MODEL, resource

pytest.importorskip("sensor_msgs.msg", reason="messages are fused as the node publishes them")
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TwistWithCovarianceStamped, Vector3
from sensor_msgs.msg import Imu
from std_msgs.msg import Header

from image_as_imu_ros.messages.images import stamp_to_nanoseconds
from image_as_imu_ros.nodes.message_conversion import imu_message

DOCUMENTATION = Path(__file__).parents[2] / "docs/robot_localization.md"
CONFIG = yaml.safe_load(resource("config/ekf.yaml").read_text())["/**"]["ros__parameters"]
PROCESS_NOISE = np.reshape(CONFIG["process_noise_covariance"], (15, 15))
THRESHOLD = CONFIG["imu0_twist_rejection_threshold"]
OPTICAL_TO_BASE = rotation_of_axes("-y,-z,x").T  # a camera that looks forward

QUATERNION = {"qx": 0.0, "qy": 0.0, "qz": 0.0, "qw": 1.0}  # static_transform_publisher's arguments and defaults

[REST_ON_SILENCE] = re.findall(r"```python\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
[REST_CONFIG] = re.findall(r"```yaml\n(.*?)```", DOCUMENTATION.read_text(), re.DOTALL)
REST_VARIANCE = float(re.findall(r"^VARIANCE = ([\d.]+)", REST_ON_SILENCE, re.MULTILINE)[0])

COARSE_RATE, COARSE_STD = 50.0, 0.1  # Hz, rad/s


def imu(stamp: int, rates: np.ndarray, variance: float | np.ndarray = 0.01) -> Imu:
    header = Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id="sensor")
    message = Imu(header=header, angular_velocity=Vector3(x=float(rates[0]), y=float(rates[1]), z=float(rates[2])))
    message.angular_velocity_covariance = (variance * np.eye(3)).ravel()
    return message


def second(number: float) -> int:
    return round(number * 1e9)


def rmse(errors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.nanmean(errors**2, axis=0))


def test_the_filter_remembers_the_state_before_the_latest_measurement_that_can_come():
    """It predicts up to now while nothing comes, and forgets what is older than that less history_length.

    A measurement is stamped half of its dt before it comes, and some time of computing; the state before it, a dt more.
    """
    assert CONFIG["smooth_lagged_data"]
    assert CONFIG["history_length"] > 1.5 * SHARED.longest_dt + 0.2


# The transforms of the documentation


def documented_rotation(child: str) -> np.ndarray:
    """(3, 3) from the child frame to base_link, of the command that publishes it."""
    [command] = re.findall(
        rf"static_transform_publisher (.*?) --frame-id base_link --child-frame-id {child}$",
        DOCUMENTATION.read_text().replace("\\\n   ", ""),
        re.MULTILINE,
    )
    given = {name: float(value) for name, value in re.findall(r"--(\S+) (\S+)", command)}
    return Rotation.from_quat([given.get(name, default) for name, default in QUATERNION.items()]).as_matrix()


def test_documented_transforms_rotate_what_a_camera_sees_that_looks_forward():
    np.testing.assert_allclose(documented_rotation("camera_color_optical_frame"), OPTICAL_TO_BASE, atol=1e-12)
    np.testing.assert_allclose(documented_rotation("camera_link"), np.eye(3))


@pytest.mark.parametrize(
    ("option", "axes"),
    # The camera's x (right), y (down) and z (forward) in the base's axes: forward, left, up.
    [("roll", "y,z,x"), ("yaw", "x,-z,y")],
)
def test_documented_angles_are_those_of_cameras_upside_down_and_to_the_left(option, axes):
    [angle] = re.findall(rf"`--{option} ([\d.]+)`", DOCUMENTATION.read_text())
    mounting = Rotation.from_euler({"roll": "x", "yaw": "z"}[option], float(angle)).as_matrix()
    np.testing.assert_allclose(mounting @ OPTICAL_TO_BASE, rotation_of_axes(axes).T, atol=1e-5)


# The rules of the reference


def test_a_constant_rate_is_learned_with_the_variance_of_the_mean():
    """With no process noise, n equal measurements of variance r leave r/n."""
    ekf = ReferenceEkf(np.zeros((15, 15)))
    for i in range(10):
        assert ekf.imu("imu0", imu(second(1 + i), np.array([0.1, -0.2, 0.3])))
    np.testing.assert_allclose(ekf.rates, [0.1, -0.2, 0.3])
    np.testing.assert_allclose(np.diag(ekf.covariance)[3:6], 0.01 / 10)


def test_uncertainty_grows_with_time_and_with_the_process_noise():
    ekf = ReferenceEkf(PROCESS_NOISE)
    ekf.imu("imu0", imu(second(1), np.zeros(3)))
    ekf.imu("imu0", imu(second(1.5), np.ones(3), 1e6))
    np.testing.assert_allclose(np.diag(ekf.covariance)[3:6], 0.01 + 0.5 * np.diag(PROCESS_NOISE)[9:12], rtol=1e-4)


def test_an_imu_without_angular_velocity_and_a_message_from_the_past_are_dropped():
    ekf = ReferenceEkf(PROCESS_NOISE)
    absent = imu(second(1), np.ones(3))
    absent.angular_velocity_covariance[0] = -1.0
    assert not ekf.imu("imu0", absent)
    assert ekf.imu("imu0", imu(second(2), np.zeros(3)))
    assert not ekf.imu("imu0", imu(second(1.9), np.ones(3)))
    assert ekf.imu("imu1", imu(second(2), np.zeros(3)))  # another topic has its own past
    assert ekf.stamp == second(2)


def test_a_zero_variance_is_floored_and_a_negative_one_taken_for_its_absolute_value():
    certain = ReferenceEkf(PROCESS_NOISE)
    certain.imu("imu0", imu(second(1), np.zeros(3)))
    certain.imu("imu0", imu(second(2), np.ones(3), 0.0))
    np.testing.assert_allclose(certain.rates, 1, atol=1e-6)
    np.testing.assert_allclose(np.diag(certain.covariance)[3:6], 1e-9, rtol=1e-3)
    signs = [ReferenceEkf(PROCESS_NOISE), ReferenceEkf(PROCESS_NOISE)]
    for ekf, sign in zip(signs, (1, -1), strict=True):
        ekf.imu("imu0", imu(second(1), np.zeros(3)))
        ekf.imu("imu0", imu(second(1.1), np.ones(3), np.array([0.5 * sign, 0.5, 0.5])))
    np.testing.assert_allclose(signs[0].rates, signs[1].rates)


def test_a_reversed_sign_is_rejected_by_the_shipped_threshold_and_the_next_good_one_is_taken():
    ekf = ReferenceEkf(PROCESS_NOISE)
    rates = np.array([0.2, 2.5, -0.3])
    for i in range(5):
        ekf.imu("imu0", imu(second(1 + i / 30), rates), threshold=THRESHOLD)
    assert not ekf.imu("imu0", imu(second(1 + 5 / 30), -rates), threshold=THRESHOLD)
    np.testing.assert_allclose(ekf.rates, rates)
    assert ekf.imu("imu0", imu(second(1 + 6 / 30), rates), threshold=THRESHOLD)


def test_rates_and_their_covariance_are_rotated_into_base_link():
    ekf = ReferenceEkf(PROCESS_NOISE, OPTICAL_TO_BASE)
    ekf.imu("imu0", imu(second(1), np.array([0.1, -0.5, 0.3]), np.array([1.0, 4.0, 9.0])))
    np.testing.assert_allclose(ekf.rates, [0.3, -0.1, 0.5])  # roll about the optical axis, yaw left
    np.testing.assert_allclose(np.diag(ekf.covariance)[3:6], [9.0, 1.0, 4.0])


def test_what_a_camera_off_the_centre_sees_while_it_rotates_is_no_motion_of_the_base():
    """A camera 0.3 m ahead of a base that turns left on the spot moves to the left; the base does not."""
    yaw_rate, ahead = 2.0, np.array([0.3, 0.0, 0.0])
    ekf = ReferenceEkf(PROCESS_NOISE, OPTICAL_TO_BASE, ahead)
    rates = np.array([0.0, 0.0, yaw_rate])
    ekf.imu("imu0", imu(second(1), OPTICAL_TO_BASE.T @ rates, 1e-6))
    twist = TwistWithCovarianceStamped(header=imu(second(1), rates).header)
    x, y, z = OPTICAL_TO_BASE.T @ np.cross(rates, ahead)
    twist.twist.twist.linear = Vector3(x=x, y=y, z=z)
    twist.twist.covariance = (1e-4 * np.eye(6)).ravel()
    for _ in range(3):
        ekf.twist("twist0", twist)
    np.testing.assert_allclose(ekf.state[:3], 0, atol=1e-9)


def angle_after_silence(rest_period: float | None) -> tuple[float, float]:
    """Rotate at 2 rad/s until the camera falls silent; degrees turned in the 3.7 s after, and the rate 0.8 s after."""
    ekf, step, angle, rate = ReferenceEkf(PROCESS_NOISE), 0.01, 0.0, math.nan
    for i in range(30):
        ekf.imu("imu0", imu(second(1 + i / 30), np.array([0, 0, 2.0]), 0.0025), threshold=THRESHOLD)
    silent_since = 1 + 29 / 30
    rest_at = math.inf if rest_period is None else 0.3
    for i in range(1, round(3.7 / step) + 1):
        if i * step > rest_at - 1e-9:
            rest = TwistWithCovarianceStamped(header=imu(second(silent_since + i * step), np.zeros(3)).header)
            rest.twist.covariance = (REST_VARIANCE * np.eye(6)).ravel()
            assert ekf.twist("twist1", rest, fused=(3, 4, 5))
            rest_at += rest_period
        angle += math.degrees(ekf.rates[2] * step)
        if i == 80:
            rate = ekf.rates[2]
    return angle, rate


def test_zero_velocities_bring_the_filter_to_rest_when_the_camera_is_silent():
    """The remedy of docs/robot_localization.md, with its figures."""
    angle, rate = angle_after_silence(None)
    assert angle == pytest.approx(424, abs=5)
    assert rate == pytest.approx(2.0)
    angle, rate = angle_after_silence(0.1)
    assert angle == pytest.approx(38, abs=3)
    assert rate < 0.01


def test_the_filter_hears_of_rest_as_documented():
    """robot_localization counts its sensors from 0 and passes over what follows a gap: twist1 without a twist0."""
    lines = yaml.safe_load(REST_CONFIG)
    assert not lines.keys() & CONFIG.keys()
    sensors = [name for name in [*CONFIG, *lines] if re.fullmatch(r"(odom|pose|twist|imu)\d+", name)]
    for kind in ("odom", "pose", "twist", "imu"):
        numbers = sorted(int(name.removeprefix(kind)) for name in sensors if name.startswith(kind))
        assert numbers == list(range(len(numbers))), kind
    [rest] = [name for name, topic in lines.items() if topic == "rest"]
    assert [i for i, on in enumerate(lines[f"{rest}_config"]) if on] == [9, 10, 11]  # vroll, vpitch, vyaw


def test_the_node_of_the_documentation_publishes_zero_velocities_on_silence():
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    with rclpy_process() as process:
        rclpy.init()
        node = rclpy.create_node("listener")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        rests = []
        node.create_subscription(TwistWithCovarianceStamped, "rest", rests.append, 10)
        imus = node.create_publisher(Imu, "imu/data_raw", 10)
        try:
            deadline = time.monotonic() + 120
            while imus.get_subscription_count() == 0:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            for _ in range(10):
                imus.publish(imu(second(1), np.ones(3)))
                executor.spin_once(0.05)
            while not rests:
                assert time.monotonic() < deadline
                assert process.poll() is None
                executor.spin_once(0.1)
        finally:
            node.destroy_node()
            rclpy.shutdown()
    assert rests[0].header.frame_id == "sensor"
    assert np.diag(np.reshape(rests[0].twist.covariance, (6, 6))) == pytest.approx(REST_VARIANCE)


@contextmanager
def rclpy_process() -> Iterator[subprocess.Popen]:
    """Run the example of the documentation."""
    process = subprocess.Popen([sys.executable, "-c", "import image_as_imu_ros.nodes\n" + REST_ON_SILENCE])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


# Our messages


@pytest.fixture(scope="module")
def desk(request, desk_rpy_3s, recorded) -> tuple[list[Imu], GroundTruth]:
    """What the node publishes for the recording of that name, and the ground truth."""
    path = desk_rpy_3s if request.param == "desk_rpy_3s" else recorded(request.param)
    estimator = MotionEstimator.from_model(resource(DEFAULT_MODEL), EstimatorConfig(estimate_exposure=True))
    messages = []
    with Recording(path) as recording:
        ground_truth = read_ground_truth(recording, "/ground_truth/twist")
        for message in recording.frames("/camera/image_raw/compressed", "/camera/camera_info"):
            image = message.decode_image(estimator.engine.info.colour)
            estimate = estimator.update(Frame(image, message.stamp, message.camera(), Shutter(None)))
            if estimate is not None and not estimate.ambiguous:
                messages.append(imu_message(estimate, message.frame_id))
    estimator.engine.close()
    return messages, ground_truth


def coarse_gyroscope(ground_truth: GroundTruth, first: int, last: int) -> list[Imu]:
    """Make the second stream: the recording has no gyroscope, so ground truth with noise stands in for a cheap one."""
    stamps = np.arange(first, last, round(1e9 / COARSE_RATE))
    _, rates = ground_truth.at(stamps, 0.005)
    known = np.isfinite(rates).all(1)
    noisy = rates[known] + COARSE_STD * np.random.default_rng(0).normal(size=(known.sum(), 3))
    return [imu(int(stamp), rate, COARSE_STD**2) for stamp, rate in zip(stamps[known], noisy, strict=True)]


def errors(ground_truth: GroundTruth, stamps: list[int], rates: list[np.ndarray]) -> np.ndarray:
    """(N, 3) about base_link's axes: roll, pitch, yaw."""
    _, true = ground_truth.at(np.array(stamps), 0.005)
    return np.array(rates) - true @ OPTICAL_TO_BASE.T


@pytest.mark.parametrize(
    ("desk", "axes"),
    [
        # Our yaw rate (0.067 rad/s in the three seconds) is surer than its covariance says, so that the other
        # sensor's (0.099) draws on the fused one (0.074).
        pytest.param("desk_rpy_3s", [0, 1], id="three seconds"),
        pytest.param("desk_rpy_a", [0, 1], id="desk_rpy_a"),
    ],
    indirect=["desk"],
)
def test_fused_rates_beat_the_other_sensor_on_real_frames(desk, axes):
    """Roll, pitch and yaw rate in all of the filter's output, after the messages of either sensor.

    Both streams come with the covariances that they claim; ours say what the images gave, nothing is tuned by hand.
    """
    ours, ground_truth = desk
    stamps = [stamp_to_nanoseconds(message.header.stamp) for message in ours]
    assert all(before < after for before, after in pairwise(stamps))
    gyroscope = coarse_gyroscope(ground_truth, stamps[0], stamps[-1])
    of_ours = rmse(errors(ground_truth, stamps, [rates_of(message) for message in ours]))
    of_coarse = rmse(
        errors(
            ground_truth,
            [stamp_to_nanoseconds(message.header.stamp) for message in gyroscope],
            [rates_of(message) for message in gyroscope],
        )
    )
    alone, both = filtered(ours, [], ground_truth), filtered(ours, gyroscope, ground_truth)
    print(f"RMSE roll, pitch, yaw rate: ours {of_ours}, other {of_coarse}, filtered {alone}, both {both} rad/s")
    assert (both < of_coarse)[axes].all()
    # Where ours is no better by far; the filter itself lags.
    assert (both < 1.1 * of_ours)[[i for i in axes if of_ours[i] > 0.06]].all()


def rates_of(message: Imu) -> np.ndarray:
    """(3,) rad/s about base_link's axes."""
    rates = message.angular_velocity
    return OPTICAL_TO_BASE @ (rates.x, rates.y, rates.z)


def filtered(ours: list[Imu], gyroscope: list[Imu], ground_truth: GroundTruth) -> np.ndarray:
    """(3,) RMSE of the filter's output after each message.

    A hand accelerates harder than the filter expects of a robot: of a hundred messages it may take one for an outlier.
    """
    ekf, fused = ReferenceEkf(PROCESS_NOISE, OPTICAL_TO_BASE), 0
    streams = [("imu0", message) for message in ours] + [("imu1", message) for message in gyroscope]
    stamps, rates = [], []
    for topic, message in sorted(streams, key=lambda entry: stamp_to_nanoseconds(entry[1].header.stamp)):
        fused += ekf.imu(topic, message, threshold=THRESHOLD if topic == "imu0" else math.inf)
        stamps.append(stamp_to_nanoseconds(message.header.stamp))
        rates.append(ekf.rates.copy())
    assert fused >= len(streams) - math.ceil(0.01 * len(ours))
    return rmse(errors(ground_truth, stamps, rates))


# The real filter


def test_robot_localization_makes_the_bases_yaw_rate_of_our_messages(tiny_model):
    """The launch file starts node and ekf_node. A camera that looks forward pans right: the yaw rate is negative."""
    packages = pytest.importorskip("ament_index_python.packages")
    for package in ("robot_localization", "launch_ros", "image_as_imu_ros"):
        try:
            packages.get_package_prefix(package)
        except packages.PackageNotFoundError:
            pytest.skip(f"{package} is not installed in ROS here")
    import rclpy
    from camera_process import CameraWithEars
    from conftest import TINY_MODEL_RATE
    from geometry_msgs.msg import Quaternion, TransformStamped
    from nav_msgs.msg import Odometry
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from tf2_msgs.msg import TFMessage

    arguments = [f"model:={tiny_model}", "exposure_time:=0.01", "sign_resolution:=axial", "measurement:=single"]
    launch = subprocess.Popen(["ros2", "launch", "image_as_imu_ros", "blur_imu_ekf.launch.py", *arguments])
    rclpy.init()
    camera = CameraWithEars()
    try:
        transform = TransformStamped(child_frame_id="camera_optical")
        transform.header.frame_id = "base_link"
        transform.transform.rotation = Quaternion(x=-0.5, y=0.5, z=-0.5, w=0.5)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        camera.node.create_publisher(TFMessage, "/tf_static", latched).publish(TFMessage(transforms=[transform]))
        yaw_rates = []
        camera.node.create_subscription(
            Odometry, "odometry/filtered", lambda message: yaw_rates.append(message.twist.twist.angular.z), 10
        )
        camera.wait_for_node()
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (yaw_rates and abs(yaw_rates[-1] + TINY_MODEL_RATE) < 0.3):
            camera.infos.publish(camera.info_message())
            camera.images.publish(camera.image_message())
            time.sleep(0.033)
        assert yaw_rates[-1] == pytest.approx(-TINY_MODEL_RATE, abs=0.3)
    finally:
        camera.close()
        rclpy.shutdown()
        launch.send_signal(2)
        launch.wait(timeout=120)
