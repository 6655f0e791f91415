"""The command line: `run`, `settings`, and a list of all other verbs, which are imported on first use."""

import itertools
import os
import sys
from typing import Annotated, Literal

import structlog
from cyclopts import App, CycloptsError, Group, Parameter, UnusedCliTokensError
from pydantic import ValidationError
from rich.text import Text

from worker import __version__
from worker.messages.hints import printable
from worker.observability.logs import configure_logs
from worker.observability.otlp import CannotTrace, tracing_from_environment
from worker.settings import PREFIX, Settings
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.help_pages import DEFAULTS, Formatter, page
from worker.tools.cli.output import STYLES, AsJson, Page, copyable, tally, wrapped
from worker.tools.cli.running import collect_garbage_seldom, return_large_blocks, run_async, warn_of_unknown_variables
from worker.tools.cli.settings_list import SettingsReport, bad_settings, settings_report, unknown_variables
from worker.tools.cli.streams import CannotPrint, leave_closed_pipe, prepare_streams
from worker.tools.common.connect import CannotConnect
from worker.tools.common.migrating import MigrationError

log = structlog.get_logger(__name__)

VERBS = {
    "Try it": ("demo", "sandbox"),
    "Send and read": ("submit", "tail", "validate"),
    "Look": ("lanes", "refusals", "explain", "quota", "audit", "console", "doctor"),
    "Act": ("dead-letters", "replay", "keys", "catalogue", "company", "backup-taken"),
    "Set up": ("topics", "migrate", "settings", "run", "completion"),
}
"""All verbs, in the order and in the groups of the help page."""
_NO_COLOR = "--no-color"
_INDENT = "    "

app = App(
    name="passport-worker",
    version=__version__,
    help="Answers create-passport commands from Kafka, exactly once. Settings are PASSPORT_* environment variables: "
    "`passport-worker settings` lists them. Every verb takes --no-color, and obeys NO_COLOR.",
    help_format="plaintext",
    help_formatter=Formatter(),
    default_parameter=DEFAULTS,
)


def run() -> None:
    """Answer commands until SIGTERM or SIGINT. The standard OTEL_* variables switch traces on."""
    # HTTP and metrics take a quarter of a second to import, and no other command needs them.
    from worker.app import make_worker
    from worker.service import CannotStart

    configure_logs()
    for variable, nearest in unknown_variables(os.environ):
        log.warning("unknown_setting", variable=variable, nearest=nearest)
    settings = Settings()
    try:
        tracing = tracing_from_environment()
    except CannotTrace as error:
        raise BadUsage(f"bad settings:\n  {error}") from error
    collect_garbage_seldom()
    return_large_blocks()

    async def serve() -> None:
        await make_worker(settings, tracing).run()
        # Everything is closed, so end the process now. A thread that looks up a host name cannot be stopped: loop and
        # interpreter would wait for it while DNS hangs.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    try:
        run_async(serve)
    except CannotStart as error:
        raise Failed(str(error)) from error


def settings_command(*, as_json: AsJson = False) -> None:
    """List every setting with its purpose, value, default and source. Secrets are not shown.

    Exit 2 if a setting is bad; the list says why.
    """
    warn_of_unknown_variables()
    report = settings_report()
    if as_json:
        print(report.model_dump_json(by_alias=True, indent=2))
    else:
        _draw_settings(Page(), report)
    sys.exit(0 if report.ok else 2)


def _draw_settings(page: Page, report: SettingsReport) -> None:
    """Draw each setting on a line, which is red if the setting is bad, with its purpose below."""
    for setting in report.settings:
        page.print(copyable(str(setting)), style="" if setting.problem is None else STYLES["bad"])
        for line in wrapped(Text(setting.description, "dim"), page.width - len(_INDENT)):
            page.print(Text(_INDENT).append_text(line))
    of_environment = sum(setting.source == "environment" for setting in report.settings)
    counted = {"set": of_environment, "default": len(report.settings) - of_environment, "bad": len(report.problems)}
    page.print(tally(counted))


