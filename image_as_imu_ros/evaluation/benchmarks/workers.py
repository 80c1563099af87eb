"""A pool of processes that ends with whatever ends its block."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import cv2
from tqdm import tqdm

from image_as_imu_ros.errors import InputError


@contextmanager
def worker_processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Start a pool of processes with one thread each, but for those that tasks start; the end of the block ends it.

    Raises:
        InputError: the system ended one.
    """
    others = set(multiprocessing.active_children())
    # Fresh ones: a forked one would inherit the locks of OpenCV's and ONNX Runtime's threads.
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_begin) as processes:
        try:
            yield processes
        except BaseException as error:  # Ctrl-C as well
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            processes.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise InputError(
                    f"one of {count} processes was ended by the system; if memory was short, take fewer --workers"
                ) from None
            raise


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C, which a terminal sends to all, ends this without a word
    cv2.setNumThreads(1)  # threads of processes that are all busy would only wait for each other
    tqdm.set_lock(threading.RLock())  # its own lock, of all processes, would be reported as leaked by one that is ended
