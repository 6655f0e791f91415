"""All metrics of one worker, by name: `deploy/monitoring/metrics.md` is made from them."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
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
from worker.messages.reasons import DEAD_LETTER_REASONS
from worker.messages.rules import OUTCOMES, REFUSALS

STEPS = ("decode", "store", "emit")
STORE_STEPS = ("look-up", "verify", "begin", "gather", "decide", "write", "commit")
SERVERS = ("postgres", "kafka")

_PLACE = ("topic", "partition")
_RECORDS = (1, 5, 20, 100, 500, 1000, 2000, 5000)
_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
_FINE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_DELAY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class Metrics:
    """One registry and what is in it.

    Labels are topic, partition, outcome, reason, plan, answer, step, state, server and certificate: each a small set.
    Never a key, a GTIN, a serial number or a company. What can start at 0 does, since `increase()` cannot see a counter
    that appears at 1.
    """

    def __init__(self) -> None:
        # They would double the series of counters, and Prometheus sees restarts without them.
        disable_created_metrics()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Info("passport_build", "What runs: version of the worker and of Python.", registry=self.registry).info(
            {"version": __version__, "python": platform.python_version()}
        )
        self._declare_batches(self.registry)
        self._declare_store(self.registry)
        self._declare_lanes(self.registry)
        self._declare_surroundings(self.registry)
        self._begin_at_zero()

    def _declare_batches(self, r: CollectorRegistry) -> None:
        self.records = Counter("passport_records_total", "Command records whose effects are kept.", _PLACE, registry=r)
        self.outcomes = Counter("passport_outcomes_total", "Answers by outcome.", ("outcome",), registry=r)
        self.refusals = Counter("passport_refusals_total", "Refusals by rule.", ("reason",), registry=r)
        self.dead_letters = Counter("passport_dead_letters_total", "Dead letters by reason.", ("reason",), registry=r)
        self.plan_answers = Counter(
            "passport_plan_answers_total",
            "Answers that a plan's limits had a say in: created, created-with-overage, overage-required, "
            "dpp-hard-block, daily-writes-spent.",
            ("plan", "answer"),
            registry=r,
        )
        self.batch_records = Histogram("passport_batch_records", "Records a batch.", buckets=_RECORDS, registry=r)
        self.step_seconds = Histogram(
            "passport_batch_step_seconds",
            "Duration of a step of a batch: decode, store, emit.",
            ("step",),
            buckets=_SECONDS,
            registry=r,
        )
        self.batch_delay = Histogram(
            "passport_batch_delay_seconds",
            "From the append of a batch's oldest command to the moment that its results are visible.",
            buckets=_DELAY_SECONDS,
            registry=r,
        )

    def _declare_store(self, r: CollectorRegistry) -> None:
        self.transaction_seconds = Histogram(
            "passport_transaction_seconds", "Duration of a Postgres transaction.", buckets=_FINE_SECONDS, registry=r
        )
        self.store_step_seconds = Histogram(
            "passport_store_step_seconds",
            "Duration of a step in Postgres: look-up (ahead), then in the transaction begin, gather, decide, write, "
            "commit.",
            ("step",),
            buckets=_SECONDS,
            registry=r,
        )
        self.transaction_records = Histogram(
            "passport_transaction_records", "Records of all lanes a transaction.", buckets=_RECORDS, registry=r
        )
        self.transaction_lanes = Histogram(
            "passport_transaction_lanes", "Lanes a transaction.", buckets=(1, 2, 4, 8, 16, 32), registry=r
        )
        self.ledger_ends = Gauge(
            "passport_ledger_ends_timestamp_seconds",
            "When the first day begins for which keys, ledger or dead letters have no partition: from then on nothing "
            "can be stored.",
            registry=r,
        )
        self.partitions_maintained = Gauge(
            "passport_housekeeping_last_success_timestamp_seconds",
            "When days of keys, ledger and dead letters were last made ahead and dropped behind.",
            registry=r,
        )
        self.clock_difference = Gauge(
            "passport_clock_difference_seconds",
            "By how much the clocks of Postgres, this worker and the newest command's broker differ, looked at every "
            "ten minutes; above an hour no days are dropped.",
            registry=r,
        )

    def _declare_lanes(self, r: CollectorRegistry) -> None:
        self.position = Gauge("passport_lane_position", "Next input offset (A).", _PLACE, registry=r)
        self.lag_records = Gauge(
            "passport_lane_lag_records", "Offsets between the lane and the end of the log.", _PLACE, registry=r
        )
        self.lag_seconds = Gauge(
            "passport_lane_lag_seconds",
            "Age of the oldest command without a visible result, whatever holds it up; 0 when there is none.",
            _PLACE,
            registry=r,
        )
        self.lane_states = Gauge("passport_lane_state", "1 for the state a lane is in.", (*_PLACE, "state"), registry=r)
        self.halted = Gauge("passport_lane_halted", "1 while a lane is halted.", _PLACE, registry=r)
        self.halt_looked = Gauge(
            "passport_lane_halt_looked_timestamp_seconds",
            "When a halted lane looked last whether its positions fit.",
            _PLACE,
            registry=r,
        )
        self.halts = Counter("passport_lane_halts_total", "Lanes that halted.", _PLACE, registry=r)
        self.reemitted = Counter(
            "passport_reemitted_total", "Answers emitted again from the ledger.", _PLACE, registry=r
        )
        self.reopenings = Counter("passport_lane_reopenings_total", "Lanes opened again on doubt.", _PLACE, registry=r)
        self.rebalances = Counter("passport_rebalances_total", "Assignments received from the group.", registry=r)
        self.generation = Gauge(
            "passport_group_generation", "Generation of the group, by its last assignment.", registry=r
        )
        self.partitions = Gauge(
            "passport_assigned_partitions",
            "Partitions that the group gave this worker; 0 while the group shares them out anew.",
            registry=r,
        )

    def _declare_surroundings(self, r: CollectorRegistry) -> None:
        self.server_up = Gauge(
            "passport_server_up", "1 while the server answers: postgres, kafka.", ("server",), registry=r
        )
        self.jwks_up = Gauge(
            "passport_jwks_up", "1 after a good read of the authorization server's keys, 0 after a bad one.", registry=r
        )
        self.jwks_read = Gauge(
            "passport_jwks_last_success_timestamp_seconds", "When the keys were last read well.", registry=r
        )
        self.jwks_failures = Counter("passport_jwks_failures_total", "Bad reads of the keys.", registry=r)
        self.certificate_expires = Gauge(
            "passport_certificate_expires_timestamp_seconds",
            "When the configured Kafka certificates expire: client (first of its chain), ca (last of its bundle).",
            ("certificate",),
            registry=r,
        )

    def _begin_at_zero(self) -> None:
        for outcome in OUTCOMES:
            self.outcomes.labels(outcome)
        for reason in (refusal.code for refusal in REFUSALS.values()):
            self.refusals.labels(reason)
        for reason in DEAD_LETTER_REASONS:
            self.dead_letters.labels(reason)
        for step in STEPS:
            self.step_seconds.labels(step)
        for step in STORE_STEPS:
            self.store_step_seconds.labels(step)
        self.jwks_up.set(1)
        for moment in (self.ledger_ends, self.partitions_maintained, self.clock_difference, self.jwks_read):
            moment.set(nan)  # not known yet; 1970 would set off alerts

    @contextmanager
    def asking(self, server: str) -> Iterator[None]:
        """Whether a server of `SERVERS` answers: down on any exception."""
        up = 0
        try:
            yield
            up = 1
        finally:
            self.server_up.labels(server).set(up)

    def keys_read(self, good: bool) -> None:
        """The authorization server's keys were read, or could not be."""
        self.jwks_up.set(good)
        if good:
            self.jwks_read.set_to_current_time()
        else:
            self.jwks_failures.inc()