def completion(
    shell: Annotated[Literal["bash", "fish", "zsh"], Parameter(name="SHELL", help="Your shell: bash, fish or zsh.")],
    /,
    *,
    install: Annotated[bool, Parameter(help="Write the script where the shell looks for it.")] = False,
) -> None:
    """Print a script with which a shell completes verbs and options, or install it for your user.

    With --install it also adds a line to ~/.bashrc or ~/.zshrc, unless that file has it. Start a new shell afterwards.
    """
    load_verbs()
    if install:
        print(f"installed {app.install_completion(shell=shell)}; start a new shell to use it")
    else:
        print(app.generate_completion(shell=shell))


def load_verbs() -> None:
    """Import all verbs, so that their own help and options are known."""
    for verb in itertools.chain(*VERBS.values()):
        app[verb].help_format = app.help_format  # help pages inherit it, but scripts for completion do not


def _register_verbs() -> None:
    here = {"completion": completion, "run": run, "settings": settings_command}
    for order, (title, verbs) in enumerate(VERBS.items()):
        group = Group(title, sort_key=order)
        for place, verb in enumerate(verbs):
            module, name = f"worker.tools.{verb.replace('-', '_')}.command_line", "app"
            if verb in here:
                module, name = __name__, here[verb].__name__
            app.command(f"{module}:{name}", name=verb, group=group, sort_key=place)
    app["--help"].group = app["--version"].group = (Group("Options", sort_key=len(VERBS)),)


_register_verbs()


def _bad_settings(error: ValidationError) -> str:
    lines = [f"{PREFIX}{name.upper()}: {text}" if name else text for name, text in bad_settings(error)]
    return "bad settings:\n  " + "\n  ".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Run a command. Exits with 0 on success and clean stop, 2 on bad usage or settings, 1 otherwise."""
    prepare_streams()
    try:
        try:
            _run(_without_colours(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()  # Python's own flush at the exit would print a traceback, and exit with 120
    except BrokenPipeError:
        leave_closed_pipe(1)
    except CannotPrint as error:
        print(f"passport-worker: {error}", file=sys.stderr)
        leave_closed_pipe(1)


def _run(tokens: list[str]) -> None:
    try:
        if tokens in ([], ["--help"], ["-h"]):
            load_verbs()
        app(tokens, console=page(), exit_on_error=False, print_error=False, result_action="return_value")
        if not tokens or (len(tokens) == 1 and app[tokens[0]].default_command is None):
            sys.exit(2)  # a command is missing; cyclopts has shown the help
    except CycloptsError as error:
        verb = " ".join(("passport-worker", *(error.command_chain or ())))
        unused = error.unused_tokens if isinstance(error, UnusedCliTokensError) else None
        text = f"Unexpected argument: {printable(' '.join(unused))}." if unused else str(error)
        _fail(f"{text}\nTry `{verb} --help`.", 2)
    except ValidationError as error:
        _fail(_bad_settings(error), 2)
    except BadUsage as error:
        _fail(str(error), 2)
    except (MigrationError, CannotConnect, Failed) as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        sys.exit(0)
    except (BrokenPipeError, CannotPrint):
        raise
    except Exception as error:
        _fail(": ".join(filter(None, (type(error).__name__, str(error)))), 1)


def _without_colours(tokens: list[str]) -> list[str]:
    """Remove --no-color, which every verb takes, from the tokens. Everything that prints colours obeys NO_COLOR."""
    end = tokens.index("--") if "--" in tokens else len(tokens)
    if _NO_COLOR in tokens[:end]:
        os.environ["NO_COLOR"] = "1"
    return [token for token in tokens[:end] if token != _NO_COLOR] + tokens[end:]


def _fail(message: str, code: int) -> None:
    print(f"passport-worker: {message}", file=sys.stderr)
    sys.exit(code)
