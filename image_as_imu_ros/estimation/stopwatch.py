"""How long the steps of an estimate take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Keeps the time, s, that each of several steps takes, in all."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Time a block that is part of a step."""
        started = time.perf_counter()
        yield
        self.add({step: time.perf_counter() - started})

    def add(self, seconds: dict[str, float]) -> None:
        """Add the times of steps that were run elsewhere."""
        for step, duration in seconds.items():
            self.seconds[step] = self.seconds.get(step, 0.0) + duration
