"""Captures of the Stray Scanner app (iPhones, iPads): video, poses, gyroscope, and depth from the lidar.

Axes. Video, poses and gyroscope each have their own:

- Poses: ARKit's camera has x right, y up, z backward in the image. The app rotates it by 180° about x before it writes
  the quaternion (`q_WA * q_AC` in its OdometryEncoder), so the file's rotations are those of the optical frame. The
  world is ARKit's, y up.
- Gyroscope: Core Motion's axes are those of the phone held upright before you: x right, y up, z out of the screen. The
  image is upright when the phone lies on its left side: the image's x is the phone's −y, its y (down) the phone's −x,
  its z (into the scene) the phone's −z.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.datasets.capture import Capture, CapturedFrame, DepthImage, Frames, Gyroscope, Poses
from image_as_imu_ros.datasets.files import (
    ascending,
    column_names,
    columns,
    nanoseconds,
    read_camera,
    read_depth,
    read_table,
    with_depth,
)
from image_as_imu_ros.datasets.video_file import Video
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.axes import rotation_of_axes
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.messages.image_files import read_image_file

PHONE_TO_OPTICAL = rotation_of_axes("-y,-x,-z")

_LEAST_CONFIDENCE = 1  # of 0, 1, 2
_INTRINSICS = ("fx", "fy", "cx", "cy")


def open_capture(folder: Path) -> Capture:
    """Open a capture's folder.

    `odometry.csv` may hold two things beyond the published format: `exposure`, s, and intrinsics `fx, fy, cx, cy` per
    frame (newer versions of the app, for the focus moves). Depth of the lowest confidence counts as unknown.

    Raises:
        InputError: files are missing, damaged or do not belong together.
    """
    frames, poses = open_frames(folder)
    gyroscope = _read_gyroscope(folder / "imu.csv") if (folder / "imu.csv").exists() else None
    return Capture(frames, len(frames), lossless=False, gyroscope=gyroscope, poses=poses)


def open_frames(folder: Path) -> tuple[Frames, Poses]:
    """Open the video, and read the poses: as `open_capture`, without the gyroscope."""
    rows = read_table(folder / "odometry.csv", ("timestamp", "frame", "x", "y", "z", "qx", "qy", "qz", "qw"))
    video = Video(folder / "rgb.mp4")
    # Versions of 2022–25 stamp their first image one frame before the video's start, so players drop it.
    dropped = len(rows) - len(video)
    if dropped not in (0, 1):
        raise InputError(
            f"{folder / 'rgb.mp4'} has {len(video)} frames, but odometry.csv has {len(rows)} rows: "
            "which belong together?"
        )
    stamps, poses = ascending(nanoseconds(rows["timestamp"]), columns(rows, "qw", "qx", "qy", "qz", "x", "y", "z"))
    if len(stamps) != len(rows):
        raise InputError(f"{folder / 'odometry.csv'}: stamps do not ascend, or rows are incomplete")
    rows = rows[dropped:]
    numbers = rows["frame"].astype(int)
    has_depth = np.array([_depth_file(folder, number).exists() for number in numbers], bool)

    def read(i: int) -> CapturedFrame:
        image, row = video[i], rows[i]
        frame = CapturedFrame(
            stamp=int(nanoseconds(row["timestamp"])),
            image=image,
            camera=_camera_of(row, folder, *image.shape[1::-1]),
            exposure=float(row["exposure"]) if "exposure" in column_names(rows) else None,
        )
        return with_depth(frame, lambda: _read_depth(folder, numbers[i])) if has_depth[i] else frame

    frames = Frames(nanoseconds(rows["timestamp"]), has_depth, read)
    return frames, Poses.of(stamps, poses[:, :4], poses[:, 4:])


def _read_gyroscope(path: Path) -> Gyroscope:
    rows = read_table(path, ("timestamp", "alpha_x", "alpha_y", "alpha_z"))
    stamps, angular = ascending(nanoseconds(rows["timestamp"]), columns(rows, "alpha_x", "alpha_y", "alpha_z"))
    return Gyroscope(stamps, angular @ PHONE_TO_OPTICAL.T)


def _camera_of(row: np.ndarray, folder: Path, width: int, height: int) -> Camera:
    if set(_INTRINSICS) <= set(column_names(row)):
        fx, fy, cx, cy = (float(row[name]) for name in _INTRINSICS)
        return Camera(width, height, fx, fy, cx, cy)
    return read_camera(folder / "camera_matrix.csv", width, height)


def _depth_file(folder: Path, number: int) -> Path:
    return folder / "depth" / f"{number:06d}.png"


def _read_depth(folder: Path, number: int) -> DepthImage:
    file = _depth_file(folder, number)
    depth, confidence_file = read_depth(file), folder / "confidence" / file.name
    confidence = read_image_file(confidence_file, cv2.IMREAD_GRAYSCALE)
    if confidence is None:
        return depth
    if confidence.shape != depth.values.shape:
        raise InputError(f"{confidence_file} is not of its depth image's size")
    return replace(depth, values=np.where(confidence < _LEAST_CONFIDENCE, 0, depth.values).astype(np.uint16))
