"""The checks that must pass before a worker joins its group. `run` and `doctor` share them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worker.auth.jwks import is_url
from worker.messages import away
from worker.messages.hints import CheckResult
from worker.settings import Settings
from worker.store.errors import why_refused
from worker.store.grants import check_rights
from worker.store.pooling import SESSION, check_session
from worker.store.port import StoreUnavailable
from worker.store.postgres import SESSION_SETTINGS, PostgresStore
from worker.store.schema import GROUP, SCHEMA, applied_migrations, check_group, check_schema, known_migrations
from worker.store.sql import Sessions
from worker.stream.cluster.connection import Cluster, kafka_fault
from worker.stream.cluster.credentials import Refused
from worker.stream.cluster.permissions import check_permissions
from worker.stream.cluster.topic_settings import TOPIC_IDS
from worker.stream.cluster.topics import check_topics

# The ids of checks.
KAFKA, KAFKA_RIGHTS = away.KAFKA.check, "kafka.rights"
POSTGRES, POSTGRES_RIGHTS = away.POSTGRES.check, "postgres.rights"
KEY_SET = "oauth.tls"


@dataclass(frozen=True, slots=True)
class Check:
    """A check whose results have these ids.

    Call `ask` only if the checks that it `presumes` have passed. It raises if the server is away.
    """

    ids: tuple[str, ...]
    ask: Callable[[], Awaitable[Sequence[CheckResult]]]
    presumes: tuple[str, ...] = ()


class Preflight:
    """The checks of the settings and of both servers, each after the checks that it presumes. They change nothing."""

    def __init__(self, settings: Settings, store: Sessions, cluster: Cluster) -> None:
        self._settings, self._store, self._cluster = settings, store, cluster
        self.of_settings: tuple[Check, ...] = (Check((KEY_SET,), self._key_set),)
        self.of_postgres: tuple[Check, ...] = (
            Check((POSTGRES,), self._connection),
            Check((SESSION,), self._session, (POSTGRES,)),
            Check((POSTGRES_RIGHTS,), self._rights, (POSTGRES,)),
            Check((SCHEMA,), self._schema, (POSTGRES, POSTGRES_RIGHTS)),
            Check((GROUP,), self._group, (POSTGRES, POSTGRES_RIGHTS, SCHEMA)),
        )
        self.of_kafka: tuple[Check, ...] = (
            Check((KAFKA,), self._reachable),
            Check((KAFKA_RIGHTS,), self._permissions, (KAFKA,)),
            Check(TOPIC_IDS, lambda: check_topics(cluster, settings), (KAFKA, KAFKA_RIGHTS)),
        )

    async def _key_set(self) -> list[CheckResult]:
        location = self._settings.oauth_jwks
        if not location:
            return [CheckResult(KEY_SET, "OAuth is off: PASSPORT_OAUTH_JWKS is not set", status="skipped")]
        if location.lower().startswith("http://"):
            finding = "the key set is read over plain http, expected https or a file"
            advice = (
                "Set PASSPORT_OAUTH_JWKS to an https URL: anybody on the network path could add a key, and sign access "
                "tokens of any company with it."
            )
            return [CheckResult(KEY_SET, finding, advice, "warning")]
        if is_url(location):
            return [_passed(KEY_SET, "the key set is read over https, as expected")]
        if not await asyncio.to_thread(Path(location).is_file):
            advice = "Correct PASSPORT_OAUTH_JWKS, or mount the file: access tokens are refused until it is there."
            return [CheckResult(KEY_SET, "the key set is no file, expected a file or an https URL", advice, "warning")]
        return [_passed(KEY_SET, "the key set is a file, as expected")]

    async def _connection(self) -> list[CheckResult]:
        try:
            async with self._store.session() as connection:
                await connection.execute("SELECT 1")
        except StoreUnavailable as error:
            if refused := why_refused(error.__cause__):
                return [refused]
            raise
        return [_passed(POSTGRES, f"Postgres answers at {self._settings.database.place}")]

    async def _session(self) -> list[CheckResult]:
        another = PostgresStore(self._settings.database, 1)
        try:
            async with self._store.session() as connection, another.session() as other:
                wrong = await check_session(connection, other, SESSION_SETTINGS)
        except StoreUnavailable as error:
            if refused := why_refused(error.__cause__):
                return [replace(refused, id=SESSION)]
            raise
        finally:
            await another.close()
        return [wrong or _passed(SESSION, "each connection has a session of its own, with the worker's settings")]

    async def _rights(self) -> list[CheckResult]:
        async with self._store.session() as connection:
            return [await check_rights(connection) or _passed(POSTGRES_RIGHTS, "the role has the rights for `run`")]

    async def _schema(self) -> list[CheckResult]:
        async with self._store.session() as connection:
            if (problem := await check_schema(connection)) is not None:
                return [problem]
            newest = (await applied_migrations(connection))[-1].name
        is_ours = newest == known_migrations()[-1].name
        return [
            _passed(SCHEMA, f"at {newest}, {'as this version expects' if is_ours else 'which this version can run on'}")
        ]

    async def _group(self) -> list[CheckResult]:
        group_id = self._settings.group_id
        async with self._store.session() as connection:
            others = [await check_group(connection, group_id, topic) for topic in self._settings.by_commands]
        return [*filter(None, others)] or [_passed(GROUP, f"lanes run under {group_id}")]

    async def _reachable(self) -> list[CheckResult]:
        try:
            await self._cluster.ping()
        except Refused as error:
            return [kafka_fault(error, self._settings)]
        return [_passed(KAFKA, f"Kafka answers at {self._settings.kafka_bootstrap_servers}")]

    async def _permissions(self) -> list[CheckResult]:
        lacking = await check_permissions(self._cluster, self._settings)
        return [lacking or _passed(KAFKA_RIGHTS, "Kafka grants all rights that `run` needs")]


def _passed(id: str, finding: str) -> CheckResult:
    return CheckResult(id, finding, status="ok")


async def findings(checks: Sequence[Check]) -> list[CheckResult]:
    """The results of the checks, in order, up to the first fatal one: later checks presume the earlier ones."""
    findings: list[CheckResult] = []
    for check in checks:
        findings += await check.ask()
        if any(finding.is_fatal for finding in findings):
            break
    return findings
