"""What the operators' verbs have in common on the command line: options, examples, and how they ask the servers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from cyclopts import Parameter

from worker.observability.logs import configure_logs
from worker.settings import Settings
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.progress import RecordProgress, display
from worker.tools.cli.running import collect_garbage_seldom, run_async, settings_with_warnings, warn
from worker.tools.cli.signals import Stop, Stoppable, obey
from worker.tools.common.needs import Needs, lacks
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem, Report
from worker.tools.common.selection import BadSelection, Range, bound_of
from worker.tools.common.servers import AWAY_SECONDS, SERVER_ERRORS, Servers, both_servers

Execute = Annotated[bool, Parameter(help="Do it; otherwise it only says what it would do.", negative=())]
Reason = Annotated[str | None, Parameter(help="Why; kept in the database (table operation).")]
Patience = Annotated[float, Parameter(help="Seconds that each server is waited for before it begins.")]
AsJson = Annotated[bool, Parameter(name="--json", help="Print one JSON document (schemas/operations).", negative=())]


_PARTITION = Parameter(help="A partition; repeat it. All, if none is given.", negative=())


@Parameter(name="*")
@dataclass(frozen=True)
class RangeOptions:
    """Which records of the command topic."""

    partition: Annotated[tuple[int, ...], _PARTITION] = ()
    start: Annotated[str | None, Parameter(name="--from", help="The first offset, or a time (RFC 3339).")] = None
    stop: Annotated[str | None, Parameter(name="--to", help="The offset behind the last one, or a time.")] = None

    def range(self) -> Range:
        """As the verbs take it. Raises `BadUsage`."""
        try:
            start, stop = (None if text is None else bound_of(text) for text in (self.start, self.stop))
        except BadSelection as error:
            raise BadUsage(str(error)) from error
        return Range(self.partition, start, stop)


SomeReport = TypeVar("SomeReport", bound=Report)


def examples(*commands: str) -> str:
    """The end of a page of help."""
    return "\n".join(("Examples:", *(f"  passport-worker {one}" for one in commands)))


def ask(question: Callable[[Servers], Awaitable[SomeReport]], stop: Stop | None = None) -> SomeReport:
    """What a verb says of the servers of the settings. Raises `Failed` where a signal ends it first; see `obey`."""
    settings = settings_with_warnings()
    configure_logs(quiet=True)  # stdout is the report's

    async def asking() -> SomeReport:
        obey(stop)
        async with both_servers(settings) as servers:
            return await question(servers)

    try:
        return run_async(asking)
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Failed("interrupted; what was done stays, and nothing is lost") from None


def reason_to_execute(reason: str | None) -> str:
    """The reason that goes with `--execute`. Raises `BadUsage` where there is none."""
    if reason is None or not reason.strip():
        raise BadUsage("--execute: expected --reason TEXT beside it, which is kept in the database")
    return reason


def ask_long(
    question: Callable[[Servers, Progress], Awaitable[SomeReport]],
    failed: Callable[[Problem], SomeReport],
    patience: float | None = None,
    needs: Callable[[Settings], Needs] | None = None,
) -> SomeReport:
    """What a long verb says, with progress on stderr; `failed` makes its report where a server does not answer.

    `patience` is how many seconds each server is waited for at the start, and `needs` what it has to be allowed; None
    where the verb sees to that.
    """
    stop = Stop()

    async def asking(servers: Servers) -> SomeReport:
        if patience is not None and (away := await servers.both_answer(min(patience, AWAY_SECONDS))) is not None:
            warn(f"waiting for a server: {away.text}")
            if (away := await servers.both_answer(max(0.0, patience - AWAY_SECONDS))) is not None:
                return failed(away)
        try:
            if needs is not None and (denied := await lacks(servers, needs(servers.settings))) is not None:
                return failed(denied)
            with display() as shown:
                return await question(servers, Stoppable(RecordProgress(shown), stop))
        except SERVER_ERRORS as error:
            found = servers.problem(error)
            return failed(Problem(code=found.code, text=f"{found.text.rstrip('.')}. Nothing is lost: run it again."))
        except BadSelection as error:
            raise BadUsage(str(error)) from error

    collect_garbage_seldom()
    return ask(asking, stop)
