"""Housekeeping of a worker: the ledger's days, the clocks that decide about them, and metrics of slow changes."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from worker.observability.certificates import expiries
from worker.observability.metrics import Metrics
from worker.store.backups import newest_backup
from worker.store.clocks import AGREED_SECONDS, NewestRecord, clock_ahead, clock_difference
from worker.store.partitions import drop_old_days, ensure_days, ledger_end, overdue_day
from worker.store.postgres import PostgresStore
from worker.stream.cluster.topic_settings import shortest_retention
from worker.stream.cluster.topics import find_topics
from worker.stream.dependencies import LaneDependencies
from worker.stream.log_clock import LogClock

log = structlog.get_logger(__name__)

HOUSEKEEPING_SECONDS = 600.0


class Housekeeping:
    """Creates and drops the ledger's days now and then. All workers do this, safely at the same time."""

    def __init__(self, shared: LaneDependencies, store: PostgresStore, metrics: Metrics) -> None:
        self._settings, self._store, self._metrics = shared.settings, store, metrics
        self._cluster = shared.cluster
        self._log_clocks = [LogClock(shared.cluster, topic) for topic in shared.settings.by_commands]

    async def run(self) -> None:
        """Create the ledger's days ahead, and drop those past the retention while the clocks agree, until cancelled."""
        overdue = None
        with suppress(Exception):  # the clocks are compared again before anything is dropped
            if await self._clocks_agree():
                async with self._store.session() as connection:
                    overdue = await overdue_day(connection, self._settings.retention_days)
        if overdue is None:  # the worker created the days ahead when it started
            self._metrics.partitions_maintained.set_to_current_time()
        else:  # nobody has succeeded since the day was due
            due = datetime.combine(overdue, datetime.min.time(), UTC) + timedelta(
                days=self._settings.retention_days + 1
            )
            self._metrics.partitions_maintained.set(due.timestamp())
        while True:
            await self._note_ends()
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            try:
                async with self._store.session() as connection:
                    # Also while the clocks differ: without a partition for its day, Postgres stores no answer.
                    await ensure_days(connection)
                dropped, overdue = list[str](), None
                if await self._clocks_agree():
                    async with self._store.session() as connection:
                        dropped = await drop_old_days(connection, self._settings.retention_days)
                        overdue = await overdue_day(connection, self._settings.retention_days)
                if dropped:
                    log.info("ledger_days_dropped", days=dropped)
                if overdue is None:
                    self._metrics.partitions_maintained.set_to_current_time()
                else:
                    log.warning("housekeeping_failed", error=f"somebody's lock keeps Postgres from dropping {overdue}")
            except Exception as error:  # days are created two days ahead, so that this may fail for long
                log.warning("housekeeping_failed", error=f"{type(error).__name__}: {error}")

    async def _clocks_agree(self) -> bool:
        """Whether the clocks of Postgres, of this worker and of the newest command's broker differ by an hour at most.

        A day that is dropped by a wrong clock cannot come back, and a day that stays costs only disk. The clocks of
        Postgres and the worker decide alone while Kafka is away, and if producers set the times of records. Raises the
        errors of Postgres.
        """
        # If the topic of a channel cannot be read, the others decide. `watch-servers` reports when Kafka is away.
        looks = [] if self._settings.allow_producer_time else [clock.look() for clock in self._log_clocks]
        answers = await asyncio.gather(*looks, return_exceptions=True)
        records = [answer for answer in answers if isinstance(answer, NewestRecord)]
        newest = max(records, key=lambda record: record.appended, default=None)
        async with self._store.session() as connection:
            ahead = await clock_ahead(connection)
        now = time.time()
        difference = clock_difference(now, now + ahead, newest)
        self._metrics.clock_difference.set(difference)
        if difference <= AGREED_SECONDS:
            return True
        log.warning(
            "clocks_differ",
            seconds=round(difference),
            postgres_ahead=round(ahead),
            newest_record_ahead=None if newest is None else round(newest.appended - now),
        )
        return False

    async def _note_ends(self) -> None:
        """Set the metrics of certificates, days, backups and topics. All are times or durations that change slowly."""
        for certificate, ends in expiries(self._settings):
            self._metrics.certificate_expires.labels(certificate).set(ends)
        with suppress(Exception):  # Postgres is away, which `watch-servers` reports
            async with self._store.session() as connection:
                self._metrics.ledger_ends.set(await ledger_end(connection))
                self._metrics.newest_backup.set(await newest_backup(connection) or 0)
        with suppress(Exception):  # Kafka is away, which `watch-servers` reports, too
            topics = await find_topics(self._cluster, self._settings.topics_of_channels)
            self._metrics.topic_retention.set(shortest_retention(topics.values()))
