"""Videos of logging apps for phones: MARS logger (Android, iOS) and OpenCamera Sensors (Android).

Axes: the image is as the sensor has it, upright when the phone lies on its left side; see `stray_scanner`. Android's
stamps (`SENSOR_TIMESTAMP`) are the start of the first row's exposure, on the clock of the gyroscope.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from image_as_imu_ros.datasets import video
from image_as_imu_ros.datasets.capture import Capture
from image_as_imu_ros.datasets.frame_table import read_frame_table
from image_as_imu_ros.datasets.gyroscope_file import read_gyroscope
from image_as_imu_ros.datasets.stray_scanner import PHONE_TO_OPTICAL
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.frame import StampReference
from image_as_imu_ros.geometry.camera import Intrinsics

_X_Y_Z_TIME = (3, 0, 1, 2)  # OpenCamera Sensors writes no names above its columns


def open_mars(folder: Path, intrinsics: Intrinsics | None = None, rotation: np.ndarray = PHONE_TO_OPTICAL) -> Capture:
    """Open a folder of MARS logger: movie.mp4, movie_metadata.csv, frame_timestamps.txt and gyro_accel.csv.

    Args:
        intrinsics: None for the focal length that the metadata hold, and a principal point in the middle.
        rotation: (3, 3) gyroscope → optical frame.

    Raises:
        InputError: files are missing, damaged or do not belong together.
    """
    frames = read_frame_table(folder / "movie_metadata.csv", "ns")
    written = folder / "frame_timestamps.txt"
    if written.exists():  # not every frame of the camera gets into the video
        frames = frames.at(read_frame_table(written, "ns").stamps)
    file = folder / "gyro_accel.csv"
    gyroscope = (read_gyroscope(file, "ns"), file) if file.exists() else None
    return video.open_capture(
        folder / "movie.mp4",
        intrinsics,
        gyroscope,
        rotation=rotation,
        frames=frames,
        stamp_reference=StampReference.START,
    )


def open_opencamera(path: Path, intrinsics: Intrinsics | None, rotation: np.ndarray = PHONE_TO_OPTICAL) -> Capture:
    """Open a video of OpenCamera Sensors; NAME_timestamps.csv and NAME_gyro.csv lie beside it or in a folder there.

    Args: as `open_mars`.

    Raises:
        InputError: as `open_mars`.
    """
    stamps, file = (_beside(path, f"{path.stem}{ending}") for ending in ("_timestamps.csv", "_gyro.csv"))
    if stamps is None:
        raise InputError(f"{path.stem}_timestamps.csv is neither beside {path} nor in a folder there")
    gyroscope = None if file is None else (read_gyroscope(file, "ns", _X_Y_Z_TIME), file)
    return video.open_capture(
        path,
        intrinsics,
        gyroscope,
        rotation=rotation,
        frames=read_frame_table(stamps, "ns"),
        stamp_reference=StampReference.START,
    )


def _beside(path: Path, name: str) -> Path | None:
    return next(iter([*path.parent.glob(name), *path.parent.glob(f"*/{name}")]), None)
