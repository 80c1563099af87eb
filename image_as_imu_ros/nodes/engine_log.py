"""Python's log records of the engines, passed to the node's ROS log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rclpy.impl.rcutils_logger import RcutilsLogger


class _RosLogHandler(logging.Handler):
    """Passes Python's log records to a ROS logger."""

    def __init__(self, logger: RcutilsLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record; what is less than a warning as information."""
        # rclpy wants one severity per calling line.
        if record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())


@contextmanager
def engines_log_to(logger: RcutilsLogger) -> Iterator[None]:
    """Pass what engines log while they load to `logger`: why one is passed over, that a plan or loops are compiled."""
    engines, handler = logging.getLogger("image_as_imu_ros"), _RosLogHandler(logger)
    level, propagate = engines.level, engines.propagate
    engines.addHandler(handler)
    engines.setLevel(logging.INFO)
    engines.propagate = False
    try:
        yield
    finally:
        engines.removeHandler(handler)
        engines.setLevel(level)
        engines.propagate = propagate
