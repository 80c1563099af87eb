"""The one exception for inputs that people can put right."""


class InputError(ValueError):
    """An input cannot be used. The message says what is wrong, with which value, and what to do.

    Nodes count it and carry on with the next frame; commands print it and exit with code 2.
    """
