"""Packages that only some baselines need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from image_as_imu_ros.errors import InputError


def optional(module: str, baseline: str, how: str) -> ModuleType:
    """Import a module that a baseline needs.

    Args:
        how: what to do where it is missing.

    Raises:
        InputError: it cannot be imported.
    """
    try:
        return import_module(module)
    except (ImportError, OSError) as error:  # OSError: a library of its own is missing
        raise InputError(f"the baseline {baseline} needs {module}: {how} ({error})") from None
