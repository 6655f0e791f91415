"""Shared parts of operators' verbs: options, examples, and how they ask the servers."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from cyclopts import Parameter

from worker.domain.gs1 import UNSAFE_TEXT
from worker.observability.logs import configure_logs
from worker.settings import Settings
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.options import check_number
from worker.tools.cli.progress import RecordProgress, display
from worker.tools.cli.running import collect_garbage_seldom, obey, run_async, settings_with_warnings, warn
from worker.tools.common.journal import Author, process_at_host, user_at_host
from worker.tools.common.prerequisites import Needs, lacks
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem, SomeReport
from worker.tools.common.selection import BadSelection, Bound, Range, bound_of
from worker.tools.common.servers import RETRY_SECONDS, SERVER_ERRORS, Known, Servers, both_servers

Patience = Annotated[float, Parameter(help="Seconds to wait for each server before it starts.")]
NOTHING_DONE = "Nothing was changed. To do it, add --execute --reason TEXT."

Reason = Annotated[str | None, Parameter(help="Why; stored with the change (table operation).")]
_BY = "Who acts; stored with the change. Default: PASSPORT_OPERATOR, or else your user name and host."
By = Annotated[str | None, Parameter(name="--by", help=_BY)]


@Parameter(name="*")
@dataclass(frozen=True)
class AuthorOptions:
    """Options of a verb that changes something at once: who acts, and why."""

    reason: Reason = None
    by: By = None

    def author(self) -> Author:
        """The author of the change. Warns if no person is named. Raises `BadUsage`."""
        if self.by is not None and (not self.by.strip() or UNSAFE_TEXT.search(self.by)):
            raise BadUsage("--by: expected a name, without control characters")
        try:
            (self.reason or "").encode()
        except UnicodeEncodeError:
            raise BadUsage("--reason: expected text in UTF-8") from None
        name = self.by or Settings().operator or user_at_host()
        if name is None:
            name = process_at_host()
            advice = "Say who acts with --by NAME, or with PASSPORT_OPERATOR."
            warn(f"the user of this process names no person, so the change is stored as made by {name}. {advice}")
        return Author(name.strip(), self.reason or "")


@Parameter(name="*")
@dataclass(frozen=True)
class ActOptions:
    """Options of a verb that changes something only with `--execute --reason TEXT`."""

    execute: Annotated[bool, Parameter(help="Do it. Without this option, only print what would be done.")] = False
    reason: Reason = None
    by: By = None

    def author_if_executed(self) -> Author | None:
        """The author of the change; None without `--execute`. Raises `BadUsage` for `--execute` without a reason."""
        if not self.execute:
            return None
        if self.reason is None or not self.reason.strip():
            raise BadUsage("--execute: expected --reason TEXT with it, which is stored in the database")
        return AuthorOptions(self.reason, self.by).author()


_PARTITION = Parameter(help="A partition; can be repeated. Default: all.")


@Parameter(name="*")
@dataclass(frozen=True)
class RangeOptions:
    """Options that choose records of the command topic."""

    partition: Annotated[tuple[int, ...], _PARTITION] = ()
    start: Annotated[str | None, Parameter(name="--from", help="The first offset, or a time (RFC 3339).")] = None
    stop: Annotated[str | None, Parameter(name="--to", help="The offset after the last one, or a time.")] = None

    def range(self) -> Range:
        """The options as a range. Raises `BadUsage`."""
        try:
            start, stop = (None if text is None else bound_of(text) for text in (self.start, self.stop))
        except BadSelection as error:
            raise BadUsage(str(error)) from error
        # An audit of such a range would pass without checking any command.
        if _is_backwards(start, stop):
            raise BadUsage(f"--to: expected an end that is not before --from {self.start}, got {self.stop}")
        return Range(self.partition, start, stop)


def _is_backwards(start: Bound | None, stop: Bound | None) -> bool:
    if isinstance(start, int):
        return isinstance(stop, int) and stop < start
    return isinstance(start, datetime) and isinstance(stop, datetime) and stop < start


def examples(*commands: str) -> str:
    """Examples, as the last lines of a help page."""
    return "\n".join(("Examples:", *(f"  passport-worker {command}" for command in commands)))


def ask(
    question: Callable[[Servers], Awaitable[Known]], settings: Settings | None = None, stop: asyncio.Event | None = None
) -> Known:
    """Run a verb against the servers of the settings, by default those of the environment.

    Raises `Failed` if a signal ends it (see `obey`), and `BadUsage` if an option names what the servers do not have.
    """
    settings = settings or settings_with_warnings()
    configure_logs(quiet=True)  # stdout has the report

    async def asking() -> Known:
        obey(stop)
        async with both_servers(settings) as servers:
            return await question(servers)

    try:
        return run_async(asking)
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Failed("interrupted; completed work stays, and nothing is lost") from None
    except BadSelection as error:
        raise BadUsage(str(error)) from error


async def _wait_for(servers: Servers, patience: float) -> Problem | None:
    """Wait for both servers; soon warn which one is away. A problem says which server does not answer in time."""
    began = time.monotonic()
    away = await servers.both_answer(min(patience, RETRY_SECONDS))
    if away is not None and (left := patience - (time.monotonic() - began)) > 0:
        warn(f"waiting for up to {left:.0f} s: {away.text}")
        away = await servers.both_answer(left)
    return away


def ask_long(
    question: Callable[[Servers, Progress], Awaitable[SomeReport]],
    failed: Callable[[Problem], SomeReport],
    patience: float | None = None,
    needs: Callable[[Settings], Needs] | None = None,
    settings: Settings | None = None,
) -> SomeReport:
    """Run a long verb, with progress on stderr. `failed` makes its report if a server does not answer.

    It waits for each server for `patience` seconds at the start, and checks the rights in `needs`. Verbs that wait or
    check themselves pass None.
    """
    if patience is not None:
        check_number("--patience", patience)
    stop = asyncio.Event()

    async def asking(servers: Servers) -> SomeReport:
        if patience is not None and (away := await _wait_for(servers, patience)) is not None:
            return failed(away)
        try:
            if needs is not None and (denied := await lacks(servers, needs(servers.settings))) is not None:
                return failed(denied)
            with display() as shown:
                return await question(servers, RecordProgress(shown, stop))
        except SERVER_ERRORS as error:
            problem = servers.problem(error)
            text = f"{problem.text.rstrip('.')}. Nothing is lost: run it again."
            return failed(Problem(code=problem.code, text=text))

    collect_garbage_seldom()
    return ask(asking, settings, stop)
