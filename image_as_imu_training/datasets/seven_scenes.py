"""7-Scenes (Shotton et al. 2013): frame-XXXXXX.color.{png,jpg}, .depth.png (mm) and .pose.txt (4×4, camera-to-world).

Kinect frames at 30 Hz; the number in the name is the time. `camera-intrinsics.txt`, where there is one, holds the
intrinsics; without it they are the data set's: 585 px for 640×480 with the principal point at (320, 240).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from image_as_imu_ros.datasets.files import read_camera, read_depth
from image_as_imu_ros.errors import InputError
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_training.datasets.rgbd import RgbdSequence, find_jumps, read_colour

MARKER = "frame-*.pose.txt"
_RATE = 30.0  # Hz


def read(folder: Path) -> RgbdSequence:
    """Read the frames of one folder. Those whose pose is not finite (the tracker was lost) are left out."""
    poses = {path: _read_pose(path) for path in sorted(folder.glob(MARKER))}
    poses = {path: pose for path, pose in poses.items() if np.isfinite(pose).all()}
    if not poses:
        raise InputError(f"no 7-Scenes frames with poses ({MARKER}) in {folder}")
    stems = [path.name.removesuffix(".pose.txt") for path in poses]
    numbers = [stem.removeprefix("frame-") for stem in stems]
    for number, path in zip(numbers, poses, strict=True):
        if not number.isdecimal():
            raise InputError(f"{path} has no number in its name, which is the time; expected frame-XXXXXX.pose.txt")
    stamps = np.array(list(map(int, numbers))) / _RATE
    pose_array = np.array(list(poses.values()))
    suffix = "png" if (folder / f"{stems[0]}.color.png").exists() else "jpg"
    intrinsics = folder / "camera-intrinsics.txt"

    def read_frame(i: int) -> tuple[np.ndarray, np.ndarray, Camera]:
        colour = read_colour(folder / f"{stems[i]}.color.{suffix}")
        height, width = colour.shape[:2]
        if intrinsics.exists():
            camera = read_camera(intrinsics, width, height)
        else:
            camera = Camera(640, 480, 585.0, 585.0, 320.0, 240.0).resize(width, height)
        return colour, read_depth(folder / f"{stems[i]}.depth.png").metres(), camera

    return RgbdSequence(stamps, pose_array, find_jumps(stamps, pose_array), read_frame)


def _read_pose(path: Path) -> np.ndarray:
    try:
        return np.array([float(word) for word in path.read_text(encoding="utf-8").split()]).reshape(4, 4)
    except ValueError:
        raise InputError(f"{path} does not hold a 4×4 matrix") from None
