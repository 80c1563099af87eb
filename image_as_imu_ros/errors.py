"""The one exception for inputs that people can put right, and what it says of others."""

import os


class InputError(ValueError):
    """An input cannot be used. The message says what is wrong, with which value, and what to do.

    Nodes count it and carry on with the next frame; commands print it and exit with code 2.
    """


def is_interruption(error: BaseException | None) -> bool:
    """Tell whether an error is Ctrl-C, or what compiled code made of it: a SystemError with it as its cause."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error is not None


def printable(name: object) -> str:
    """Write bytes of a file's name that are no UTF-8 as "\\xff": what draws or encodes text refuses them."""
    return os.fsencode(str(name)).decode(errors="backslashreplace")


def first_line(text: object) -> str:
    """Shorten a message, or an error, to its first line; the name of its type where it is empty."""
    return (str(text).strip() or type(text).__name__).splitlines()[0]
