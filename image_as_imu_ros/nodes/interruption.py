"""A clean end on Ctrl-C, however often and whenever it is pressed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Set an event on SIGINT in place of raising KeyboardInterrupt; after the block, SIGINT is ignored.

    rclpy's own handler, which wakes the executor, calls the one from here. KeyboardInterrupt would come anywhere, in
    the middle of a clean end too, for a terminal and ros2 launch both send the signal; and while Python ends, it puts
    back the default, by which the second signal kills.
    """
    interrupted = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
