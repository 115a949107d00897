"""Exceptions that every command turns into a single line."""


class InputError(ValueError):
    """A user's mistake (exit 2): the message says what is wrong, where, and what to do.

    Library callers can catch it as a `ValueError`. Anything else that escapes a command is a bug in
    this package and keeps its traceback.
    """


class RunError(RuntimeError):
    """A run that cannot go on (diverged, disk full): the message says where and what is kept."""
