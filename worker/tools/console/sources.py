"""Reports that many pages show: each is asked in the background, once for all who look, and again when it is old."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from worker.tools.common.lane_report import LanesReport
from worker.tools.common.lanes import lanes
from worker.tools.common.report import Problem, Report
from worker.tools.common.selection import Range
from worker.tools.common.servers import Servers
from worker.tools.console.activity import activity
from worker.tools.console.report import ActivityReport
from worker.tools.dead_letters.letters import list_all
from worker.tools.dead_letters.report import DeadLettersListReport
from worker.tools.quota.quota import show_quotas
from worker.tools.quota.report import QuotaShowReport

log = structlog.get_logger(__name__)

SomeReport = TypeVar("SomeReport", bound=Report)

FAILED = "failed"
FRESH_SECONDS = 5.0
FRESH_QUOTAS_SECONDS = 60.0
"""Those of all companies are a scan of them."""
WAIT_SECONDS = 2.0
"""For what nobody has asked before; later the page shows what is known, and how old it is."""
NEAR_ITS_END = 0.8
MOST_ROWS = 1_000
NEWEST_LETTERS = 200


@dataclass(frozen=True, slots=True)
class Known(Generic[SomeReport]):
    """The newest report that tells something, None before there is one; `at` is when it was made, in Unix seconds.

    `newest` is the newest of all, which may tell nothing, and `problems` are its problems.
    """

    report: SomeReport | None = None
    at: float = 0.0
    newest: SomeReport | None = None
    problems: tuple[Problem, ...] = ()


class Source(Generic[SomeReport]):
    """A report that is asked at most every `seconds`; `tells`: whether it says more than that a server is away."""

    def __init__(
        self, ask: Callable[[], Awaitable[SomeReport]], seconds: float, tells: Callable[[SomeReport], bool]
    ) -> None:
        self._ask, self._seconds, self._tells = ask, seconds, tells
        self._known: Known[SomeReport] = Known()
        self._asked = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def get(self, wait: float = WAIT_SECONDS) -> Known[SomeReport]:
        """What is known; where that is old or nothing, somebody is sent to ask, and waited for so many seconds."""
        if self._asking is None and time.time() - self._asked >= self._seconds:
            self._asking = asyncio.create_task(self._refresh())
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=wait if self._known.newest is None else wait / 20)
        return self._known

    async def close(self) -> None:
        """Nobody asks any more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})

    async def _refresh(self) -> None:
        try:
            report = await self._ask()
            said, at = (report, time.time()) if self._tells(report) else (self._known.report, self._known.at)
            self._known = Known(said, at, report, report.problems)
        except Exception as error:  # ours, since a server that is away is in the report
            log.exception("console_failed")
            problem = Problem(code=FAILED, text=f"{type(error).__name__}; the console's log tells more.")
            self._known = Known(self._known.report, self._known.at, None, (problem,))
        finally:
            self._asked, self._asking = time.time(), None


class Sources:
    """All that the overview shows."""

    def __init__(self, servers: Servers) -> None:
        self.lanes: Source[LanesReport] = Source(lambda: lanes(servers), FRESH_SECONDS, lambda one: bool(one.lanes))
        self.activity: Source[ActivityReport] = Source(
            lambda: activity(servers), FRESH_SECONDS, lambda one: bool(one.minutes)
        )
        self.letters: Source[DeadLettersListReport] = Source(
            lambda: list_all(servers, Range(), None, NEWEST_LETTERS), FRESH_SECONDS, lambda one: one.ok
        )
        self.quotas: Source[QuotaShowReport] = Source(
            lambda: show_quotas(servers, None, NEAR_ITS_END, MOST_ROWS), FRESH_QUOTAS_SECONDS, lambda one: one.ok
        )

    async def close(self) -> None:
        """Nobody asks any more."""
        await asyncio.gather(*(one.close() for one in (self.lanes, self.activity, self.letters, self.quotas)))
