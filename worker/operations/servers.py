"""Both servers, as verbs meet them: one that is away is a problem of the report, which tells what the other knows."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from worker.operations.report import Problem
from worker.settings import Settings
from worker.store.connect import CannotConnect
from worker.store.errors import DATABASE_ERRORS
from worker.store.inspection import Inspection, inspection
from worker.stream.cluster.connection import CLUSTER_ERRORS, Cluster, explain, is_passing

AWAY_SECONDS = 10.0
"""How long a short verb waits for a server."""
PAUSE_SECONDS = 0.3

KAFKA_AWAY = "kafka-away"
POSTGRES_AWAY = "postgres-away"

Known = TypeVar("Known")


class Servers:
    """The cluster and the database of the settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cluster = Cluster(settings)

    async def kafka(self, question: Callable[[], Awaitable[Known]]) -> Known | Problem:
        """What Kafka says, or why it says nothing for `AWAY_SECONDS`."""
        deadline = time.monotonic() + AWAY_SECONDS
        while True:
            try:
                async with asyncio.timeout(AWAY_SECONDS):
                    return await question()
            except CLUSTER_ERRORS as error:
                if not is_passing(error) or time.monotonic() + PAUSE_SECONDS > deadline:
                    return Problem(code=KAFKA_AWAY, text=explain(error, self.settings))
            await asyncio.sleep(PAUSE_SECONDS)

    async def postgres(
        self, question: Callable[[Inspection], Awaitable[Known]], *, is_long: bool = False
    ) -> Known | Problem:
        """What Postgres says, or why it says nothing for `AWAY_SECONDS`.

        A long question may take longer, once there is a connection.
        """
        limit = None if is_long else AWAY_SECONDS
        deadline = time.monotonic() + AWAY_SECONDS
        while True:
            try:
                async with asyncio.timeout(limit), inspection(self.settings.database_url) as database:
                    return await question(database)
            except CannotConnect as error:
                if not isinstance(error.__cause__, OSError) or time.monotonic() + PAUSE_SECONDS > deadline:
                    return Problem(code=POSTGRES_AWAY, text=str(error))
            except DATABASE_ERRORS as error:
                said, *_ = str(error).splitlines() or ["no answer in time"]
                return Problem(code=POSTGRES_AWAY, text=f"Postgres: {type(error).__name__}: {said}")
            await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def both_servers(settings: Settings) -> AsyncIterator[Servers]:
    """Nothing is connected before it is asked."""
    servers = Servers(settings)
    try:
        yield servers
    finally:
        await servers.cluster.close()
