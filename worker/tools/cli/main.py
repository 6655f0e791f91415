"""The command line: `run`, `settings`, and a list of all other verbs, which are imported on first use."""

import os
import sys

import structlog
from cyclopts import App, CycloptsError
from pydantic import ValidationError

from worker import __version__
from worker.observability.logs import configure_logs
from worker.observability.otlp import CannotTrace, tracing_from_environment
from worker.settings import PREFIX, Settings
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.output import say
from worker.tools.cli.running import (
    collect_garbage_seldom,
    return_large_blocks,
    run_async,
    warn_of_unknown_variables,
)
from worker.tools.cli.settings_list import bad_settings, listed, unknown_variables
from worker.tools.common.connect import CannotConnect
from worker.tools.common.migrating import MigrationError

log = structlog.get_logger(__name__)

GROUPS = ("catalogue", "dead-letters", "keys", "quota", "topics")
"""Groups of commands, which do nothing without one of them."""
_FOR_OPERATORS = ("audit", "console", "doctor", "explain", "lanes", "migrate", "replay")
VERBS = (*GROUPS, *_FOR_OPERATORS, "demo", "sandbox", "submit", "tail", "validate")

app = App(
    name="passport-worker",
    version=__version__,
    help="Answers create-passport commands from Kafka, exactly once. Settings are PASSPORT_* environment variables: "
    "`passport-worker settings` lists them.",
    help_format="plaintext",
)
for verb in VERBS:
    app.command(f"worker.tools.{verb.replace('-', '_')}.command_line:app", name=verb)


@app.command
def run() -> None:
    """Answer commands until SIGTERM or SIGINT. The standard OTEL_* variables switch traces on."""
    from worker.app import (
        make_worker,  # HTTP and metrics take a quarter of a second to import, and no other command needs them
    )
    from worker.service import CannotStart

    configure_logs()
    for variable, nearest in unknown_variables(os.environ):
        log.warning("unknown_setting", variable=variable, nearest=nearest)
    settings = Settings()
    tracing = tracing_from_environment()
    collect_garbage_seldom()
    return_large_blocks()

    async def serve() -> None:
        await make_worker(settings, tracing).run()
        _leave()

    try:
        run_async(serve)
    except CannotStart as error:
        raise Failed(str(error)) from error


def _leave() -> None:
    """End the process now, once everything is closed.

    A thread that looks up a host name cannot be stopped: loop and interpreter would wait for it while DNS hangs.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@app.command(name="settings")
def settings_command() -> None:
    """List every setting with its purpose, value, default and source. Secrets are not shown.

    Exit 2 if a setting is bad; the list says why.
    """
    warn_of_unknown_variables()
    settings = listed()
    for setting in settings:
        say(str(setting))
    sys.exit(2 if any(setting.problem for setting in settings) else 0)


def _bad_settings(error: ValidationError) -> str:
    lines = [f"{PREFIX}{name.upper()}: {text}" if name else text for name, text in bad_settings(error)]
    return "bad settings:\n  " + "\n  ".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run a command. Exits with 0 on success and clean stop, 2 on bad usage or settings, 1 otherwise."""
    tokens = sys.argv[1:] if arguments is None else arguments
    try:
        if tokens in ([], ["--help"], ["-h"]):
            list(map(app.__getitem__, VERBS))  # the list of verbs has a line of each verb's own help
        app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        if tokens in ([], *([group] for group in GROUPS)):
            sys.exit(2)  # a command is missing; cyclopts has shown the help
    except CycloptsError as error:
        _fail(f"{error}\nTry `passport-worker --help`.", 2)
    except ValidationError as error:
        _fail(_bad_settings(error), 2)
    except BadUsage as error:
        _fail(str(error), 2)
    except CannotTrace as error:
        _fail(f"bad settings:\n  {error}", 2)
    except (MigrationError, CannotConnect, Failed) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        sys.exit(0)
    except Exception as error:
        _fail(f"{type(error).__name__}: {error}", 1)


def _fail(message: str, code: int) -> None:
    print(f"passport-worker: {message}", file=sys.stderr)
    sys.exit(code)
