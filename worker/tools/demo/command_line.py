"""`passport-worker demo`."""

from typing import Annotated

from cyclopts import App, Parameter

from worker.observability.logs import configure_logs
from worker.tools.cli.errors import BadUsage
from worker.tools.cli.running import run_async, settings_with_warnings

app = App(name="demo", help_format="plaintext")


@app.default
def demo(
    *,
    commands: Annotated[int, Parameter(help="Number of commands to publish.")] = 2000,
    keep: Annotated[bool, Parameter(help="Leave everything running, and print how to reach it.", negative=())] = False,
    live: Annotated[bool, Parameter(help="Draw a progress bar on a terminal; else a line a second.")] = True,
) -> None:
    """See it work: embedded PostgreSQL and broker, simulated factories, the real worker, and an audit of results."""
    from worker.tools.demo.show import run_demo

    if commands < 1:
        raise BadUsage(f"--commands: expected a number of at least 1, got {commands}")
    settings = settings_with_warnings()
    configure_logs(quiet=True)
    run_async(lambda: run_demo(settings, commands=commands, keep=keep, live=live))
