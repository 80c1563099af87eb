"""EuRoC MAV data sets and all that are written in their layout (ASL): mav0/cam0, imu0, state_groundtruth_estimate0.

TUM-VI among them: its ground truth is mocap0, its cameras are described in dso/camchain.yaml (Kalibr), and
dso/cam0/times.txt says each frame's exposure. Its images have 16 bits.

Each sensor's `sensor.yaml` says with T_BS where it sits in the body. So does that of the ground truth, whose poses are
the sensor's, as those of markers (vicon0); where it says nothing, they are the body's. The gyroscope's bias, which the
ground truth holds too, is taken off: on these vehicles it is up to 0.1 rad/s.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import yaml

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, Frames, Gyroscope, Poses
from image_as_imu_ros.datasets.files import ascending, check_stamp, read_image, read_text
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera

_DISTORTION_MODELS = {
    "radial-tangential": "plumb_bob",
    "radtan": "plumb_bob",
    "equidistant": "equidistant",
    "none": "plumb_bob",
}
_GROUND_TRUTHS = ("state_groundtruth_estimate0", "mocap0", "vicon0")
_ROUNDED = 0.01  # by how much the products of a rotation's rows may be off: files hold few digits


def open_capture(folder: Path, camera: str = "cam0") -> Capture:
    """Open a sequence's folder, or its mav0.

    Raises:
        InputError: files are missing or damaged.
    """
    root = folder / "mav0" if (folder / "mav0").is_dir() else folder
    extras = root.parent / "dso"
    if (root / camera / "sensor.yaml").exists() or not (extras / "camchain.yaml").exists():
        intrinsics, camera_to_body = _read_camera(root / camera / "sensor.yaml")
    else:
        intrinsics, camera_to_body = _read_kalibr(extras / "camchain.yaml", camera)
    ground_truth = next((root / name for name in _GROUND_TRUTHS if (root / name / "data.csv").exists()), None)
    states, poses = None, None
    if ground_truth is not None:
        stamps, states = _read_numbers(ground_truth / "data.csv", 8)
        camera_to_sensor = np.linalg.solve(_posed_to_body(ground_truth), camera_to_body)
        sensor = Poses.of(stamps, states[:, 3:7], states[:, :3])
        positions = sensor.positions + sensor.rotations @ camera_to_sensor[:3, 3]
        poses = Poses(sensor.stamps, sensor.rotations @ camera_to_sensor[:3, :3], positions)
    gyroscope = None
    if (root / "imu0").is_dir():
        described = root / "imu0" / "sensor.yaml"
        imu_to_body = _transform(_read_yaml(described), described) if described.exists() else np.eye(4)
        times, rates = _read_numbers(root / "imu0" / "data.csv", 4)
        rates = rates[:, :3]
        if states is not None and states.shape[1] >= 13:
            rates = rates - np.column_stack([np.interp(times, stamps, states[:, column]) for column in (10, 11, 12)])
        gyroscope = Gyroscope(times, rates @ (camera_to_body[:3, :3].T @ imu_to_body[:3, :3]).T)
    frames = _open_frames(root / camera, intrinsics, extras / camera / "times.txt")
    return Capture(frames, len(frames), lossless=True, gyroscope=gyroscope, poses=poses)


def _open_frames(folder: Path, camera: Camera, times: Path) -> Frames:
    """List a camera's images. `times`: lines of name, s and exposure in ms, where they are there."""
    files = _read_list(folder / "data.csv")
    exposures = _read_exposures(times) if times.exists() else {}

    def read(i: int) -> CapturedFrame:
        stamp, name = files[i]
        return CapturedFrame(stamp, read_image(folder / "data" / name), camera, exposures.get(Path(name).stem))

    return Frames(np.array([stamp for stamp, _ in files], np.int64), np.zeros(len(files), bool), read)


def _read_exposures(path: Path) -> dict[str, float]:
    """Read s by name."""
    rows = [line.replace(",", " ").split() for line in read_text(path).splitlines() if not line.startswith("#")]
    try:
        return {Path(row[0]).stem: 1e-3 * float(row[2]) for row in rows if len(row) >= 3 and float(row[2]) > 0}
    except ValueError as error:
        raise InputError(f"{path} is not a list of names, times and exposures: {error}") from None


