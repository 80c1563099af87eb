"""What the log says about the streams: the first message of each, once; and, when nothing is published, why."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node

STARTING = 3.0  # s after activation in which what is missing may still come: on busy machines, discovery takes as long
_SILENT = 10.0  # s without a velocity, after which the log says ERROR in place of WARN


class Progress:
    """Says once what comes first, and what is missing when no velocities are published.

    Callbacks, the pipeline's threads and the diagnostics timer use it at the same time.

    Args:
        node: rclpy's, in whose log it says so.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._said: set[str] = set()
        self._come: set[str] = set()
        self._since = time.monotonic()
        self._published = self._since
        self._complaints = 0

    @property
    def starting(self) -> bool:
        """Whether what is missing may still be on its way."""
        return time.monotonic() - self._since < STARTING

    @property
    def silent(self) -> bool:
        """Whether no velocity was published for so long that it is an error."""
        return time.monotonic() - self._published > _SILENT

    def first(self, what: str, describe: Callable[[], str]) -> None:
        """Log the first message of a kind."""
        self.came(what)
        if self._is_new(what):
            self._node.get_logger().info(f"first {what}: {describe()}")

    def came(self, what: str) -> None:
        """Note that a message of a kind has come, whether it can be used or not."""
        self._come.add(what)

    def has_come(self, what: str) -> bool:
        """Tell whether a message of a kind has come."""
        return what in self._come

    def warn_once(self, problem: str) -> None:
        """Log a problem of the stream once."""
        if self._is_new(re.sub(r"[\d.]+", "", problem)):  # its figures may change from one time to the next
            self._node.get_logger().warning(problem)

    def published(self) -> None:
        """Take note of a velocity."""
        self._published = time.monotonic()
        if self._complaints:
            self._complaints = 0
            self._node.get_logger().info("velocities are published again")

    def check(self, reason: str) -> None:
        """Log that nothing is published, once as a warning and once as an error.

        Args:
            reason: why, as /diagnostics says it.
        """
        if self._complaints < 1 and time.monotonic() - self._published > STARTING:
            self._complaints = 1
            self._node.get_logger().warning(f"no velocity for {STARTING:g} s: {reason}")
        if self._complaints < 2 and self.silent:
            self._complaints = 2
            self._node.get_logger().error(f"no velocity for {_SILENT:g} s: {reason}")

    def _is_new(self, what: str) -> bool:
        with self._lock:
            new = what not in self._said
            self._said.add(what)
            return new
