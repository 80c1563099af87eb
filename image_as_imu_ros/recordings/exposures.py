"""Exposure times that a recording holds, frame by frame."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from image_as_imu_ros.errors import InputError
from image_as_imu_ros.messages.exposure import exposure_of_message, reporting_camera, shares_topic
from image_as_imu_ros.messages.images import stamp_to_nanoseconds
from image_as_imu_ros.messages.stamps import EXPOSURE_TOLERANCE
from image_as_imu_ros.recordings.recording import Recording

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exposures:
    """One value per frame.

    Attributes:
        stamps: (N,) int64 ns, those of the images, ascending.
        seconds: (N,).
        cameras: (N,) frame_id of the camera that each is of, "" where one camera alone has the topic.
        tolerance: ns between an image's stamp and that of its exposure.
    """

    stamps: np.ndarray
    seconds: np.ndarray
    cameras: np.ndarray
    tolerance: int

    def of(self, stamp: int, frame_id: str) -> float:
        """Return the exposure time, s, of the image with this header: `stamp`, ns, and `frame_id`.

        Raises:
            InputError: none of its camera has its stamp.
        """
        own = (self.cameras == frame_id) | (self.cameras == "") | (not frame_id)
        if not own.any():
            others = ", ".join(map(repr, np.unique(self.cameras).tolist()))
            raise InputError(f"the recording holds exposures of {others}, but none of this image's frame, {frame_id!r}")
        distances = np.where(own, np.abs(self.stamps - stamp), np.iinfo(np.int64).max)
        nearest = int(np.argmin(distances))
        if distances[nearest] > self.tolerance:
            raise InputError("the recording holds no exposure with this image's stamp")
        return float(self.seconds[nearest])


def read_exposures(recording: Recording, topic: str, source: str, unit: str) -> Exposures:
    """Read all exposure times of a topic. `source`, `unit`: see `exposure_of_message`.

    Messages that are damaged are left out and logged.

    Raises:
        InputError: none holds an exposure.
    """
    seconds: dict[tuple[int, str], float] = {}
    damaged: list[str] = []
    for _, message in recording.messages(topic):
        try:
            value = exposure_of_message(source, unit, message)
        except InputError as error:
            damaged.append(str(error))
            continue
        if value is not None:
            seconds[stamp_to_nanoseconds(message.header.stamp), reporting_camera(source, message.header)] = value
    if not seconds:
        reason = f" ({damaged[0]})" if damaged else ""
        raise InputError(f"topic {topic!r} holds no exposure times{reason}: give another one, or --exposure SECONDS")
    if damaged:
        _log.warning("%d messages on %r hold no exposure time, the first: %s", len(damaged), topic, damaged[0])
    keys = sorted(seconds)
    return Exposures(
        stamps=np.array([stamp for stamp, _ in keys], np.int64),
        seconds=np.array([seconds[key] for key in keys]),
        cameras=np.array([camera for _, camera in keys]),
        tolerance=0 if shares_topic(source) else EXPOSURE_TOLERANCE,
    )
