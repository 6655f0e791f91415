"""Both servers, as verbs meet them: one that is away is a problem of the report, which tells what the other knows."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

from aiokafka.errors import KafkaConnectionError, KafkaError

from worker.settings import Settings
from worker.store.port import StoreUnavailable
from worker.stream.cluster.connection import CLUSTER_ERRORS, Cluster, explain
from worker.stream.cluster.permissions import Acl, check_permissions
from worker.tools.common.acls import is_denied as kafka_denies
from worker.tools.common.connect import DATABASE_ERRORS, CannotConnect
from worker.tools.common.connect import is_denied as postgres_denies
from worker.tools.common.inspection import Inspection, inspection
from worker.tools.common.report import Problem

AWAY_SECONDS = 10.0
"""How long a short verb waits for a server."""
PAUSE_SECONDS = 0.3

KAFKA_AWAY, KAFKA_DENIES = "kafka-away", "kafka-rights"
POSTGRES_AWAY, POSTGRES_DENIES = "postgres-away", "postgres-rights"
"""Codes of problems."""

SERVER_ERRORS = (CannotConnect, StoreUnavailable, *CLUSTER_ERRORS, *DATABASE_ERRORS)
"""What verbs raise when a server does not do what it was asked."""

Known = TypeVar("Known")
Inspect = Callable[[], AbstractAsyncContextManager[Inspection]]


class Servers:
    """The cluster and the database of the settings; a short question waits `patience` seconds for either."""

    def __init__(self, settings: Settings, patience: float = AWAY_SECONDS, inspect: Inspect | None = None) -> None:
        """`inspect` gives a session of the database for a question; without it each question has one of its own."""
        self.settings = settings
        self.patience = patience
        self._inspect = inspect or (lambda: inspection(settings.database_url))
        self.cluster = Cluster(settings)

    async def kafka(self, question: Callable[[], Awaitable[Known]], needs: Sequence[Acl] = ()) -> Known | Problem:
        """What Kafka says; or which needed ACLs are missing, or why it says nothing for so long."""

        async def ask() -> Known | Problem:
            if lacking := await check_permissions(self.cluster, self.settings, needs):
                return Problem(code=KAFKA_DENIES, text=str(lacking))
            return await question()

        return await self._ask(ask, self.patience, self.patience, of_kafka=True)

    async def postgres(
        self, question: Callable[[Inspection], Awaitable[Known]], needs: Collection[str] = (), *, is_long: bool = False
    ) -> Known | Problem:
        """What Postgres says; or which tables it needs and may not read, or why it says nothing for so long.

        A long question may take longer, once there is a connection.
        """

        async def ask() -> Known | Problem:
            async with self._inspect() as database:
                if needs and (lacking := await database.lacks(needs)):
                    return Problem(code=POSTGRES_DENIES, text=str(lacking))
                return await question(database)

        return await self._ask(ask, None if is_long else self.patience, self.patience, of_kafka=False)

    async def both_answer(self, patience: float) -> Problem | None:
        """Wait for both servers, for so many seconds each; None once they answer, else which of them does not."""
        settings = self.settings

        async def committed() -> None:
            await self.cluster.committed(settings.group_id, settings.topic_commands, [0])

        async def connected() -> None:
            async with self._inspect():
                pass

        found = await self._ask(committed, self.patience, patience, of_kafka=True)
        return found or await self._ask(connected, self.patience, patience, of_kafka=False)

    async def _ask(
        self,
        ask: Callable[[], Awaitable[Known | Problem]],
        limit: float | None,
        patience: float,
        *,
        of_kafka: bool,
    ) -> Known | Problem:
        """Each attempt takes `limit` seconds at most; a server that is away is asked again for `patience` seconds."""
        deadline = time.monotonic() + patience
        while True:
            try:
                async with asyncio.timeout(limit):
                    return await ask()
            except SERVER_ERRORS as error:
                if not _may_pass(error) or time.monotonic() + PAUSE_SECONDS > deadline:
                    return self.problem(error, of_kafka=of_kafka)
            await asyncio.sleep(PAUSE_SECONDS)

    def problem(self, error: Exception, *, of_kafka: bool = True) -> Problem:
        """One of `SERVER_ERRORS`, for people; `of_kafka` tells whose a `TimeoutError` is."""
        if isinstance(error, CannotConnect):
            return Problem(code=POSTGRES_AWAY, text=str(error))
        if isinstance(error, CLUSTER_ERRORS) and (of_kafka or not isinstance(error, TimeoutError)):
            return Problem(code=KAFKA_DENIES if kafka_denies(error) else KAFKA_AWAY, text=explain(error, self.settings))
        said, *_ = str(error).splitlines() or ["no answer in time"]
        code = POSTGRES_DENIES if postgres_denies(error) else POSTGRES_AWAY
        return Problem(code=code, text=f"Postgres: {type(error).__name__}: {said}")


@asynccontextmanager
async def both_servers(settings: Settings, patience: float = AWAY_SECONDS) -> AsyncIterator[Servers]:
    """Nothing is connected before it is asked."""
    servers = Servers(settings, patience)
    try:
        yield servers
    finally:
        await servers.cluster.close()


def _may_pass(error: Exception) -> bool:
    """Whether it is worth while to ask again."""
    if isinstance(error, CLUSTER_ERRORS):
        return isinstance(error, KafkaConnectionError) or (isinstance(error, KafkaError) and error.retriable)
    return isinstance(error.__cause__, OSError)
