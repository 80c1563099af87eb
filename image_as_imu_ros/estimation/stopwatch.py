"""How long the steps of an estimate take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Stopwatch:
    """Runs steps and keeps the time, s, that each took, in all."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name: str, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        started = time.perf_counter()
        result = step(*args, **kwargs)
        self.add({name: time.perf_counter() - started})
        return result

    def add(self, seconds: dict[str, float]) -> None:
        """Add the times of steps that were run elsewhere."""
        for name, duration in seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + duration
