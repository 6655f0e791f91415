"""`passport-worker doctor`: checks that servers, topics, rights, clocks, days and lanes are ready for a worker."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from worker.messages.hints import CheckResult
from worker.observability.certificates import CERTIFICATES
from worker.preflight import KAFKA, KAFKA_RIGHTS, POSTGRES, POSTGRES_RIGHTS, Check, Preflight
from worker.store.port import StoreUnavailable
from worker.store.postgres import PostgresStore
from worker.stream.cluster.connection import CLUSTER_ERRORS
from worker.stream.cluster.topic_settings import TOPIC_IDS
from worker.stream.faults import fault_of
from worker.tools.common import acls, rights
from worker.tools.common.report import Problem
from worker.tools.common.servers import RETRY_SECONDS, Servers, retried
from worker.tools.doctor.checks import (
    AS_READER,
    checks_of_both,
    checks_of_kafka,
    checks_of_postgres,
    checks_without_servers,
    for_readers,
)
from worker.tools.doctor.report import CheckReport, DoctorReport
from worker.tools.doctor.topic_summary import check_topics_in_full

# The ids of all checks, in the order of the report.
CHECKS = (
    *("kafka.reachable", "kafka.tls", "kafka.rights"),
    *("topics.exist", "topics.timestamp-type", "topics.partitions", "topics.message-size", "topics.compression"),
    *("topics.retention", "topics.replication", "topics.transactions"),
    *("postgres.reachable", "postgres.session", "postgres.tls", "postgres.version", "postgres.schema"),
    *("postgres.rights", "postgres.group", "postgres.durability", "postgres.primary"),
    *("postgres.connections", "postgres.locks"),
    *("clock.postgres", "clock.log", "days.ahead", "days.dropped"),
    *("lanes.halted", "lanes.lag", "lanes.unowned", "operations.open"),
    *("backup.newest", "keys.signing", "keys.audience"),
    *("oauth.jwks", "oauth.tls", *(f"certificates.{name}" for name in CERTIFICATES)),
)

_ERRORS = (*CLUSTER_ERRORS, StoreUnavailable)
# The beginning of the finding of a check that a failed one prevents.
NOT_CHECKED = "not checked, "
_RANKS = ("failed", "warning", "skipped", "ok")


async def doctor(everything: Servers, channel: str | None = None, *, strict: bool = False) -> DoctorReport:
    """Make every check that can be made; with `strict` a warning is a problem, too. Changes nothing.

    With a channel, topics, their rights and lanes are those of the channel alone. The settings of `everything` serve
    it and all others, whose lost commits would halt its lanes.
    """
    narrowed = everything.settings if channel is None else everything.settings.serving([channel])
    servers = everything.of(narrowed)
    store = PostgresStore(servers.settings.database, 1)
    examination = _Examination(servers)

    async def reader_of_postgres() -> CheckResult | None:
        async with store.session() as connection:
            return AS_READER if await rights.only_reads(connection) else await rights.check_reader(connection)

    async def reader_of_kafka() -> CheckResult | None:
        return AS_READER if await acls.only_reads(servers.cluster, servers.settings) else None

    def adapted(check: Check) -> Check:
        """A check of `run` for `doctor`: topics are described, and a reader's role need not do what `run` does."""
        if check.ids == TOPIC_IDS:
            return replace(check, ask=partial(check_topics_in_full, servers.cluster, servers.settings))
        if check.ids == (KAFKA_RIGHTS,):
            return for_readers(check, reader_of_kafka)
        return for_readers(check, reader_of_postgres) if check.ids == (POSTGRES_RIGHTS,) else check

    try:
        of_run = Preflight(servers.settings, store, servers.cluster)
        await asyncio.gather(
            examination.make((*map(adapted, of_run.of_kafka), *checks_of_kafka(servers))),
            examination.make((*map(adapted, of_run.of_postgres), *checks_of_postgres(servers, store))),
            examination.make((*of_run.of_settings, *checks_without_servers(servers))),
        )
        # Last, since these presume the results of both servers.
        await examination.make(checks_of_both(everything, channel))
    finally:
        await store.close()
    checks = tuple(examination.report(id) for id in CHECKS)
    wrong = ("failed", "warning") if strict else ("failed",)
    problems = [
        Problem(code=check.id, text=str(CheckResult(check.id, check.finding, check.advice or "")))
        for check in checks
        if check.status in wrong
    ]
    return DoctorReport(problems=tuple(problems), checks=checks)


class _Examination:
    """Makes checks one after the other, and keeps their results by id. Checks that presume a failed one are skipped."""

    def __init__(self, servers: Servers) -> None:
        self._settings, self._patience = servers.settings, servers.patience
        self._results: dict[str, list[CheckResult]] = {}

    async def make(self, checks: Iterable[Check]) -> None:
        """Make checks in order. Only the check whether a server answers waits for that server."""
        for check in checks:
            presumed = [result for id in check.presumes for result in self._results.get(id, ())]
            if failed := [result.id for result in presumed if result.is_fatal]:
                self._skip(check, failed[0])
                continue
            results: Sequence[CheckResult] = ()
            try:
                async for attempt in retried(_ERRORS, RETRY_SECONDS if check.ids[0] in (KAFKA, POSTGRES) else 0.0):
                    with attempt:
                        async with asyncio.timeout(self._patience):
                            results = await check.ask()
            except _ERRORS as error:
                of_kafka = POSTGRES not in (*check.ids, *check.presumes)
                results = [self._result_of(error, id, of_kafka=of_kafka) for id in check.ids]
            for result in results:
                self._results.setdefault(result.id, []).append(result)
            self._skip(check, results[0].id)

    def report(self, id: str) -> CheckReport:
        """The report of a check, with everything that is wrong. Raises `KeyError` if the check was not made."""
        results = self._results[id]
        worst = min(results, key=lambda result: _RANKS.index(result.status))
        wrong = [result for result in results if result.status in ("failed", "warning")] or [worst]
        return CheckReport(
            id=id,
            status=worst.status,
            finding="; ".join(result.finding for result in wrong),
            advice=" ".join(dict.fromkeys(result.advice for result in wrong if result.advice)) or None,
        )

    def _skip(self, check: Check, failed: str) -> None:
        """Note why some ids of a check have no result."""
        for id in check.ids:
            if id not in self._results:
                self._results[id] = [CheckResult(id, f"{NOT_CHECKED}since {failed} has failed", status="skipped")]

    def _result_of(self, error: Exception, id: str, *, of_kafka: bool) -> CheckResult:
        """A check that a server kept us from finishing: failed, or skipped if an ACL forbids to ask."""
        fault = fault_of(error, self._settings, of_kafka=of_kafka)
        assert fault is not None, error
        if acls.is_denied(error):
            return CheckResult(id, f"not checked: {fault.finding}", "See kafka.rights.", "skipped")
        return replace(fault, id=id, advice=fault.advice or "Try again; the server's log may tell more.")
