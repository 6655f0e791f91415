"""All metrics of a worker. `python -m tests.monitoring` writes `deploy/monitoring/metrics.md` from them."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import nan

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from worker import __version__
from worker.messages.reasons import DEAD_LETTER_REASONS, PLAN_ANSWERS
from worker.messages.rules import OUTCOMES, REFUSALS

STEPS = ("decode", "store", "emit")
STORE_STEPS = ("look-up", "verify", "gather", "decide", "write", "commit")
LATE_SECONDS = 5
"""The objective: a command's result is visible this soon after its append."""

_PLACE = ("topic", "partition")
_RECORDS = (1, 5, 20, 100, 500, 1000, 2000, 5000)
_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
_FINE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_DELAY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class Metrics:
    """The registry of a worker and its metrics.

    The labels are topic, partition, outcome, reason, plan, answer, step, state, server and certificate: small sets.
    A key, a GTIN, a serial number or a company is never a label.
    """

    def __init__(self) -> None:
        # `_created` metrics would double the series of counters, and Prometheus notices restarts without them.
        disable_created_metrics()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Info("passport_build", "Versions of the worker and of Python.", registry=self.registry).info(
            {"version": __version__, "python": platform.python_version()}
        )
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)

        self.records = counter("passport_records_total", "Command records whose effects are kept.", _PLACE)
        self.outcomes = counter("passport_outcomes_total", "Answers by outcome.", ("outcome",))
        self.refusals = counter("passport_refusals_total", "Refusals by rule.", ("reason",))
        self.largest_refused_share = gauge(
            "passport_refusals_largest_company_share",
            "Refusals to the company that was refused most, as a share of the last hour's commands of all workers; 0 "
            "for fewer than 20 commands; looked at every minute.",
        )
        self.companies_refused_entirely = gauge(
            "passport_companies_refused_entirely",
            "Companies that all workers refused three times or more in the last hour, and never answered otherwise; "
            "looked at every minute.",
        )
        self.dead_letters = counter("passport_dead_letters_total", "Dead letters by reason.", ("reason",))
        self.plan_answers = counter(
            "passport_plan_answers_total",
            f"Created passports and refusals by a limit of the plan: {', '.join(PLAN_ANSWERS)}.",
            ("plan", "answer"),
        )
        self.batch_records = histogram("passport_batch_records", "Records per batch.", buckets=_RECORDS)
        self.step_seconds = histogram(
            "passport_batch_step_seconds",
            "Duration of a step of a batch: decode, store, emit.",
            ("step",),
            buckets=_SECONDS,
        )
        self.batch_delay = histogram(
            "passport_batch_delay_seconds",
            "From the append of a batch's oldest command to the moment that its results are visible.",
            buckets=_DELAY_SECONDS,
        )
        self.answers = counter("passport_answers_total", "Commands whose results are visible.")
        self.late_answers = counter(
            "passport_answers_late_total",
            f"Commands whose results became visible more than {LATE_SECONDS} s after the command's append.",
        )

        # Postgres
        self.transaction_seconds = histogram(
            "passport_transaction_seconds", "Duration of a Postgres transaction.", buckets=_FINE_SECONDS
        )
        self.store_step_seconds = histogram(
            "passport_store_step_seconds",
            "Duration of a step in Postgres: look-up and verify (signatures) ahead, then in the transaction gather, "
            "decide, write, commit.",
            ("step",),
            buckets=_SECONDS,
        )
        self.transaction_records = histogram(
            "passport_transaction_records", "Records of all lanes per transaction.", buckets=_RECORDS
        )
        self.transaction_lanes = histogram(
            "passport_transaction_lanes", "Lanes per transaction.", buckets=(1, 2, 4, 8, 16, 32)
        )
        self.ledger_ends = gauge(
            "passport_ledger_ends_timestamp_seconds",
            "When the first day begins for which keys, ledger or dead letters have no partition: from then on nothing "
            "can be stored.",
        )
        self.partitions_maintained = gauge(
            "passport_housekeeping_last_success_timestamp_seconds",
            "When daily partitions of keys, ledger and dead letters were last created and dropped.",
        )
        self.newest_backup = gauge(
            "passport_backup_newest_timestamp_seconds",
            "When the newest backup noted by `passport-worker backup-taken` was taken; 0 if none was noted.",
        )
        self.topic_retention = gauge(
            "passport_topic_retention_seconds",
            "For how long every topic keeps its records: `lanes recover` cannot bring back more after a restore.",
        )
        self.clock_difference = gauge(
            "passport_clock_difference_seconds",
            "By how much the clocks of Postgres, this worker and the newest command's broker differ, looked at every "
            "ten minutes; above an hour no days are dropped.",
        )

        # Lanes
        self.position = gauge("passport_lane_position", "Next input offset (A).", _PLACE)
        self.lag_records = gauge(
            "passport_lane_lag_records", "Offsets between the lane and the end of the log.", _PLACE
        )
        self.lag_seconds = gauge(
            "passport_lane_lag_seconds",
            "Age of the oldest command without a visible result, for whatever reason; 0 if every command has one.",
            _PLACE,
        )
        self.lane_states = gauge("passport_lane_state", "1 for the state a lane is in.", (*_PLACE, "state"))
        self.halted = gauge("passport_lane_halted", "1 while a lane is halted.", _PLACE)
        self.halt_looked = gauge(
            "passport_lane_halt_looked_timestamp_seconds",
            "When a halted lane last checked whether its positions fit.",
            _PLACE,
        )
        self.halts = counter("passport_lane_halts_total", "Lanes that halted.", _PLACE)
        self.reemitted = counter("passport_reemitted_total", "Answers emitted again from the ledger.", _PLACE)
        self.reopenings = counter("passport_lane_reopenings_total", "Lanes opened again after a failure.", _PLACE)

        # The group
        self.rebalances = counter("passport_rebalances_total", "Assignments received from the group.")
        self.generation = gauge("passport_group_generation", "Generation of the group, by its last assignment.")
        self.partitions = gauge(
            "passport_assigned_partitions",
            "Partitions that the group gave this worker; 0 while the group rebalances.",
        )

        # Servers, keys and certificates
        self.server_up = gauge("passport_server_up", "1 while the server answers: postgres, kafka.", ("server",))
        self.jwks_up = gauge(
            "passport_jwks_up", "1 after a good read of the authorization server's keys, 0 after a bad one."
        )
        self.jwks_read = gauge(
            "passport_jwks_last_success_timestamp_seconds", "When the keys were last read successfully."
        )
        self.jwks_failures = counter("passport_jwks_failures_total", "Failed reads of the keys.")
        self.certificate_expires = gauge(
            "passport_certificate_expires_timestamp_seconds",
            "When configured certificates expire: client (first of its chain), ca (last of its bundle), for Kafka; "
            "database-client, database-ca.",
            ("certificate",),
        )

        # `increase()` cannot see a counter that appears at 1.
        for metric, values in (
            (self.outcomes, OUTCOMES),
            (self.refusals, [refusal.code for refusal in REFUSALS.values()]),
            (self.dead_letters, DEAD_LETTER_REASONS),
            (self.step_seconds, STEPS),
            (self.store_step_seconds, STORE_STEPS),
        ):
            for value in values:
                metric.labels(value)
        self.jwks_up.set(1)
        for unknown in (
            *(self.ledger_ends, self.partitions_maintained, self.clock_difference, self.jwks_read),
            *(self.newest_backup, self.topic_retention),
            *(self.largest_refused_share, self.companies_refused_entirely),
        ):
            unknown.set(nan)  # 1970 would set off alerts

    @contextmanager
    def asking(self, server: str) -> Iterator[None]:
        """Set whether `postgres` or `kafka` answers: any exception says that it does not."""
        up = 0
        try:
            yield
            up = 1
        finally:
            self.server_up.labels(server).set(up)

    def keys_read(self, good: bool) -> None:
        """Count a read of the authorization server's keys."""
        self.jwks_up.set(good)
        if good:
            self.jwks_read.set_to_current_time()
        else:
            self.jwks_failures.inc()
