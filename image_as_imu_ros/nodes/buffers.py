"""What threads exchange: a slot for the newest image, and a cache of the latest values of a stream by their stamps."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from image_as_imu_ros.estimation.estimator import MotionEstimator
from image_as_imu_ros.estimation.frame import Frame
from image_as_imu_ros.estimation.inferred_frame import InferredFrame
from image_as_imu_ros.messages.stamps import RESTART
from image_as_imu_ros.nodes.parameters import Settings

T = TypeVar("T")

# A stream that was silent for so long, s, and for so many searches, is not waited for.
_FLOWING = 1.0
_IN_VAIN = 3
_SLOWEST = 10.0  # times the recorded time: how slowly a recording may be played


@dataclass(frozen=True)
class Received:
    """An Image or CompressedImage message and when it came, s of the monotonic clock."""

    message: Any
    arrival: float


@dataclass(frozen=True)
class Inferred:
    """A message, its frame after inference, and what it was made with, which a parameter may have changed since."""

    received: Received
    frame: InferredFrame
    settings: Settings
    estimator: MotionEstimator


@dataclass(frozen=True)
class Processed:
    """A frame that the estimator has; with `sign_resolution: centered` its estimate comes one frame later."""

    received: Received
    frame: Frame


class Slot(Generic[T]):
    """Holds the newest item until a thread takes it. Old items are overwritten, never queued."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False

    def put(self, item: T) -> bool:
        """Leave an item and tell whether it overwrote one that nobody took."""
        with self._changed:
            overwrote, self._item = self._item is not None, item
            self._changed.notify_all()
            return overwrote

    def hand_over(self, item: T) -> None:
        """Leave an item, and wait until it is taken, or the slot closed."""
        with self._changed:
            self._item = item
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._item is None or self._closed)

    def take(self) -> T | None:
        """Wait for an item; None once the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed)
            item, self._item = self._item, None
            self._changed.notify_all()
            return None if self._closed else item

    def close(self) -> None:
        """Release all threads that wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


@dataclass(frozen=True)
class _Entry(Generic[T]):
    """A value, its header stamp, ns, and the camera that it is of, "" where one camera alone has the topic.

    Attributes:
        arrival: s of the monotonic clock.
    """

    stamp: int
    camera: str
    value: T
    arrival: float

    def is_of(self, camera: str) -> bool:
        return self.camera in ("", camera) or not camera


class StampCache(Generic[T]):
    """The last values of a stream, to be found by stamp and camera. A stamp that jumps back starts the stream anew."""

    def __init__(self, depth: int, tolerance: float) -> None:
        """Keep `depth` values; stamps match within `tolerance`, s."""
        self._entries: deque[_Entry[T]] = deque(maxlen=depth)
        self._tolerance = round(tolerance * 1e9)
        self._changed = threading.Condition()
        self._last_added = -float("inf")
        self._searches = _IN_VAIN  # since the last value was added
        self._half_period = (
            math.inf
        )  # ns, by the last two stamps: no value of the stream will be nearer than one within
        self._slowness = 1.0  # time between the arrivals of the last two values, over that between their stamps

    @property
    def empty(self) -> bool:
        """Whether no value has come yet."""
        return not self._entries

    def add(self, stamp: int, value: T, camera: str = "") -> None:
        """Keep the value of a header stamp, ns, and of the camera with that frame_id."""
        now = time.monotonic()
        with self._changed:
            last = next((entry for entry in reversed(self._entries) if entry.camera == camera), None)
            # A little back are values out of order, or two cameras that share a topic and a frame_id.
            if last is not None and stamp < last.stamp - RESTART:
                self._entries.clear()
            elif last is not None and stamp > last.stamp:
                self._half_period = (stamp - last.stamp) / 2
                self._slowness = min(max(1.0, (now - last.arrival) * 1e9 / (stamp - last.stamp)), _SLOWEST)
            self._entries.append(_Entry(stamp, camera, value, now))
            self._last_added, self._searches = now, 0
            self._changed.notify_all()

    def find(self, stamp: int, wait: float = 0.0, *, camera: str = "", exact: bool = False) -> T | None:
        """Find the value nearest to a header stamp, ns, or None.

        It waits up to `wait` seconds, longer where a recording is played slowly, but not once a later value is there,
        nor for a stream that has dried up.

        Args:
            camera: frame_id of the image; values of other cameras are passed over.
            exact: take no value of another stamp, however near.
        """
        tolerance = 0 if exact else self._tolerance
        with self._changed:
            if self._searches >= _IN_VAIN and time.monotonic() - self._last_added > _FLOWING:
                wait = 0.0
            self._searches += 1
            near = min(tolerance, self._half_period)
            self._changed.wait_for(
                lambda: self._nearest(stamp, camera, near) is not None or self._is_past(stamp, camera),
                wait * self._slowness,
            )
            nearest = self._nearest(stamp, camera, tolerance)
            return None if nearest is None else nearest.value

    def distance(self, stamp: int, camera: str = "") -> float | None:
        """Return by how much the nearest value's stamp is later than a header stamp, ns, in s; None without a value."""
        with self._changed:
            nearest = self._nearest(stamp, camera, math.inf)
            return None if nearest is None else (nearest.stamp - stamp) * 1e-9

    def _nearest(self, stamp: int, camera: str, tolerance: float) -> _Entry[T] | None:
        entries = (entry for entry in self._entries if entry.is_of(camera))
        nearest = min(entries, key=lambda entry: abs(entry.stamp - stamp), default=None)
        return nearest if nearest is not None and abs(nearest.stamp - stamp) <= tolerance else None

    def _is_past(self, stamp: int, camera: str) -> bool:
        last = next((entry for entry in reversed(self._entries) if entry.is_of(camera)), None)
        return last is not None and last.stamp > stamp
