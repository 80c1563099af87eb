"""Single frames of video files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from image_as_imu_ros.errors import InputError

_SHORT_WAY = 64  # frames that are decoded rather than sought across


class Video:
    """Frames of a video of constant rate, by number. Fast where numbers ascend."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise InputError(f"{path} is missing or not a readable video")
        # As the sensor saw it: intrinsics and poses know nothing of how the phone was held.
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
        self._next = 0
        # Containers also count pictures that an edit list hides.
        self._length = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        while self._length and self._decode(self._length - 1) is None:
            self._length -= 1

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> np.ndarray:
        """(h, w, 3) uint8 RGB."""
        image = self._decode(number)
        if image is None:
            raise InputError(f"{self._path}: frame {number} of {len(self)} cannot be decoded")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def _decode(self, number: int) -> np.ndarray | None:
        if not self._next <= number < self._next + _SHORT_WAY:
            self._capture.set(cv2.CAP_PROP_POS_FRAMES, number)
            self._next = number
        while self._next < number and self._capture.grab():
            self._next += 1
        self._next += 1
        return self._capture.read()[1]
