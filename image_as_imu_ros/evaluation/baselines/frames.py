"""The frames of a recording as baselines take them: one camera, ascending stamps, every N-th frame."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.estimation.frame_times import regular_stamps
from image_as_imu_ros.geometry.camera import Camera
from image_as_imu_ros.recordings.recording import CameraMessages, Recording
from image_as_imu_ros.recordings.topics import Topics


@dataclass(frozen=True)
class Frames:
    """Frames that can be read again and again without all being in memory.

    Attributes:
        stamps: (N,) int64 ns, of the images' headers, ascending.
        camera: of all frames.
        digest: SHA-256 of camera, stamps and images: equal for the same frames, wherever they are stored.
    """

    recording: Recording
    topics: Topics
    every: int
    stamps: np.ndarray
    camera: Camera
    digest: str

    @classmethod
    def of(cls, recording: Recording, topics: Topics, every: int = 1) -> Frames:
        """Take every `every`-th frame of a recording, without those whose stamp is zero or not after the one before.

        Raises:
            InputError: there are no frames, the camera is not calibrated, or it changes.
        """
        stamps: list[int] = []
        camera: Camera | None = None
        content = hashlib.sha256()
        for message in _messages(recording, topics, every):
            if camera is not None and message.camera() != camera:
                raise InputError(
                    "the camera's intrinsics change during the recording; baselines take one camera only: evaluate "
                    "without --baseline"
                )
            camera = message.camera()
            stamps.append(message.stamp)
            content.update(message.image.data)
        if camera is None:
            raise InputError(f"the topic {topics.image!r} has no frames for a baseline")
        content.update(repr((camera, stamps)).encode())
        return cls(recording, topics, every, np.array(stamps, np.int64), camera, content.hexdigest())

    @cached_property
    def times(self) -> np.ndarray:
        """(N,) int64 ns, when they were taken: stamps that jitter about a regular period, put where that has them."""
        return regular_stamps(self.stamps)

    def __len__(self) -> int:
        return len(self.stamps)

    def images(self, colour: str) -> Iterator[np.ndarray | None]:
        """Yield (H, W) uint8 for "gray", (H, W, 3) RGB for "rgb", one per stamp; None where it cannot be decoded."""
        for message in _messages(self.recording, self.topics, self.every):
            try:
                image = message.decode_image(colour)
            except InputError:
                image = None
            fits = image is not None and image.shape[:2] == (self.camera.height, self.camera.width)
            yield image if fits else None


def _messages(recording: Recording, topics: Topics, every: int) -> Iterator[CameraMessages]:
    last = 0
    for message in islice(recording.frames(topics.image, topics.camera_info), 0, None, every):
        if message.stamp > last:
            last = message.stamp
            yield message
