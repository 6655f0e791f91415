"""The checks that `doctor` adds to those of `run`: what each asks, and which checks it presumes."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

from worker.auth.jwks import JwksSource, KeysUnavailable
from worker.messages.hints import CheckResult, Status
from worker.observability.certificates import CERTIFICATES, UnreadableCertificate, expiry
from worker.preflight import KAFKA, KAFKA_RIGHTS, POSTGRES, POSTGRES_RIGHTS, Check
from worker.store.backups import newest_backup
from worker.store.clocks import clock_ahead
from worker.store.partitions import ledger_end, old_days
from worker.store.schema import SCHEMA
from worker.store.sql import Connection, Sessions
from worker.stream.cluster.topic_settings import EXIST
from worker.stream.cluster.topics import find_topics
from worker.stream.log_clock import newest_append
from worker.stream.log_reader import Bounds, LogReader
from worker.tools.common.api_keys import companies_that_sign, companies_without_signing_key
from worker.tools.common.inspection import Inspection
from worker.tools.common.lanes import lanes
from worker.tools.common.open_transactions import open_transactions
from worker.tools.common.report import Problem
from worker.tools.common.rights import check_reading
from worker.tools.common.servers import KAFKA_DENIES, POSTGRES_DENIES, Servers
from worker.tools.doctor import judgements
from worker.tools.doctor.protection import protection_of, protection_of_brokers
from worker.tools.doctor.server_state import lock_holders, server_state

# Presumed by checks that read tables, and by checks that read topics.
_TABLES, _TOPICS = (POSTGRES, POSTGRES_RIGHTS, SCHEMA), (KAFKA, KAFKA_RIGHTS, EXIST)
AS_READER = CheckResult(
    "",
    "a reader's role, which may read everything and change nothing: the rights that `run` needs were not checked",
    status="skipped",
)
_POSTGRES_TLS = (
    "Set PGSSLMODE=verify-full, and PGSSLROOTCERT to the file of the authority that signed the server's certificate. "
    "Leave sslmode out of PASSPORT_DATABASE_URL, where it would win. Otherwise whoever answers gets the password."
)
_KAFKA_TLS = (
    "Set PASSPORT_KAFKA_SECURITY_PROTOCOL to SASL_SSL or SSL, set PASSPORT_KAFKA_SSL_CAFILE, and use the brokers' "
    "listener with TLS. Otherwise anybody who answers or listens gets the password, API keys and access tokens."
)
_LANES = ("lanes.halted", "lanes.lag", "lanes.unowned")


def for_readers(check: Check, as_reader: Callable[[], Awaitable[CheckResult | None]]) -> Check:
    """A check of rights that has another finding for a reader's role, which need not do what `run` does.

    `as_reader` returns that finding, or None for any other role.
    """

    async def ask() -> Sequence[CheckResult]:
        results = await check.ask()
        if any(result.is_fatal for result in results) and (finding := await as_reader()) is not None:
            return [replace(finding, id=id) for id in check.ids]
        return results

    return replace(check, ask=ask)


def checks_of_postgres(servers: Servers, store: Sessions) -> tuple[Check, ...]:
    """Checks that need nothing but the database."""
    settings = servers.settings

    async def state(connection: Connection) -> list[CheckResult]:
        server = await server_state(connection)
        return [
            judgements.of_version(server),
            judgements.of_durability(server),
            judgements.of_primary(server),
            judgements.of_connections(server, settings.database_pool_size),
        ]

    async def locks(connection: Connection) -> list[CheckResult]:
        return [judgements.of_locks(await lock_holders(connection, judgements.LOCK_SECONDS))]

    async def clock(connection: Connection) -> list[CheckResult]:
        return [judgements.of_postgres_clock(await clock_ahead(connection))]

    async def days(connection: Connection) -> list[CheckResult]:
        now = time.time() + await clock_ahead(connection)
        left = await old_days(connection, settings.retention_days + 1)  # housekeeping may take a day
        return [
            judgements.of_days_ahead(await ledger_end(connection), now),
            judgements.of_old_days(left, settings.retention_days),
        ]

    async def operations(connection: Connection) -> list[CheckResult]:
        return [judgements.of_operations(await Inspection(connection).open_operations(judgements.OPEN_SECONDS))]

    async def signing(connection: Connection) -> list[CheckResult]:
        return [judgements.of_signing_keys([*map(str, await companies_without_signing_key(connection))])]

    async def audience(connection: Connection) -> list[CheckResult]:
        return [judgements.of_audience(settings.signature_audience, await companies_that_sign(connection))]

    async def protection(connection: Connection) -> list[CheckResult]:
        return [judgements.of_protection("postgres.tls", protection_of(connection), _POSTGRES_TLS)]

    of_state = ("postgres.version", "postgres.durability", "postgres.primary", "postgres.connections")
    return (
        _in_session(store, ("postgres.tls",), protection, (POSTGRES,)),
        _in_session(store, of_state, state, (POSTGRES,)),
        _in_session(store, ("postgres.locks",), locks, (POSTGRES,)),
        _in_session(store, ("clock.postgres",), clock, (POSTGRES,)),
        _in_session(store, ("days.ahead", "days.dropped"), days, _TABLES),
        _in_session(store, ("operations.open",), operations, _TABLES, ("operation",)),
        _in_session(store, ("keys.signing",), signing, _TABLES, ("company", "signing_key")),
        _in_session(store, ("keys.audience",), audience, _TABLES, ("signing_key",)),
    )


def _in_session(
    store: Sessions,
    ids: tuple[str, ...],
    question: Callable[[Connection], Awaitable[list[CheckResult]]],
    presumes: tuple[str, ...],
    reads: tuple[str, ...] = (),
) -> Check:
    """A check that asks in its own session. It is skipped if the role may not read one of these tables."""

    async def ask() -> list[CheckResult]:
        async with store.session() as connection:
            if reads and (lacking := await check_reading(connection, reads)):
                return [replace(lacking, id=id, status="skipped") for id in ids]
            return await question(connection)

    return Check(ids, ask, presumes)


def checks_of_kafka(servers: Servers) -> tuple[Check, ...]:
    """Checks that need nothing but Kafka and its topics."""

    async def clock() -> list[CheckResult]:
        topics, reader = [*servers.settings.by_commands], LogReader(servers.cluster)
        since = datetime.now(UTC) - timedelta(seconds=judgements.RECENT_SECONDS)
        counts, newest = await servers.cluster.partition_counts(topics), list[float]()
        for topic in topics:
            partitions = range(counts[topic])
            firsts, bounds = await reader.first_since(topic, partitions, since), await reader.bounds(topic, partitions)
            recent = {at: Bounds(firsts[at], bounds[at].end) for at in partitions}
            if (appended_ms := await newest_append(servers.cluster, topic, recent)) is not None:
                newest.append(appended_ms / 1000)
        return [judgements.of_log_clock(max(newest) - time.time() if newest else None)]

    async def transactions() -> list[CheckResult]:
        topics = servers.settings.topics_of_channels
        return [judgements.of_open_transactions(await open_transactions(servers.cluster, topics), time.time())]

    async def tls() -> list[CheckResult]:
        protection = await protection_of_brokers(servers.cluster, servers.settings)
        return [judgements.of_protection("kafka.tls", protection, _KAFKA_TLS)]

    return (
        Check(("kafka.tls",), tls, (KAFKA,)),
        Check(("clock.log",), clock, _TOPICS),
        Check(("topics.transactions",), transactions, _TOPICS),
    )


def checks_of_both(servers: Servers, channel: str | None) -> tuple[Check, ...]:
    """Checks that compare what both servers say, of the lanes of a channel or of all."""

    async def look() -> Sequence[CheckResult]:
        report = await lanes(servers, channel)
        unknown = [problem for problem in report.problems if not problem.code.startswith("lane-")]
        if not unknown:
            return judgements.of_lanes(report)
        denied = unknown[0].code in (KAFKA_DENIES, POSTGRES_DENIES)
        return [CheckResult(id, unknown[0].text, status="skipped" if denied else "failed") for id in _LANES]

    async def backup() -> list[CheckResult]:
        async def newest(database: Inspection) -> tuple[float | None, float]:
            connection = database.connection
            return await newest_backup(connection), time.time() + await clock_ahead(connection)

        times = await servers.postgres(newest, ("operation",))
        if isinstance(times, Problem):
            status: Status = "skipped" if times.code == POSTGRES_DENIES else "failed"
            return [CheckResult("backup.newest", times.text, status=status)]
        taken, now = times
        topics = await find_topics(servers.cluster, servers.settings.topics_of_channels)
        return [judgements.of_backup(taken, topics, now)]

    presumed = (*_TOPICS, *_TABLES)
    return (Check(_LANES, look, presumed), Check(("backup.newest",), backup, presumed))


def checks_without_servers(servers: Servers) -> tuple[Check, ...]:
    """Checks of key sets and certificates, which need neither server."""
    settings = servers.settings

    async def keys() -> list[CheckResult]:
        if not settings.oauth_jwks:
            return [CheckResult("oauth.jwks", "OAuth is off: PASSPORT_OAUTH_JWKS is not set", status="skipped")]
        try:
            return [judgements.of_keys(await JwksSource(settings.oauth_jwks).read_now())]
        except KeysUnavailable as error:
            advice = "Correct PASSPORT_OAUTH_JWKS, or its key set. Until then, tokens of unknown keys are refused."
            return [CheckResult("oauth.jwks", error.reason, advice)]

    async def certificate(name: str) -> list[CheckResult]:
        id, variable = f"certificates.{name}", CERTIFICATES[name]
        try:
            ends = expiry(settings, name)
        except UnreadableCertificate as error:
            return [CheckResult(id, f"expected a readable certificate, got {error}", f"Correct {variable}.")]
        if ends is None:
            return [CheckResult(id, f"{variable} is not set", status="skipped")]
        return [judgements.of_certificate(name, variable, ends, time.time())]

    return (
        Check(("oauth.jwks",), keys),
        *(Check((f"certificates.{name}",), partial(certificate, name)) for name in CERTIFICATES),
    )
