"""droid: DROID-SLAM (Teed & Deng 2021), as its demo.py runs it on a folder of images.

Its modules are scripts and no package: the folder `droid_slam` of a checkout has to be on PYTHONPATH, its extensions
built, and its weights in the checkout's root. It runs on CUDA only.
"""

from __future__ import annotations

import math
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from image_as_imu_ros.errors import InputError, first_line
from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.evaluation.baselines.motion import Motion, Poses, motion_of_poses
from image_as_imu_ros.evaluation.baselines.optional import optional
from image_as_imu_ros.evaluation.baselines.pinhole import pinhole, undistorted_images
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.so3 import rotation_matrices

_AREA = 384 * 512  # px of the images that it is given
_HOW = (
    "clone https://github.com/princeton-vl/DROID-SLAM, follow its README, and put the checkout's folder droid_slam on "
    "PYTHONPATH"
)


@dataclass(frozen=True)
class Settings:
    """The options of DROID-SLAM's demo.py with its defaults."""

    buffer: int = 512
    beta: float = 0.3
    filter_thresh: float = 2.4
    warmup: int = 8
    keyframe_thresh: float = 4.0
    frontend_thresh: float = 16.0
    frontend_window: int = 25
    frontend_radius: int = 2
    frontend_nms: int = 1
    backend_thresh: float = 22.0
    backend_radius: int = 2
    backend_nms: int = 3
    stereo: bool = False
    upsample: bool = False
    disable_vis: bool = True


def settings() -> Settings:
    """Return its defaults.

    Raises:
        InputError: DROID-SLAM, its weights or CUDA is not there.
    """
    optional("torch", "droid", "install PyTorch with CUDA")
    _weights()
    return Settings()


def run(frames: Frames, settings: Settings) -> Motion:
    """Track all frames, optimise over all keyframes, fill in the poses between them → velocities.

    Raises:
        InputError: DROID-SLAM gives up (no GPU, not enough memory, no keyframes).
    """
    torch, weights = optional("torch", "droid", "install PyTorch with CUDA"), _weights()
    started = time.perf_counter()
    camera, size = input_camera(frames.camera)

    def stream() -> Iterator[tuple[int, Any, Any]]:
        intrinsics = torch.as_tensor([camera.fx, camera.fy, camera.cx, camera.cy])
        for number, image in undistorted_images(frames):
            small = cv2.resize(image, size)[: camera.height, : camera.width]
            yield number, torch.as_tensor(small).permute(2, 0, 1)[None], intrinsics

    arguments = Namespace(**asdict(settings), weights=str(weights), image_size=[camera.height, camera.width])
    try:
        slam = optional("droid", "droid", _HOW).Droid(arguments)
        for number, image, intrinsics in tqdm(stream(), "droid", len(frames), unit="frame", leave=False):
            slam.track(number, image, intrinsics=intrinsics)
        found = np.asarray(slam.terminate(stream()), np.float64)
    except (RuntimeError, IndexError) as error:
        raise InputError(f"DROID-SLAM failed: {first_line(error)}") from None
    numbers = [number for number, _ in undistorted_images(frames)]
    poses = Poses.unknown(len(frames))
    poses.positions[numbers] = found[:, :3]
    poses.rotations[numbers] = rotation_matrices(np.roll(found[:, 3:], 1, axis=1))  # it writes x, y, z, w
    poses.piece[numbers] = 0
    seconds = (time.perf_counter() - started) / len(frames)
    return motion_of_poses(frames.times, poses, seconds, "image cannot be decoded")


def input_camera(camera: Camera) -> tuple[Camera, tuple[int, int]]:
    """Return the camera of DROID-SLAM's images, and their (width, height) before they are cropped to eighths."""
    scale = math.sqrt(_AREA / (camera.height * camera.width))
    width, height = int(camera.width * scale), int(camera.height * scale)
    small = pinhole(camera).resize(width, height)
    return small.crop(0, 0, width - width % 8, height - height % 8), (width, height)


def _weights() -> Path:
    weights = Path(optional("droid", "droid", _HOW).__file__ or "").resolve().parents[1] / "droid.pth"
    if not weights.is_file():
        raise InputError(f"the baseline droid needs DROID-SLAM's weights: download droid.pth to {str(weights)!r}")
    return weights
