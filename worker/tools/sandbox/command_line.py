"""`passport-worker sandbox`."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from worker.observability.logs import configure_logs
from worker.settings import PREFIX
from worker.tools.cli.asking import examples
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.running import run_async, settings_with_warnings
from worker.tools.common.catalogue.file import CatalogueError, UnreadableFile, read_catalogue

app = App(
    name="sandbox",
    help_format="plaintext",
    help_epilogue=examples("sandbox > sandbox.env", "sandbox --catalogue catalogue.yaml > sandbox.env"),
)

_CATALOGUE = Parameter(help="Load this catalogue in place of the sample of demo and programs.")
_OWN = (*(f"{PREFIX}{name}_" for name in ("KAFKA", "DATABASE", "HTTP", "OAUTH")), "OTEL_", "PG")
"""What variables begin with that lead to somebody's servers: ours, of OpenTelemetry, of PostgreSQL's clients."""


@app.default
def sandbox_command(*, catalogue: Annotated[Path | None, _CATALOGUE] = None) -> NoReturn:
    """Serve other people's tests: an embedded broker and PostgreSQL of its own, and the real worker.

    Once it is ready it prints its settings as lines of a shell, and closes standard output; progress goes to stderr. It
    ends upon SIGTERM or Ctrl-C, and with the process that has started it, and leaves nothing behind. Servers that the
    environment names are not used: PASSPORT_KAFKA_*, _DATABASE_*, _HTTP_*, _OAUTH_*, PG* and OTEL_* are dropped.
    """
    parent = os.getppid()  # before all that takes time, in which it may end
    from worker.tools.sandbox.sandbox import run_sandbox

    for variable in [one for one in os.environ if one.upper().startswith(_OWN)]:
        del os.environ[variable]  # for the worker, too, whatever somebody's CI may have for production
    settings = settings_with_warnings()
    configure_logs(quiet=True)
    try:
        loaded = None if catalogue is None else read_catalogue(catalogue)
        sys.exit(run_sandbox(settings, loaded, run_async, parent))
    except UnreadableFile as error:
        raise BadUsage(str(error)) from error
    except CatalogueError as error:
        raise Failed(str(error)) from error
