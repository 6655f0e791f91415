"""What must be true before a worker joins its group, check by check."""

from collections.abc import Awaitable, Callable, Sequence

from worker.messages.hints import Finding
from worker.settings import Settings
from worker.store.connect import why_refused
from worker.store.grants import check_rights
from worker.store.migrate import check_schema
from worker.store.port import StoreUnavailable
from worker.store.postgres import PostgresStore
from worker.stream.cluster.connection import Cluster, Refused, explain
from worker.stream.cluster.permissions import check_permissions
from worker.stream.cluster.topics import check_topics

Check = Callable[[], Awaitable[Sequence[Finding]]]
"""What it found; it raises where its server is away. It presumes that those before it found nothing fatal."""


class Preflight:
    """The checks of both servers. They change nothing."""

    def __init__(self, settings: Settings, store: PostgresStore, cluster: Cluster) -> None:
        self._settings, self._store, self._cluster = settings, store, cluster
        self.of_postgres: tuple[Check, ...] = (self._connection, self._rights, self._schema)
        self.of_kafka: tuple[Check, ...] = (self._reachable, self._permissions, self._topics)

    async def _connection(self) -> list[Finding]:
        try:
            await self._store.ping()
        except StoreUnavailable as error:
            if refused := why_refused(error.__cause__):
                return [refused]
            raise
        return []

    async def _rights(self) -> list[Finding]:
        async with self._store.session() as connection:
            return _one_or_none(await check_rights(connection))

    async def _schema(self) -> list[Finding]:
        async with self._store.session() as connection:
            return _one_or_none(await check_schema(connection))

    async def _reachable(self) -> list[Finding]:
        try:
            await self._cluster.ping()
        except Refused as error:
            return [Finding("kafka.reachable", explain(error, self._settings), "Correct them, or Kafka's.")]
        return []

    async def _permissions(self) -> list[Finding]:
        return _one_or_none(await check_permissions(self._cluster, self._settings))

    async def _topics(self) -> list[Finding]:
        return await check_topics(self._cluster, self._settings)


def _one_or_none(finding: Finding | None) -> list[Finding]:
    return [] if finding is None else [finding]


async def findings(checks: Sequence[Check]) -> list[Finding]:
    """Of one check after the other, up to the first that found something fatal."""
    found: list[Finding] = []
    for check in checks:
        found += await check()
        if any(one.is_fatal for one in found):
            break
    return found
