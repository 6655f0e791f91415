"""`passport-worker doctor`: whether servers, topics, rights, clocks, days and lanes are as a worker needs them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from worker.messages.hints import CheckResult
from worker.preflight import KAFKA_RIGHTS, POSTGRES_RIGHTS, Check, Preflight
from worker.store.postgres import PostgresStore
from worker.stream.cluster.topic_settings import TOPIC_IDS
from worker.tools.common import acls, rights
from worker.tools.common.report import Problem
from worker.tools.common.servers import Servers
from worker.tools.doctor.checks import (
    checks_of_both,
    checks_of_kafka,
    checks_of_postgres,
    checks_without_servers,
    for_readers,
)
from worker.tools.doctor.examination import Examination
from worker.tools.doctor.report import CheckReport, DoctorReport
from worker.tools.doctor.topic_summary import check_topics_in_full

CHECKS = (
    *("kafka.reachable", "kafka.tls", "kafka.rights"),
    *("topics.exist", "topics.timestamp-type", "topics.partitions", "topics.message-size", "topics.compression"),
    *("topics.retention", "topics.replication", "topics.transactions"),
    *("postgres.reachable", "postgres.tls", "postgres.version", "postgres.schema", "postgres.rights", "postgres.group"),
    *("postgres.durability", "postgres.primary", "postgres.connections", "postgres.locks"),
    *("clock.postgres", "clock.log", "days.ahead", "days.dropped"),
    *("lanes.halted", "lanes.lag", "lanes.unowned", "operations.open"),
    *("keys.signing", "oauth.jwks", "oauth.tls", "certificates.client", "certificates.ca"),
)
"""All ids, in the order of the report."""


async def doctor(servers: Servers, *, strict: bool = False) -> DoctorReport:
    """Make every check that can be made; with `strict` a warning is a problem, too. Changes nothing."""
    store = PostgresStore(servers.settings.database_url, 1)
    examination = Examination(servers)
    try:
        of_settings, of_kafka, of_postgres = _of_run(servers, store)
        await asyncio.gather(
            examination.make((*of_kafka, *checks_of_kafka(servers))),
            examination.make((*of_postgres, *checks_of_postgres(servers, store))),
            examination.make((*of_settings, *checks_without_servers(servers))),
        )
        await examination.make(checks_of_both(servers))
    finally:
        await store.close()
    checks = examination.reports(CHECKS)
    wrong = ("failed", "warning") if strict else ("failed",)
    return DoctorReport(problems=tuple(_problem(one) for one in checks if one.status in wrong), checks=checks)


def _of_run(servers: Servers, store: PostgresStore) -> tuple[Sequence[Check], list[Check], list[Check]]:
    """What `run` checks of its settings, of Kafka and of Postgres, as it does, but for those who only look.

    Topics have findings also where nothing is wrong with them.
    """

    async def reads_kafka() -> bool:
        return await acls.only_reads(servers.cluster, servers.settings)

    async def reads_postgres() -> bool:
        async with store.session() as connection:
            return await rights.only_reads(connection)

    async def topics() -> Sequence[CheckResult]:
        return await check_topics_in_full(servers.cluster, servers.settings)

    preflight = Preflight(servers.settings, store, servers.cluster)
    of_kafka = [replace(check, ask=topics) if check.ids == TOPIC_IDS else check for check in preflight.of_kafka]
    return (
        preflight.of_settings,
        [for_readers(check, reads_kafka) if check.ids == (KAFKA_RIGHTS,) else check for check in of_kafka],
        [for_readers(one, reads_postgres) if one.ids == (POSTGRES_RIGHTS,) else one for one in preflight.of_postgres],
    )


def _problem(check: CheckReport) -> Problem:
    return Problem(code=check.id, text=str(CheckResult(check.id, check.finding, check.advice or "")))