def _read_kalibr(path: Path, camera: str) -> tuple[Camera, np.ndarray]:
    """Read a camera of a camchain: its intrinsics, and the transform (4, 4) camera → IMU, which is the body."""
    try:
        found = _read_yaml(path)[camera]
        (width, height), (fx, fy, cx, cy) = found["resolution"], map(float, found["intrinsics"])
        distortion = tuple(map(float, found["distortion_coeffs"]))
        model = _DISTORTION_MODELS[found["distortion_model"]]
        imu_to_camera = np.array(found["T_cam_imu"], np.float64).reshape(4, 4)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not describe {camera} as Kalibr does: {error!r}") from None
    return Camera(int(width), int(height), fx, fy, cx, cy, model, distortion), np.linalg.inv(imu_to_camera)


def _read_camera(path: Path) -> tuple[Camera, np.ndarray]:
    """Read the intrinsics, and the transform (4, 4) camera → body."""
    sensor = _read_yaml(path)
    try:
        (width, height), (fx, fy, cx, cy) = sensor["resolution"], map(float, sensor["intrinsics"])
        distortion = tuple(map(float, sensor.get("distortion_coefficients") or ()))
        model = _DISTORTION_MODELS[str(sensor.get("distortion_model") or "none")]
        return Camera(int(width), int(height), fx, fy, cx, cy, model, distortion), _transform(sensor, path)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not describe a camera as EuRoC's do: {error!r}") from None


def _posed_to_body(folder: Path) -> np.ndarray:
    """Read the transform (4, 4) to the body of what a ground truth's poses are of."""
    path = folder / "sensor.yaml"
    sensor = _read_yaml(path) if path.exists() else None
    return _transform(sensor, path) if sensor and "T_BS" in sensor else np.eye(4)


def _read_yaml(path: Path) -> dict:
    try:
        # OpenCV writes a first line and tags that YAML 1.1 does not know, and people write tabs.
        lines = path.read_text(encoding="utf-8-sig", errors="replace").expandtabs(4).splitlines()
        text = "\n".join(line for line in lines if not line.startswith("%YAML"))
        return yaml.safe_load(re.sub(r"!!opencv-\w+", "", text))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _transform(sensor: dict, path: Path) -> np.ndarray:
    """Return T_BS (4, 4): sensor → body."""
    try:
        transform = np.array(sensor["T_BS"]["data"], np.float64).reshape(4, 4)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path} has no 4×4 matrix T_BS") from None
    rotation = transform[:3, :3]
    orthonormal = np.allclose(rotation @ rotation.T, np.eye(3), atol=_ROUNDED) and np.linalg.det(rotation) > 0
    if not orthonormal or transform[3].tolist() != [0, 0, 0, 1]:
        raise InputError(f"{path} has a T_BS that is no rotation and translation: {transform.tolist()}")
    return transform


def _read_list(path: Path) -> list[tuple[int, str]]:
    """Read (ns, file name) in the order of time."""
    try:
        rows = [row for row in csv.reader(read_text(path).splitlines()) if row and not row[0].startswith("#")]
        return sorted((check_stamp(int(row[0])), row[1].strip()) for row in rows)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{path} is not a list of stamps and file names: {error}") from None


def _read_numbers(path: Path, least_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Read stamps (N,) int64 ns, ascending, and the other columns."""
    try:
        lines = [line.split(",") for line in read_text(path).splitlines() if line and not line.startswith("#")]
        stamps = np.array([check_stamp(int(line[0])) for line in lines], np.int64)  # a float would round nanoseconds
        values = np.array([line[1:] for line in lines], np.float64).reshape(len(lines), -1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a table of numbers: {error}") from None
    if len(lines) < 2 or values.shape[1] < least_columns - 1:
        raise InputError(f"{path} needs at least 2 rows and {least_columns} columns")
    return ascending(stamps, values)
