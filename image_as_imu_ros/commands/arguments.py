"""Options of command lines from settings: name, default, choices and meaning are those of the dataclass's field."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Collection
from dataclasses import Field, fields
from typing import Any, TypeVar

from image_as_imu_ros.settings import choices_of, settings_of

T = TypeVar("T")


def add_settings(
    parser: ArgumentParser, kind: type, *, leave_out: Collection[str] = (), aliases: dict[str, str] | None = None
) -> None:
    """Add an option for each setting of a dataclass: `lever_arm` becomes --lever-arm.

    Args:
        leave_out: names of settings without an option.
        aliases: name → another option for it.
    """
    for one in settings_of(kind):
        if one.name in leave_out:
            continue
        names = [option_name(one.name), *([aliases[one.name]] if aliases and one.name in aliases else [])]
        parser.add_argument(*names, dest=one.name, help=_help(one), **_kind_of_value(one))


def positive(text: str) -> int:
    """Read a whole number of at least 1. Raises ArgumentTypeError: it is less."""
    number = int(text)
    if number < 1:
        raise ArgumentTypeError(f"is {number}, expected 1 or more")
    return number


def not_negative(text: str) -> int:
    """Read a whole number of at least 0. Raises ArgumentTypeError: it is less."""
    number = int(text)
    if number < 0:
        raise ArgumentTypeError(f"is {number}, expected 0 or more")
    return number


def option_name(setting: str) -> str:
    """Return the option of a setting."""
    return f"--{setting.replace('_', '-')}"


def settings_from(args: Namespace, kind: type[T], **given: Any) -> T:
    """Make a dataclass of the options that `add_settings` added, and of what is given otherwise.

    Raises:
        InputError: a value is outside its range.
    """
    named = {one.name: getattr(args, one.name) for one in fields(kind) if hasattr(args, one.name)}  # type: ignore
    return kind(**named | given)


def _kind_of_value(one: Field) -> dict[str, Any]:
    choices = choices_of(one.metadata)
    if choices:
        return {"choices": choices, "default": str(one.default)}
    metavar = {str: "TEXT", int: "N", float: "X"}[type(one.default)]
    return {"type": type(one.default), "default": one.default, "metavar": metavar}


def _help(one: Field) -> str:
    default = "" if one.default == "" else f" (default: {one.default})"
    return f"{one.metadata['description']}{default}".replace("%", "%%")
