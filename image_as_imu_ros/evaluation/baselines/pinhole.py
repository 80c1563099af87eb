"""Images without distortion, for systems that know nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from image_as_imu_ros.evaluation.baselines.frames import Frames
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.geometry.motion_field import cell_centres


def pinhole(camera: Camera) -> Camera:
    """Return the same camera without distortion."""
    return replace(camera, distortion_model="", distortion=())


def undistorted_images(frames: Frames) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, (H, W, 3) BGR uint8 as `pinhole` would see it) of the frames that can be decoded."""
    camera = frames.camera
    rays = pinhole(camera).rays(cell_centres(camera.height, camera.width, 1))
    source = camera.project(rays).astype(np.float32).reshape(camera.height, camera.width, 2)
    for number, image in enumerate(frames.images("rgb")):
        if image is not None:
            bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
            yield number, cv2.remap(bgr, source[..., 0], source[..., 1], cv2.INTER_LINEAR)
