"""How a command of the command line ends otherwise than well."""


class Failed(Exception):
    """The command did not succeed; the text says why."""


class BadUsage(Exception):
    """The command cannot even begin with these arguments; the text says why."""
