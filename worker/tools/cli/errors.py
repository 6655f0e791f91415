"""Errors that end a command."""


class Failed(Exception):
    """The command failed; the text says why."""


class BadUsage(Exception):
    """The command cannot start with these arguments; the text says why."""
