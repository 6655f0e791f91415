"""The command line: `run`, `settings`, and the list of all other verbs, whose folders are read on first use."""

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
    run_async,
    warn_of_unknown_variables,
)
from worker.tools.cli.settings_list import bad_settings, listed, unknown_variables
from worker.tools.common.connect import CannotConnect
from worker.tools.common.migrating import MigrationError

log = structlog.get_logger(__name__)

GROUPS = ("catalogue", "dead-letters", "keys", "quota", "topics")
"""Of commands, and nothing by themselves."""
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
    from worker.app import make_worker  # HTTP and metrics take a quarter of a second, which no other command needs
    from worker.service import CannotStart

    configure_logs()
    for variable, nearest in unknown_variables(os.environ):
        log.warning("unknown_setting", variable=variable, nearest=nearest)
    settings = Settings()
    tracing = tracing_from_environment()
    collect_garbage_seldom()

    async def serve() -> None:
        await make_worker(settings, tracing).run()
        _leave()

    try:
        run_async(serve)
    except CannotStart as error:
        raise Failed(str(error)) from error


def _leave() -> None:
    """End the process now that all is closed.

    A thread that looks up a name cannot be stopped: loop and interpreter would wait for it, for as long as DNS hangs.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@app.command(name="settings")
def settings_command() -> None:
    """List every setting: what it is for, its value, its default, and where the value came from. No secret is shown.

    Exit 2 if one is bad, with what is wrong.
    """
    warn_of_unknown_variables()
    found = listed()
    for one in found:
        say(str(one))
    sys.exit(2 if any(one.problem for one in found) else 0)


def _bad_settings(error: ValidationError) -> str:
    lines = [f"{PREFIX}{name.upper()}: {text}" if name else text for name, text in bad_settings(error)]
    return "bad settings:\n  " + "\n  ".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Exit 0 on success and clean stop, 2 on bad usage or settings, 1 otherwise."""
    tokens = sys.argv[1:] if arguments is None else arguments
    try:
        if tokens in ([], ["--help"], ["-h"]):
            _load_all()
        app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        if tokens in ([], *([group] for group in GROUPS)):
            sys.exit(2)  # a command is missing; its help was shown
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


def _load_all() -> None:
    """The list of verbs has a line of each one's own help."""
    for name in VERBS:
        app[name]


def _fail(message: str, code: int) -> None:
    print(f"passport-worker: {message}", file=sys.stderr)
    sys.exit(code)
