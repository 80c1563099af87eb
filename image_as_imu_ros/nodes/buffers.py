"""Where callbacks leave messages for the worker thread: one slot for the newest image, a cache for values by stamp."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

_FLOWING = 1.0  # s; a source that was silent for longer is not waited for


class Slot(Generic[T]):
    """Holds the newest item until a worker takes it. Old items are overwritten, never queued."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False

    def put(self, item: T) -> bool:
        """Leave an item and tell whether it overwrote one that nobody took."""
        with self._changed:
            overwrote, self._item = self._item is not None, item
            self._changed.notify()
            return overwrote

    def take(self) -> T | None:
        """Wait for an item; None once the slot is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> None:
        """Let the worker go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class StampCache(Generic[T]):
    """The last values of a stream, to be found by stamp. A stamp that jumps back starts the stream anew."""

    def __init__(self, depth: int, tolerance: float) -> None:
        """Keep `depth` values; stamps match within `tolerance`, s."""
        self._entries: deque[tuple[int, T]] = deque(maxlen=depth)
        self._tolerance = round(tolerance * 1e9)
        self._changed = threading.Condition()
        self._last_added = -float("inf")

    def add(self, stamp: int, value: T) -> None:
        """Keep the value of a header stamp, ns."""
        with self._changed:
            if self._entries and stamp < self._entries[-1][0]:
                self._entries.clear()
            self._entries.append((stamp, value))
            self._last_added = time.monotonic()
            self._changed.notify_all()

    def find(self, stamp: int, wait: float = 0.0) -> T | None:
        """Find the value nearest to a header stamp, ns, or None.

        It waits up to `wait` seconds, but not once a later value is there, nor for a stream that has dried up.
        """
        with self._changed:
            if time.monotonic() - self._last_added > _FLOWING:
                wait = 0.0
            self._changed.wait_for(lambda: self._nearest(stamp) is not None or self._is_past(stamp), wait)
            nearest = self._nearest(stamp)
            return None if nearest is None else nearest[1]

    def _nearest(self, stamp: int) -> tuple[int, T] | None:
        nearest = min(self._entries, key=lambda entry: abs(entry[0] - stamp), default=None)
        return nearest if nearest is not None and abs(nearest[0] - stamp) <= self._tolerance else None

    def _is_past(self, stamp: int) -> bool:
        return bool(self._entries) and self._entries[-1][0] > stamp
