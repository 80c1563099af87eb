"""Exposure times that a recording holds, frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.messages.exposure import exposure_of_message
from image_as_imu_ros.messages.images import stamp_to_nanoseconds
from image_as_imu_ros.recordings.recording import Recording

_TOLERANCE = 1_000_000  # ns between an image's stamp and that of its exposure


@dataclass(frozen=True)
class Exposures:
    """One value per frame.

    Attributes:
        stamps: (N,) int64 ns, those of the images, ascending.
        seconds: (N,).
    """

    stamps: np.ndarray
    seconds: np.ndarray

    def of(self, stamp: int) -> float:
        """Return the exposure time, s, of the image stamped `stamp` ns.

        Raises:
            InputError: none is stamped within 1 ms of that.
        """
        nearest = int(np.argmin(np.abs(self.stamps - stamp)))
        if abs(int(self.stamps[nearest]) - stamp) > _TOLERANCE:
            raise InputError("the recording holds no exposure with this image's stamp")
        return float(self.seconds[nearest])


def read_exposures(recording: Recording, topic: str, source: str, unit: str) -> Exposures:
    """Read all exposure times of a topic. `source`, `unit`: see `exposure_of_message`.

    Raises:
        InputError: a message is damaged, or none holds an exposure.
    """
    seconds = {}
    for _, message in recording.messages(topic):
        value = exposure_of_message(source, unit, message)
        if value is not None:
            seconds[stamp_to_nanoseconds(message.header.stamp)] = value
    if not seconds:
        raise InputError(f"topic {topic!r} holds no exposure times")
    stamps = np.array(sorted(seconds), np.int64)
    return Exposures(stamps, np.array([seconds[stamp] for stamp in stamps.tolist()]))
