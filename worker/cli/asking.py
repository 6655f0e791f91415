"""What the operators' verbs have in common on the command line: options, examples, and how they ask the servers."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from cyclopts import Parameter

from worker.cli.errors import BadUsage, Failed
from worker.cli.running import run_async, settings_with_warnings
from worker.operations.report import Report
from worker.operations.servers import Servers, both_servers

Execute = Annotated[bool, Parameter(help="Do it; otherwise it only says what it would do.", negative=())]
Reason = Annotated[str | None, Parameter(help="Why; kept in the database (table operation).")]
AsJson = Annotated[bool, Parameter(name="--json", help="Print one JSON document (schemas/operations).", negative=())]


SomeReport = TypeVar("SomeReport", bound=Report)


def examples(*commands: str) -> str:
    """The end of a page of help."""
    return "\n".join(("Examples:", *(f"  passport-worker {one}" for one in commands)))


def ask(question: Callable[[Servers], Awaitable[SomeReport]]) -> SomeReport:
    """What a verb says of the servers of the settings. Raises `Failed` where a signal ends it first."""
    settings = settings_with_warnings()

    async def asking() -> SomeReport:
        async with both_servers(settings) as servers:
            return await question(servers)

    try:
        return run_async(asking)
    except KeyboardInterrupt:
        raise Failed("interrupted") from None


def reason_to_execute(reason: str | None) -> str:
    """The reason that goes with `--execute`. Raises `BadUsage` where there is none."""
    if reason is None or not reason.strip():
        raise BadUsage("--execute: expected --reason TEXT beside it, which is kept in the database")
    return reason
