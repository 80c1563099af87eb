"""NVIDIA's Python packages, which are imported at first use, and TensorRT's messages.

Their interfaces differ by version and have no stubs, so both are `Any` to type checkers; test/support/gpu_machine.py
holds what is used against the real ones.
"""

from __future__ import annotations

import logging
from collections import deque
from functools import cache
from importlib import import_module
from typing import Any

from image_as_imu_ros.errors import first_line

_log = logging.getLogger(__name__)


def tensorrt() -> Any:
    """Import the package tensorrt."""
    return import_module("tensorrt")


def pycuda_driver() -> Any:
    """Import the module pycuda.driver."""
    return import_module("pycuda.driver")


@cache
def tensorrt_logger() -> Any:
    """Make the ILogger that passes TensorRT's messages to Python's logging.

    There is one for the process: TensorRT wants the same one everywhere. `lines` are the latest warnings and errors,
    `last` is the first line of the latest one.
    """
    trt = tensorrt()
    severity = trt.ILogger.Severity

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: deque[str] = deque(maxlen=50)

        @property
        def last(self) -> str:
            return first_line(self.lines[-1]) if self.lines else "it does not say why"

        def log(self, level: Any, message: str) -> None:
            if level in (severity.INTERNAL_ERROR, severity.ERROR, severity.WARNING):
                self.lines.append(message)
                _log.log(logging.INFO if level == severity.WARNING else logging.ERROR, "TensorRT: %s", message)

    return Logger()
