"""Frames of video files, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError


def open_video(path: Path) -> cv2.VideoCapture:
    """Raises InputError: it is missing, or not in a format that OpenCV reads."""
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise InputError(f"{path} is missing or not a readable video")
    # Rows and columns as the sensor has them: intrinsics and gyroscope do not know how the phone was held.
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return video


def frame_count(path: Path) -> int:
    """How many frames can be read. Containers also count pictures that they hide from players."""
    video = open_video(path)
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    while count > 0:
        video.set(cv2.CAP_PROP_POS_FRAMES, count - 1)
        if video.grab():
            return count
        count -= 1
    raise InputError(f"{path} has no frames")


def video_frames(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """(time since the video's start in s, (H, W, 3) uint8 BGR) of each frame."""
    video = open_video(path)
    while True:
        read, image = video.read()
        if not read:
            return
        yield video.get(cv2.CAP_PROP_POS_MSEC) * 1e-3, image
