"""Reports that pages share. Each is fetched in the background, once for all readers, and again when it is old."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Generic

import structlog

from worker.tools.common.lane_report import LanesReport
from worker.tools.common.lanes import lanes
from worker.tools.common.report import Problem, SomeReport
from worker.tools.common.selection import Range
from worker.tools.common.servers import Servers
from worker.tools.console.activity import activity
from worker.tools.console.report import ActivityReport
from worker.tools.dead_letters.letters import list_all
from worker.tools.dead_letters.report import DeadLettersListReport
from worker.tools.quota.quota import show_quotas
from worker.tools.quota.report import QuotaShowReport

log = structlog.get_logger(__name__)

FAILED = "failed"
FRESH_SECONDS = 5.0
FRESH_QUOTAS_SECONDS = 60.0
"""The quotas of all companies scan a whole table."""
WAIT_SECONDS = 2.0
"""The time that a page waits for a report if the last one is old, or missing."""
LATE_SECONDS = 5.0
"""A report is old if its replacement is overdue by this time. No page shows it as current."""
NEAR_ITS_END = 0.8
MOST_ROWS = 1_000
NEWEST_LETTERS = 200


@dataclass(frozen=True, slots=True)
class LastReport(Generic[SomeReport]):
    """The last useful report, if there is one, and when the servers were asked for it (Unix seconds).

    `newest` is the very last report, which is useless if a server was away; `problems` are its problems. With `is_old`,
    all of these are old, and the servers are being asked again.
    """

    report: SomeReport | None = None
    at: float = 0.0
    newest: SomeReport | None = None
    problems: tuple[Problem, ...] = ()
    is_old: bool = False


class CachedReport(Generic[SomeReport]):
    """A report, asked for at most every `seconds`. `is_useful` is False if it only says that a server is away."""

    def __init__(
        self, ask: Callable[[], Awaitable[SomeReport]], seconds: float, is_useful: Callable[[SomeReport], bool]
    ) -> None:
        self._ask, self._seconds, self._is_useful = ask, seconds, is_useful
        self._known: LastReport[SomeReport] = LastReport()
        self._answered, self._ticked = 0.0, 0.0
        """When the newest report came, or its failure: in Unix seconds, and by a monotonic clock."""
        self._asking: asyncio.Task[None] | None = None

    async def get(self, wait: float | None = None) -> LastReport[SomeReport]:
        """The last report. Once its time is over, a task asks for a new one.

        If the last one is old, `get` waits up to `wait` seconds for the new one, and otherwise only a moment.
        """
        wait = WAIT_SECONDS if wait is None else wait
        if self._asking is None and self._age() >= self._seconds:
            self._asking = asyncio.create_task(self._refresh())
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=wait if self._is_old() else wait / 20)
        return replace(self._known, is_old=self._is_old())

    def _is_old(self) -> bool:
        """Whether the report is outdated, as for the first reader after a quiet spell."""
        return self._age() > self._seconds + LATE_SECONDS

    def _age(self) -> float:
        """Seconds since the newest answer: one clock may be set back, and the other stops while the machine sleeps."""
        return max(time.time() - self._answered, time.monotonic() - self._ticked)

    async def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _refresh(self) -> None:
        began = time.time()
        try:
            report = await self._ask()
            useful, at = (report, began) if self._is_useful(report) else (self._known.report, self._known.at)
            self._known = LastReport(useful, at, report, report.problems)
        except Exception as error:  # a fault of the console: problems of servers are in the report
            log.exception("console_failed")
            problem = Problem(code=FAILED, text=f"{type(error).__name__}; the console's log says more.")
            self._known = LastReport(self._known.report, self._known.at, None, (problem,))
        finally:
            self._answered, self._ticked, self._asking = time.time(), time.monotonic(), None


class CachedReports:
    """The reports of the overview."""

    def __init__(self, servers: Servers) -> None:
        self.lanes = CachedReport[LanesReport](lambda: lanes(servers), FRESH_SECONDS, lambda report: bool(report.lanes))
        self.activity = CachedReport[ActivityReport](
            lambda: activity(servers), FRESH_SECONDS, lambda report: bool(report.minutes)
        )
        self.letters = CachedReport[DeadLettersListReport](
            lambda: list_all(servers, Range(), None, NEWEST_LETTERS), FRESH_SECONDS, lambda report: report.ok
        )
        self.quotas = CachedReport[QuotaShowReport](
            lambda: show_quotas(servers, None, NEAR_ITS_END, MOST_ROWS), FRESH_QUOTAS_SECONDS, lambda report: report.ok
        )
        self.refused = CachedReport[QuotaShowReport](
            lambda: show_quotas(servers, None, None, MOST_ROWS, only_refused=True),
            FRESH_QUOTAS_SECONDS,
            lambda report: report.ok,
        )

    async def close(self) -> None:
        """Stop asking."""
        for cached in (self.lanes, self.activity, self.letters, self.quotas, self.refused):
            await cached.close()
