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
    for option in settings_of(kind):
        if option.name in leave_out:
            continue
        names = [option_name(option.name), *([aliases[option.name]] if aliases and option.name in aliases else [])]
        parser.add_argument(*names, dest=option.name, help=_help(option), **_kind_of_value(option))


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
    names = {option.name for option in fields(kind)}  # type: ignore
    return kind(**{name: value for name, value in vars(args).items() if name in names} | given)


def _kind_of_value(option: Field) -> dict[str, Any]:
    choices = choices_of(option.metadata)
    if choices:
        return {"choices": choices, "default": str(option.default)}
    metavar = {str: "TEXT", int: "N", float: "X"}[type(option.default)]
    return {"type": type(option.default), "default": option.default, "metavar": metavar}


def _help(option: Field) -> str:
    default = "" if option.default == "" else f" (default: {option.default})"
    return f"{option.metadata['description']}{default}".replace("%", "%%")
