"""Both servers, as verbs ask them. A server that is away becomes a problem of the report; the other still answers."""

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

import stamina
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaConnectionError,
    KafkaError,
    NotCoordinatorForGroupError,
    UnknownTopicOrPartitionError,
)
from aiokafka.structs import TopicPartition

from worker.preflight import KAFKA
from worker.settings import Settings
from worker.store.errors import DATABASE_ERRORS, lacks_schema
from worker.store.port import StoreUnavailable
from worker.stream.cluster.connection import CLUSTER_ERRORS, Cluster
from worker.stream.cluster.permissions import Acl, check_permissions
from worker.stream.faults import fault_of
from worker.tools.common.acls import is_denied as kafka_denies
from worker.tools.common.connect import CannotConnect
from worker.tools.common.connect import is_denied as postgres_denies
from worker.tools.common.inspection import Inspection, inspection
from worker.tools.common.report import Problem
from worker.tools.common.rights import check_reading

# How long a short verb waits for an answer, and how long it tries again while nobody listens.
AWAY_SECONDS = 10.0
RETRY_SECONDS = 1.0
PAUSE_SECONDS = 0.3

# Codes of problems.
KAFKA_AWAY, KAFKA_DENIES = "kafka-away", "kafka-rights"
POSTGRES_AWAY, POSTGRES_DENIES = "postgres-away", "postgres-rights"
TOPICS_MISSING, SCHEMA_DIFFERS = "topics-missing", "schema-differs"

# Errors of brokers that have not found or loaded the coordinator of a group yet.
_COORDINATOR_COMES = (GroupLoadInProgressError, GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError)

# Raised when a server does not do what a verb asks.
SERVER_ERRORS = (CannotConnect, StoreUnavailable, *CLUSTER_ERRORS, *DATABASE_ERRORS)

Known = TypeVar("Known")
Inspect = Callable[[], AbstractAsyncContextManager[Inspection]]


class Servers:
    """The cluster and the database of the settings. A short question waits `patience` seconds for its server."""

    def __init__(self, settings: Settings, patience: float = AWAY_SECONDS, inspect: Inspect | None = None) -> None:
        """`inspect` returns a session of the database for a question; by default each question opens one."""
        self.settings = settings
        self.patience = patience
        self._inspect = inspect or (lambda: inspection(settings.database))
        self.cluster = Cluster(settings)

    def of(self, settings: Settings) -> "Servers":
        """The same servers and connections, for questions on the topics of these settings."""
        other = copy.copy(self)
        other.settings = settings
        return other

    async def kafka(self, question: Callable[[], Awaitable[Known]], needs: Sequence[Acl] = ()) -> Known | Problem:
        """Ask Kafka. A problem says which ACLs are missing, or why Kafka does not answer."""

        async def ask() -> Known | Problem:
            if lacking := await check_permissions(self.cluster, self.settings, needs):
                return Problem(code=KAFKA_DENIES, text=str(lacking))
            return await question()

        return await self._ask(ask, self.patience, min(self.patience, RETRY_SECONDS), of_kafka=True)

    async def postgres(
        self, question: Callable[[Inspection], Awaitable[Known]], needs: Collection[str] = (), *, is_long: bool = False
    ) -> Known | Problem:
        """Ask Postgres. A problem says which tables the role may not read, or why Postgres does not answer.

        A long question may take longer once it is connected.
        """

        async def ask() -> Known | Problem:
            async with self._inspect() as database:
                if needs and (lacking := await check_reading(database.connection, needs)):
                    return Problem(code=POSTGRES_DENIES, text=str(lacking))
                return await question(database)

        return await self._ask(
            ask, None if is_long else self.patience, min(self.patience, RETRY_SECONDS), of_kafka=False
        )

    async def both_answer(self, patience: float) -> Problem | None:
        """Wait for both servers, up to `patience` seconds each. A problem says which of them does not answer."""
        topic, group_id = next(iter(self.settings.by_commands)), self.settings.group_id

        async def committed() -> None:
            await self.cluster.committed(group_id, [TopicPartition(topic, 0)])

        async def connected() -> None:
            async with self._inspect():
                pass

        problem = await self._ask(committed, self.patience, patience, of_kafka=True)
        return problem or await self._ask(connected, self.patience, patience, of_kafka=False)

    async def _ask(
        self,
        ask: Callable[[], Awaitable[Known | Problem]],
        limit: float | None,
        patience: float,
        *,
        of_kafka: bool,
    ) -> Known | Problem:
        """Ask again for `patience` seconds while the server is away. Each attempt takes at most `limit` seconds.

        A new cluster takes seconds to find a coordinator for a group, so this may take as long as an answer.
        """
        began = time.monotonic()

        def goes_on(error: Exception) -> bool:
            seconds = max(patience, self.patience) if isinstance(error, _COORDINATOR_COMES) else patience
            return _may_pass(error) and time.monotonic() - began < seconds

        try:
            async for attempt in retried(goes_on, max(patience, self.patience)):
                with attempt:
                    async with asyncio.timeout(limit):
                        return await ask()
        except SERVER_ERRORS as error:
            return self.problem(error, of_kafka=of_kafka)
        raise AssertionError("stamina returns or raises")

    def problem(self, error: Exception, *, of_kafka: bool = True) -> Problem:
        """Describe one of `SERVER_ERRORS`. `of_kafka` says which server a `TimeoutError` comes from."""
        if isinstance(error, CannotConnect):
            return Problem(code=POSTGRES_AWAY, text=str(error))
        if isinstance(error, UnknownTopicOrPartitionError) and error.args:
            topic = str(error.args[0]).removeprefix("topic ").removesuffix(f": error {error.errno}")
            advice = "Correct --channel or PASSPORT_CHANNELS, or run `passport-worker topics create`."
            return Problem(code=TOPICS_MISSING, text=f"Kafka has no topic {topic}. {advice}")
        fault = fault_of(error, self.settings, of_kafka=of_kafka)
        assert fault is not None, error
        away, denies = (KAFKA_AWAY, KAFKA_DENIES) if fault.id == KAFKA else (POSTGRES_AWAY, POSTGRES_DENIES)
        if kafka_denies(error) or postgres_denies(error):
            return Problem(code=denies, text=str(fault))
        return Problem(code=SCHEMA_DIFFERS if lacks_schema(error) else away, text=str(fault))


@asynccontextmanager
async def both_servers(settings: Settings, patience: float = AWAY_SECONDS) -> AsyncIterator[Servers]:
    """Both servers for as long as the context lasts. Each is connected when it is first asked."""
    servers = Servers(settings, patience)
    try:
        yield servers
    finally:
        await servers.cluster.close()


def retried(
    errors: tuple[type[Exception], ...] | Callable[[Exception], bool], seconds: float
) -> AsyncIterator[stamina.Attempt]:
    """Attempts for this many seconds; a single one if that is 0. Raises the last error."""
    return stamina.retry_context(
        on=errors,
        attempts=None if seconds > 0 else 1,
        timeout=seconds if seconds > 0 else None,
        wait_initial=PAUSE_SECONDS,
        wait_max=PAUSE_SECONDS,
        wait_jitter=0.0,
    )


def _may_pass(error: Exception) -> bool:
    """Whether a server may answer when it is asked again."""
    if isinstance(error, CLUSTER_ERRORS):
        return isinstance(error, KafkaConnectionError) or (isinstance(error, KafkaError) and error.retriable)
    return isinstance(error, SERVER_ERRORS) and isinstance(error.__cause__, OSError)
