"""What housekeeping tells of days that it cannot drop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
import pytest
from structlog.testing import capture_logs

from tests.workbench import until
from worker import housekeeping
from worker.housekeeping import Housekeeping
from worker.observability.metrics import Metrics
from worker.settings import Settings
from worker.store import sql


class _Postgres:
    """It has one old day, which no lane needs. Somebody has read the ledger in a transaction that does not end."""

    def __init__(self) -> None:
        self.attempts = 0

    def session(self) -> Any:
        return nullcontext(self)

    @asynccontextmanager
    async def transaction(self, isolation: str) -> AsyncIterator[None]:
        yield

    async def execute(self, query: str, *_: object) -> str:
        return "DELETE 0"

    async def fetch(self, query: str, *_: object) -> list[dict[str, date]]:
        if query == sql.load("drop_day"):
            self.attempts += 1
            raise asyncpg.LockNotAvailableError("canceling statement due to lock timeout")
        return [{"day": date(2020, 1, 1)}] if query == sql.load("old_days") else []

    async def fetchval(self, query: str, *_: object) -> bool:
        return query == sql.load("try_lock_days")


async def test_a_day_that_somebody_keeps_from_being_dropped_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """`PassportHousekeepingFails` goes by the last success, and its page names just this cause.

    Seen to fail: each attempt counted as a success without a line in the log, and so did each start of a worker, while
    the disk filled.
    """

    async def yes(_: Housekeeping) -> bool:
        return True

    monkeypatch.setattr(housekeeping, "HOUSEKEEPING_SECONDS", 0.001)
    monkeypatch.setattr(Housekeeping, "_clocks_agree", yes)
    monkeypatch.setattr(Housekeeping, "_note_ends", yes)
    metrics, postgres, settings = Metrics(), _Postgres(), Settings()
    shared = SimpleNamespace(settings=settings, cluster=None)
    keeping = asyncio.create_task(Housekeeping(cast(Any, shared), cast(Any, postgres), metrics).run())
    with capture_logs() as logs:
        await until(lambda: postgres.attempts > 2, 5, "it tries again")
    keeping.cancel()
    due = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=1 + settings.retention_days)
    said = metrics.registry.get_sample_value("passport_housekeeping_last_success_timestamp_seconds")
    assert said == due.timestamp()
    assert {one["event"] for one in logs} == {"housekeeping_failed"}
