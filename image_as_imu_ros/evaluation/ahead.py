"""Frames that are decoded and go through the network while the estimator is busy with earlier ones.

The estimator takes frames one after the other, but what the network predicts for a frame depends on its image alone: it
can be computed in advance, and no result differs. A thread does for it, as Python's lock is free while images are
decoded and networks run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

_AHEAD = 2  # items; more would only wait

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def computed(
    items: Iterable[T], compute: Callable[[T], R], *, ahead: bool
) -> Iterator[Iterator[tuple[T, Callable[[], R]]]]:
    """Give each item with what returns its result, or raises what `compute` raises.

    Args:
        ahead: have a thread compute results before they are asked for.
    """
    if not ahead:
        yield ((item, partial(compute, item)) for item in items)
        return
    thread = ThreadPoolExecutor(1)
    try:
        yield _computed_by(thread, items, compute)
    finally:
        thread.shutdown(cancel_futures=True)


def _computed_by(
    thread: ThreadPoolExecutor, items: Iterable[T], compute: Callable[[T], R]
) -> Iterator[tuple[T, Callable[[], R]]]:
    waiting: deque[tuple[T, Future[R]]] = deque()
    for item in items:
        waiting.append((item, thread.submit(compute, item)))
        if len(waiting) > _AHEAD:
            first, future = waiting.popleft()
            yield first, future.result
    for item, future in waiting:
        yield item, future.result
