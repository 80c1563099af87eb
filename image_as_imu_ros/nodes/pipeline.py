"""Two threads between the newest image and its velocity: one runs the network, the other estimates from its outputs.

Networks run outside of Python's lock, on other cores or on a GPU. So the next image goes through while the frame before
is aligned, and the slower of the two sets the rate that a machine can follow. No more than one frame waits in between.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from image_as_imu_ros.nodes.buffers import Slot

M = TypeVar("M")
F = TypeVar("F")


class Pipeline(Generic[M, F]):
    """Takes messages M through `infer`, which makes frames F of them, and through `estimate`.

    Args:
        failed: is given what either of them raises. The next message gets its chance.
    """

    def __init__(
        self, infer: Callable[[M], F], estimate: Callable[[F], None], failed: Callable[[Exception], None]
    ) -> None:
        self._infer, self._estimate, self._failed = infer, estimate, failed
        self._messages: Slot[M] = Slot()
        self._frames: Slot[F] = Slot()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads."""
        for work in (self._infer_each, self._estimate_each):
            thread = threading.Thread(target=work, name=f"blur_imu{work.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def put(self, message: M) -> bool:
        """Leave the newest message, and tell whether it takes the place of one that was not taken yet."""
        return self._messages.put(message)

    def close(self) -> None:
        """End the threads, once each is done with what it has."""
        self._messages.close()
        self._frames.close()
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _infer_each(self) -> None:
        while (message := self._messages.take()) is not None:
            if (frame := self._tried(self._infer, message)) is not None:
                self._frames.hand_over(frame)

    def _estimate_each(self) -> None:
        while (frame := self._frames.take()) is not None:
            self._tried(self._estimate, frame)

    def _tried(self, work: Callable[[Any], Any], item: Any) -> Any:
        try:
            return work(item)
        except Exception as error:
            self._failed(error)
            return None


def spare_cores() -> int:
    """Count the cores that this process may use, but the one that the estimating thread is busy on; 1 at least.

    With a network on all of them both threads wait for each other: on two cores, at 60 Hz, fewer images are answered,
    and later (docs/performance.md). Two hyperthreads of a core count as one.
    """
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(siblings.read_text(encoding="utf-8"))
        except OSError:  # in containers it may not be there
            cores.add(str(cpu))
    return max(1, len(cores) - 1)
