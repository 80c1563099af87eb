"""Small recordings with a known motion, and an engine that sees it exactly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from image_as_imu_ros.engine import ModelInfo
from image_as_imu_ros.engine.network_output import NetworkOutput
from image_as_imu_ros.evaluation import open_engine
from image_as_imu_ros.geometry.axial_flow import axial_from_signed
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import MotionFieldMatrix, cell_centres
from image_as_imu_ros.geometry.view import View

CAMERA = Camera(160, 112, 130.0, 128.0, 80.0, 55.0)
EXPOSURE = 0.01
COUNT = 12  # frames
FRAME_ID = "camera_optical"
FIRST_STAMP = 1_700_000_000_000_000_000
FRAME_INTERVAL = 40_000_000  # ns
_STEP = 4  # of intensity between consecutive frames, so that an image says which frame it is

_STORE = get_typestore(Stores.ROS2_JAZZY)
_T = _STORE.types


def motion(stamp: int) -> np.ndarray:
    """(6,) true (v, ω) at a time, ns: smooth, never zero."""
    t = (stamp - FIRST_STAMP) * 1e-9
    return np.array([0.3 * np.cos(t), -0.2, 0.1 * np.sin(t), 2 + np.sin(3 * t), -4.0, 3 * np.cos(2 * t)])


class ExactEngine:
    """Sees the exact axial field of `motion` in a uniform image whose intensity is its frame number."""

    name = "exact"

    def __init__(self, frame_stamps: list[int]) -> None:
        self.info = ModelInfo("exact", "1", width=160, height=112, flow_log_std=0.02)
        self._stamps = frame_stamps
        matrix = MotionFieldMatrix.at(View.of(CAMERA, 160, 112).camera, cell_centres(28, 40, 4))
        self._depth = np.linspace(1.0, 4.0, 28 * 40)
        self._velocity_to_flow = matrix.velocity_to_flow(self._depth)

    def infer(self, image: np.ndarray) -> NetworkOutput:
        velocity = motion(self._stamps[round(float(image.mean()) / _STEP)])
        flow = EXPOSURE * (self._velocity_to_flow @ velocity).T.reshape(2, 28, 40)
        sigma, depth_sigma = np.full((2, 28, 40), 0.05), np.full((28, 40), 0.1)
        return NetworkOutput(axial_from_signed(flow), sigma, self._depth.reshape(28, 40), depth_sigma, 4)

    def close(self) -> None:
        pass


class SharpEngine(ExactEngine):
    """Sees hardly any blur, wherever the camera moves."""

    def infer(self, image: np.ndarray) -> NetworkOutput:
        """See `Engine.infer`."""
        sigma, depth_sigma = np.full((2, 28, 40), 0.05), np.full((28, 40), 0.1)
        flow = np.stack([np.full((28, 40), 0.3), np.zeros((28, 40))])
        return NetworkOutput(flow, sigma, self._depth.reshape(28, 40), depth_sigma, 4)


def let_evaluate_see_exactly(monkeypatch) -> None:
    """Give the command ExactEngine for its model."""
    monkeypatch.setattr(open_engine, "resource", lambda name: name)
    monkeypatch.setattr(open_engine, "load_engine", lambda *_: ExactEngine(frame_stamps(COUNT)))


def frame_stamps(count: int) -> list[int]:
    return [FIRST_STAMP + number * FRAME_INTERVAL for number in range(count)]


def time_of(stamp: int):
    return _T["builtin_interfaces/msg/Time"](stamp // 1_000_000_000, stamp % 1_000_000_000)


def header(stamp: int, frame_id: str = FRAME_ID):
    return _T["std_msgs/msg/Header"](time_of(stamp), frame_id)


def image_message(stamp: int, number: int):
    """PNG whose intensity is that of the frame's number."""
    uniform = np.full((CAMERA.height, CAMERA.width), _STEP * number, np.uint8)
    return _T["sensor_msgs/msg/CompressedImage"](header(stamp), "png", cv2.imencode(".png", uniform)[1].ravel())


