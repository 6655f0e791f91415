"""`passport-worker sandbox`."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, Parameter
from rich.console import Console

from worker.observability.logs import configure_logs
from worker.tools.cli.asking import examples
from worker.tools.cli.channels import chosen, serving_also
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.running import settings_with_warnings
from worker.tools.common.catalogue.file import CatalogueError, UnreadableFile, read_catalogue

app = App(
    name="sandbox",
    help_epilogue=examples("sandbox > sandbox.env", "sandbox --catalogue catalogue.yaml --channel acme > sandbox.env"),
)

_CATALOGUE = Parameter(help="A catalogue file to load in place of the sample catalogue.")
_CHANNEL = Parameter(help="Another channel for the worker to serve; its topics are printed.")


@app.default
def sandbox_command(
    *,
    catalogue: Annotated[Path | None, _CATALOGUE] = None,
    channel: Annotated[str | None, _CHANNEL] = None,
) -> NoReturn:
    """Run an embedded broker, PostgreSQL and the real worker, for the tests of your own programs.

    Once ready, it prints its settings as shell commands, and closes standard output; progress goes to stderr. It ends
    upon SIGTERM or Ctrl-C, or when the process that started it ends, and leaves nothing behind. Other servers are never
    used: PASSPORT_KAFKA_*, _DATABASE_*, _HTTP_*, _OAUTH_*, PG* and OTEL_* are ignored.
    """
    parent = os.getppid()  # first, since it may end during the slow imports below
    from worker.tools.demo.stage import ignore_other_servers
    from worker.tools.sandbox.sandbox import run_sandbox

    # A CI job may have those of production.
    ignore_other_servers(Console(stderr=True, highlight=False, markup=False), "sandbox")
    settings = serving_also(settings_with_warnings(), channel)
    configure_logs(quiet=True)
    try:
        loaded = None if catalogue is None else read_catalogue(catalogue)
        sys.exit(run_sandbox(settings, loaded, parent, chosen(settings, channel)))
    except UnreadableFile as error:
        raise BadUsage(str(error)) from error
    except CatalogueError as error:
        raise Failed("\n  ".join([f"{catalogue} cannot be loaded:", *error.problems])) from error
