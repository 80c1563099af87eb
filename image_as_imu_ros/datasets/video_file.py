"""Frames of video files, by number or one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError, printable
from image_as_imu_ros.messages.image_files import UnreadableImageError

_SEEK_BEYOND = 64  # frames; fewer are decoded faster than they are sought across


def open_video(path: Path) -> cv2.VideoCapture:
    """Open a video. Raises InputError: it is missing, its name is not UTF-8, or OpenCV cannot read it."""
    if printable(path) != str(path):
        raise InputError(f"OpenCV cannot open '{printable(path)}', as its name is not UTF-8: rename it")
    video = cv2.VideoCapture(str(path))
    if not video.isOpened():
        raise InputError(f"{path} is missing or not a readable video")
    # Rows and columns as the sensor has them: intrinsics and gyroscope do not know how the phone was held.
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return video


def frame_count(path: Path) -> int:
    """Count the frames that can be read. Containers also count images that they hide from players."""
    video = open_video(path)
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    while count > 0:
        video.set(cv2.CAP_PROP_POS_FRAMES, count - 1)
        if video.grab():
            return count
        count -= 1
    raise InputError(f"{path} has no frames")


def duration(path: Path) -> float:
    """Compute how long a video of constant rate is, s."""
    rate = open_video(path).get(cv2.CAP_PROP_FPS)
    return frame_count(path) / rate if rate > 0 else 0.0


def video_frames(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (time since the video's start in s, (H, W, 3) uint8 BGR) of each frame."""
    video = open_video(path)
    while True:
        read, image = video.read()
        if not read:
            return
        yield video.get(cv2.CAP_PROP_POS_MSEC) * 1e-3, image


class Video:
    """Frames of a video of constant rate, by number. Fast where numbers ascend."""

    def __init__(self, path: Path) -> None:
        self._path, self._count = path, frame_count(path)
        self._video = open_video(path)
        self._next = 0

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> np.ndarray:
        """Decode a frame: (H, W, 3) uint8 BGR. Raises UnreadableImageError: the file is damaged there."""
        if not self._next <= number < self._next + _SEEK_BEYOND:
            self._video.set(cv2.CAP_PROP_POS_FRAMES, number)
            self._next = number
        while self._next < number and self._video.grab():
            self._next += 1
        self._next += 1
        read, image = self._video.read()
        if not read:
            raise UnreadableImageError(f"{self._path}: frame {number} of {len(self)} cannot be decoded")
        return image