def panorama_messages(stamps: list[int], rate: float) -> list:
    """Sharp, textured images by a camera that pans at `rate` rad/s before something far."""
    noise = np.random.default_rng(0).normal(size=(40, 60))
    texture = np.clip(128 + 50 * cv2.resize(noise, (640, 448), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)
    to_texture = np.array([[1.0, 0, 240], [0, 1.0, 168], [0, 0, 1]])
    messages = []
    for stamp in stamps:
        rotation = cv2.Rodrigues(np.array([0, rate * (stamp - stamps[0]) * 1e-9, 0]))[0]
        homography = to_texture @ CAMERA.matrix @ rotation @ np.linalg.inv(CAMERA.matrix)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        image = cv2.warpPerspective(texture, homography, (CAMERA.width, CAMERA.height), flags=flags)
        data = cv2.imencode(".png", image)[1].ravel()
        messages.append(_T["sensor_msgs/msg/CompressedImage"](header(stamp), "png", data))
    return messages


def raw_image_message(stamp: int, number: int):
    data = np.full(CAMERA.height * CAMERA.width, _STEP * number, np.uint8)
    return _T["sensor_msgs/msg/Image"](
        header(stamp), CAMERA.height, CAMERA.width, "mono8", is_bigendian=0, step=CAMERA.width, data=data
    )


def exposure(stamp: int, value: float):
    return _T["geometry_msgs/msg/PointStamped"](header(stamp), _T["geometry_msgs/msg/Point"](value, 0.0, 0.0))


def diagnostics(stamp: int, **values: str):
    """As drivers publish them; camera_ros has its settings there."""
    entries = [_T["diagnostic_msgs/msg/KeyValue"](key, value) for key, value in values.items()]
    status = _T["diagnostic_msgs/msg/DiagnosticStatus"](0, "camera", "", "", entries)
    return _T["diagnostic_msgs/msg/DiagnosticArray"](header(stamp), [status])


def depth_message(stamp: int, metres: float):
    data = np.full((CAMERA.height // 2, CAMERA.width // 2), round(1e3 * metres), np.uint16)
    return _T["sensor_msgs/msg/Image"](
        header(stamp),
        data.shape[0],
        data.shape[1],
        "16UC1",
        is_bigendian=0,
        step=2 * data.shape[1],
        data=data.view(np.uint8).ravel(),
    )


def camera_info(stamp: int, fx: float = CAMERA.fx):
    return _T["sensor_msgs/msg/CameraInfo"](
        header(stamp),
        height=CAMERA.height,
        width=CAMERA.width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.array([fx, 0, CAMERA.cx, 0, CAMERA.fy, CAMERA.cy, 0, 0, 1.0]),
        r=np.eye(3).ravel(),
        p=np.zeros(12),
        binning_x=0,
        binning_y=0,
        roi=_T["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False),
    )


def imu(stamp: int, angular: np.ndarray, frame_id: str = FRAME_ID):
    return _T["sensor_msgs/msg/Imu"](
        header(stamp, frame_id),
        _T["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
        np.zeros(9),
        _vector(angular),
        np.zeros(9),
        _vector(np.zeros(3)),
        np.zeros(9),
    )


def twist(stamp: int, velocity: np.ndarray):
    return _T["geometry_msgs/msg/TwistStamped"](header(stamp), _twist(velocity))


def twist_with_covariance(stamp: int, velocity: np.ndarray):
    with_covariance = _T["geometry_msgs/msg/TwistWithCovariance"](_twist(velocity), np.zeros(36))
    return _T["geometry_msgs/msg/TwistWithCovarianceStamped"](header(stamp), with_covariance)


def odometry(stamp: int, velocity: np.ndarray):
    with_covariance = _T["geometry_msgs/msg/TwistWithCovariance"](_twist(velocity), np.zeros(36))
    pose = _T["geometry_msgs/msg/PoseWithCovariance"](_pose(np.zeros(3), np.array([0, 0, 0, 1.0])), np.zeros(36))
    return _T["nav_msgs/msg/Odometry"](header(stamp, "odom"), FRAME_ID, pose, with_covariance)


def pose(stamp: int, position: np.ndarray, quaternion_xyzw: np.ndarray):
    return _T["geometry_msgs/msg/PoseStamped"](header(stamp, "world"), _pose(position, quaternion_xyzw))


def write_recording(
    path: Path, topics: dict[str, list], *, storage: StoragePlugin = StoragePlugin.MCAP, delays: dict | None = None
) -> Path:
    """Write messages in the order of their stamps, plus ns of `delays` per topic."""
    delays = delays or {}
    with Writer(path, version=9, storage_plugin=storage) as writer:
        entries = []
        for topic, messages in topics.items():
            connection = writer.add_connection(topic, messages[0].__msgtype__, typestore=_STORE)
            for message in messages:
                stamp = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec
                entries.append((stamp + delays.get(topic, 0), connection, message))
        for stamp, connection, message in sorted(entries, key=lambda entry: entry[0]):
            writer.write(connection, stamp, _STORE.serialize_cdr(message, connection.msgtype))
    return path


def moving_camera(path: Path, count: int = COUNT, *, ground_truth: str = "twist", **topics: list) -> Path:
    """Write a recording of `motion`: images stamped in mid-exposure, intrinsics, and the ground truth at 200 Hz."""
    stamps = frame_stamps(count)
    times = range(stamps[0] - 20_000_000, stamps[-1] + 20_000_000, 5_000_000)
    messages = {"/camera/image_raw/compressed": [image_message(stamp, i) for i, stamp in enumerate(stamps)]}
    messages["/camera/camera_info"] = [camera_info(stamp) for stamp in stamps]
    if ground_truth == "twist":
        messages["/truth"] = [twist(time, motion(time)) for time in times]
    elif ground_truth == "imu":
        messages["/imu"] = [imu(time, motion(time)[3:]) for time in times]
    return write_recording(path, messages | topics)


def _vector(xyz: np.ndarray):
    return _T["geometry_msgs/msg/Vector3"](*map(float, xyz))


def _twist(velocity: np.ndarray):
    return _T["geometry_msgs/msg/Twist"](_vector(velocity[:3]), _vector(velocity[3:]))


def _pose(position: np.ndarray, quaternion_xyzw: np.ndarray):
    point = _T["geometry_msgs/msg/Point"](*map(float, position))
    return _T["geometry_msgs/msg/Pose"](point, _T["geometry_msgs/msg/Quaternion"](*map(float, quaternion_xyzw)))
