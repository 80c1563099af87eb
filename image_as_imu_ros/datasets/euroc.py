"""EuRoC MAV data sets and all that are written in their layout (ASL): mav0/cam0, imu0, state_groundtruth_estimate0.

Each sensor's `sensor.yaml` says with T_BS where it sits in the body; ground truth is the pose of the body. The
gyroscope's bias, which the ground truth holds too, is taken off: on these vehicles it is up to 0.1 rad/s.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import yaml

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, Frames, Gyroscope, Poses
from image_as_imu_ros.datasets.files import ascending, read_image
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.so3 import rotation_matrices

_DISTORTION_MODELS = {"radial-tangential": "plumb_bob", "equidistant": "equidistant"}


def open_capture(folder: Path, camera: str = "cam0") -> Capture:
    """Open a sequence's folder, or its mav0.

    Raises:
        InputError: files are missing or damaged.
    """
    root = folder / "mav0" if (folder / "mav0").is_dir() else folder
    intrinsics, camera_to_body = _read_camera(root / camera / "sensor.yaml")
    ground_truth = root / "state_groundtruth_estimate0" / "data.csv"
    states = _read_numbers(ground_truth, 8) if ground_truth.exists() else None
    poses = None
    if states is not None:
        stamps, states = states
        body = rotation_matrices(states[:, 3:7])
        poses = Poses(stamps, body @ camera_to_body[:3, :3], states[:, :3] + body @ camera_to_body[:3, 3])
    gyroscope = None
    if (root / "imu0").is_dir():
        imu_to_body = _transform(_read_yaml(root / "imu0" / "sensor.yaml"), root / "imu0" / "sensor.yaml")
        times, rates = _read_numbers(root / "imu0" / "data.csv", 4)
        rates = rates[:, :3]
        if states is not None and states.shape[1] >= 13:
            rates = rates - np.column_stack([np.interp(times, stamps, states[:, column]) for column in (10, 11, 12)])
        gyroscope = Gyroscope(times, rates @ (camera_to_body[:3, :3].T @ imu_to_body[:3, :3]).T)
    frames = _open_frames(root / camera, intrinsics)
    return Capture(frames, len(frames), lossless=True, gyroscope=gyroscope, poses=poses)


def _open_frames(folder: Path, camera: Camera) -> Frames:
    files = _read_list(folder / "data.csv")

    def read(i: int) -> CapturedFrame:
        stamp, name = files[i]
        return CapturedFrame(stamp, read_image(folder / "data" / name), camera)

    return Frames(np.array([stamp for stamp, _ in files], np.int64), np.zeros(len(files), bool), read)


def _read_camera(path: Path) -> tuple[Camera, np.ndarray]:
    """Read the intrinsics, and the transform (4, 4) camera → body."""
    sensor = _read_yaml(path)
    try:
        (width, height), (fx, fy, cx, cy) = sensor["resolution"], map(float, sensor["intrinsics"])
        distortion = tuple(map(float, sensor["distortion_coefficients"]))
        model = _DISTORTION_MODELS[sensor["distortion_model"]]
        return Camera(int(width), int(height), fx, fy, cx, cy, model, distortion), _transform(sensor, path)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} does not describe a camera as EuRoC's do: {error!r}") from None


def _read_yaml(path: Path) -> dict:
    try:
        return yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def _transform(sensor: dict, path: Path) -> np.ndarray:
    """Return T_BS (4, 4): sensor → body."""
    try:
        return np.array(sensor["T_BS"]["data"], np.float64).reshape(4, 4)
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path} has no 4×4 matrix T_BS") from None


def _read_list(path: Path) -> list[tuple[int, str]]:
    """Read (ns, file name) in the order of time."""
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row and not row[0].startswith("#")]
        return sorted((int(row[0]), row[1].strip()) for row in rows)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{path} is not a list of stamps and file names: {error}") from None


def _read_numbers(path: Path, least_columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Read stamps (N,) int64 ns, ascending, and the other columns."""
    try:
        lines = [line.split(",") for line in path.read_text().splitlines() if line and not line.startswith("#")]
        stamps = np.array([int(line[0]) for line in lines], np.int64)  # a float would round nanoseconds
        values = np.array([line[1:] for line in lines], np.float64).reshape(len(lines), -1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a table of numbers: {error}") from None
    if len(lines) < 2 or values.shape[1] < least_columns - 1:
        raise InputError(f"{path} needs at least 2 rows and {least_columns} columns")
    return ascending(stamps, values)
