"""`passport-worker demo`."""

import sys
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console

from worker.observability.logs import configure_logs
from worker.settings import Settings
from worker.tools.cli.asking import examples
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.running import run_async, settings_with_warnings

app = App(name="demo", help_epilogue=examples("demo", "demo --keep"))

_COMMANDS = Parameter(help="Number of commands to publish.")
_KEEP = Parameter(help="Then continue slowly until Ctrl-C, and print what you can try meanwhile.")
_USE = Parameter(help="Use the Kafka and PostgreSQL of your PASSPORT_* variables. What the demo creates stays there.")
_YES = Parameter(help="With --use-environment: do not ask.")
_LIVE = Parameter(help="Draw a progress bar on a terminal; else print a line per second.", negative="--no-live")


@app.default
def demo(
    *,
    commands: Annotated[int, _COMMANDS] = 2000,
    keep: Annotated[bool, _KEEP] = False,
    use_environment: Annotated[bool, _USE] = False,
    yes: Annotated[bool, _YES] = False,
    live: Annotated[bool, _LIVE] = True,
) -> None:
    """See it work: embedded PostgreSQL and broker, simulated factories, the real worker, and an audit of results.

    Other servers are not used: PASSPORT_KAFKA_*, _DATABASE_*, _HTTP_*, _OAUTH_*, PG* and OTEL_* are ignored.
    """
    from worker.tools.demo.show import Options, run_demo
    from worker.tools.demo.stage import ignore_other_servers

    if commands < 1:
        raise BadUsage(f"--commands: expected a number of at least 1, got {commands}")
    console = Console(highlight=False, markup=False)
    if not use_environment:
        ignore_other_servers(console, "demo", " --use-environment uses yours.")
    settings = settings_with_warnings()
    configure_logs(quiet=True)
    if use_environment:
        _agree(settings, console, commands, yes)
    options = Options(commands=commands, keep=keep, embedded=not use_environment, live=live)
    run_async(lambda: run_demo(settings, console, options))


def _agree(settings: Settings, console: Console, commands: int, yes: bool) -> None:
    """Name the servers, and what the demo does to them. Raises `BadUsage` or `Failed` unless the user agrees."""
    from worker.tools.demo.stage import say

    named = {
        "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": "kafka_bootstrap_servers" in settings.model_fields_set,
        "PASSPORT_DATABASE_URL": settings.names_database,
    }
    if variables := " and ".join(variable for variable, is_named in named.items() if not is_named):
        raise BadUsage(f"--use-environment: set {variables}, too; the demo does not guess which servers you mean")
    say(
        console,
        "The demo will use your servers:",
        f"  Kafka: {settings.kafka_bootstrap_servers}, commands {settings.topic_commands}, group {settings.group_id}",
        f"  PostgreSQL: {settings.database.place}",
        "It creates topics, migrates the database, and loads six sample companies, whose API keys everybody knows. "
        f"It publishes {commands:,} commands, and its worker joins the group. All of this stays there.",
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadUsage("--use-environment: add --yes to agree; without a terminal the demo cannot ask you")
    console.print("Continue? [y/N] ", end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failed("stopped; nothing was changed")
