"""The look of help pages: paragraphs that wrap, examples that can be copied, and no defaults that say nothing."""

import shutil
from typing import Any

from cyclopts import Parameter
from cyclopts.help import DefaultFormatter, InlineText
from rich.console import Console, ConsoleOptions
from rich.text import Text

from worker.tools.cli.output import Page

_WIDEST = 100

DEFAULTS = Parameter(show_default=lambda value: None if value in (False, True, "", ()) else value, negative=())
"""Flags, lists and texts show no default: their help says what they do without one. No flag has a `--no-` twin."""


def page() -> Console:
    """Where help pages go: as wide as the terminal, but not too wide to read."""
    return Page(width=min(_WIDEST, shutil.get_terminal_size().columns))


class Formatter(DefaultFormatter):
    """Joins the lines of a paragraph, which docstrings break for the reader of the code."""

    def render_description(self, console: Console, _options: ConsoleOptions, description: Any) -> None:
        """Print what the verb does, with a blank line between paragraphs."""
        if not isinstance(description, InlineText):
            return
        paragraphs = str(description.primary_renderable).strip().split("\n\n")
        for paragraph in paragraphs:
            console.print(Text(" ".join(paragraph.split())))
            console.print()
