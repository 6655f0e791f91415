"""A few sessions for questions that come again and again, each of which may only read, and not for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from worker.tools.common.connect import connect
from worker.tools.common.inspection import Inspection

_LIMITS = (
    "SET application_name = 'passport-worker console'; SET default_transaction_read_only = on; "
    "SET statement_timeout = '{milliseconds}ms'; SET lock_timeout = '{milliseconds}ms'; SET jit = off; "
    # All but the quotas of all companies are look-ups: a plan that was made for other arguments, or while a table was
    # small, must not scan it.
    "SET plan_cache_mode = force_custom_plan; SET enable_seqscan = off"
)


class ReaderSessions:
    """At most `most` at once, opened when they are needed and kept; a statement takes `seconds` at most."""

    def __init__(self, database_url: str, most: int = 2, seconds: float = 2.0) -> None:
        self._database_url = database_url
        self._limits = _LIMITS.format(milliseconds=round(seconds * 1000))
        self._free = asyncio.Semaphore(most)
        self._idle: list[asyncpg.Connection[asyncpg.Record]] = []

    @asynccontextmanager
    async def inspection(self) -> AsyncIterator[Inspection]:
        """One that nobody else has meanwhile. Raises `CannotConnect`; one that a question has failed on is closed."""
        async with self._free:
            connection = await self._take()
            try:
                yield Inspection(connection)
            except BaseException:
                connection.terminate()
                raise
            self._idle.append(connection)

    async def close(self) -> None:
        """All that are idle."""
        while self._idle:
            self._idle.pop().terminate()

    async def _take(self) -> "asyncpg.Connection[asyncpg.Record]":
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        connection = await connect(self._database_url)
        await connection.execute(self._limits)
        return connection
