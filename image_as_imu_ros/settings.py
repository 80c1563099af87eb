"""Settings that people choose: dataclass fields that know their meaning and their range.

The node's parameters and the options of the commands are made from these fields, so each has one name, one default and
one description everywhere.
"""

from __future__ import annotations

import math
from dataclasses import Field, field, fields
from enum import Enum
from typing import Any

from image_as_imu_ros.errors import InputError


class TextEnum(str, Enum):
    """An enum whose members are texts and print as such."""

    __str__ = str.__str__
    __repr__ = str.__repr__
    __format__ = str.__format__


def setting(
    default: Any,
    description: str,
    *,
    choices: type[Enum] | tuple[str, ...] = (),
    limits: tuple[float, float] | None = None,
    read_only: bool = False,
) -> Any:
    """Make a dataclass field of a setting.

    Args:
        default: a text, a truth value or a number; with an enum as `choices`, one of its members.
        description: what it means, with its unit.
        choices: of a text. limits: (lowest, highest) of a number.
        read_only: whether it can only be chosen at start.
    """
    metadata = {"description": description, "choices": choices, "limits": limits, "read_only": read_only}
    return field(default=default, metadata=metadata)


def settings_of(settings: Any) -> list[Field[Any]]:
    """List the fields of a dataclass that were made by `setting`."""
    return [option for option in fields(settings) if "choices" in option.metadata]


def default_of(option: Field[Any]) -> Any:
    """Return the default of a setting as plain text, truth value or number."""
    return str(option.default) if isinstance(option.default, str) else option.default


def choices_of(metadata: Any) -> tuple[str, ...]:
    """List the texts that a setting may be, given its field's metadata; empty for any text and for numbers."""
    return tuple(choice.value if isinstance(choice, Enum) else choice for choice in metadata["choices"])


def check_settings(settings: Any) -> None:
    """Check all settings of a dataclass and turn texts into members of their enums.

    Raises:
        InputError: a value is outside its choices or limits.
    """
    for option in settings_of(settings):
        value, choices, limits = getattr(settings, option.name), choices_of(option.metadata), option.metadata["limits"]
        if choices and value not in choices:
            raise InputError(f"{option.name} is {str(value)!r}, expected one of: {', '.join(choices)}")
        if isinstance(option.metadata["choices"], type):
            object.__setattr__(settings, option.name, option.metadata["choices"](value))
        if limits and not (math.isfinite(value) and limits[0] <= value <= limits[1]):
            raise InputError(f"{option.name} is {value}, expected {limits[0]:g} to {limits[1]:g}")
