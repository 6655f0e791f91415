"""What operators see: Prometheus metrics, and one canonical log line a batch and one a refusal."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from worker.domain.command import AccessToken, ApiKey, Command
from worker.messages.events import Answer, Kind
from worker.processing import Work

log = structlog.get_logger(__name__)

LANE_STATES = ("opening", "running", "waiting", "halted", "lost", "closed")
_PLACE = ("topic", "partition")


class Telemetry:
    """All metrics of one worker. Labels are topic, partition, outcome, step and state; never a key or a company."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.records = Counter("passport_records_total", "Command records answered.", _PLACE, registry=r)
        self.outcomes = Counter("passport_outcomes_total", "Answers by outcome.", ("outcome",), registry=r)
        self.batch_records = Histogram(
            "passport_batch_records", "Records a batch.", buckets=(1, 5, 20, 100, 500, 1000, 2000, 5000), registry=r
        )
        self.step_seconds = Histogram(
            "passport_batch_step_seconds",
            "Duration of a step of a batch.",
            ("step",),
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
            registry=r,
        )
        self.position = Gauge("passport_lane_position", "Next input offset (A).", _PLACE, registry=r)
        self.lag_records = Gauge("passport_lane_lag_records", "Offsets behind the end of the log.", _PLACE, registry=r)
        self.lag_seconds = Gauge("passport_lane_lag_seconds", "Age of the oldest record.", _PLACE, registry=r)
        self.lane_states = Gauge("passport_lane_state", "1 for the state a lane is in.", (*_PLACE, "state"), registry=r)
        self.halted = Gauge("passport_lane_halted", "1 while a lane is halted.", _PLACE, registry=r)
        self.reemitted = Counter(
            "passport_reemitted_total", "Answers emitted again from the ledger.", _PLACE, registry=r
        )
        self.reopenings = Counter("passport_lane_reopenings_total", "Lanes opened again on doubt.", _PLACE, registry=r)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step of a batch: decode, store or emit."""
        started = time.perf_counter()
        yield
        self.step_seconds.labels(name).observe(time.perf_counter() - started)

    def lane_state(self, topic: str, partition: int, state: str) -> None:
        """Show the one state that a lane is in."""
        for one in LANE_STATES:
            self.lane_states.labels(topic, partition, one).set(one == state)
        self.halted.labels(topic, partition).set(state == "halted")

    def lag(self, topic: str, partition: int, records: int, seconds: float) -> None:
        """How far a lane is behind: offsets, and seconds since its oldest unanswered record was appended."""
        self.lag_records.labels(topic, partition).set(records)
        self.lag_seconds.labels(topic, partition).set(seconds)

    def forget_lane(self, topic: str, partition: int) -> None:
        """Drop the gauges of a lane that another worker has now, so that sums over workers are right."""
        for gauge in (self.position, self.lag_records, self.lag_seconds, self.halted, self.lane_states):
            gauge.remove_by_labels({"topic": topic, "partition": str(partition)})

    def batch(self, topic: str, partition: int, answers: Sequence[Answer], work: Work, started: float) -> None:
        """Count a batch and write its canonical line; `started` is a `time.monotonic()`."""
        outcomes: dict[str, int] = {}
        for answer in answers:
            name = outcome_name(answer)
            outcomes[name] = outcomes.get(name, 0) + 1
        self.records.labels(topic, partition).inc(len(answers))
        self.batch_records.observe(len(answers))
        for name, count in outcomes.items():
            self.outcomes.labels(name).inc(count)
        self.position.labels(topic, partition).set(work.stop)
        log.info(
            "batch",
            topic=topic,
            partition=partition,
            start=work.start,
            stop=work.stop,
            records=len(answers),
            outcomes=outcomes,
            store_ms=round((time.monotonic() - started) * 1000, 1),
        )
        for answer, command in zip(answers, work.commands, strict=True):
            if answer.kind is not Kind.CREATED:
                _log_refusal(topic, partition, answer, command)


def outcome_name(answer: Answer) -> str:
    """`created`, `replayed`, `overage-required`, `conflict` or `rejected`."""
    return "replayed" if answer.replayed else answer.kind.label


def _log_refusal(topic: str, partition: int, answer: Answer, command: Command) -> None:
    log.info(
        "refusal",
        topic=topic,
        partition=partition,
        offset=answer.offset,
        outcome=answer.kind.label,
        key=answer.key,
        company_id=answer.company_id,
        credentials=_kind_of_credentials(command),
        body=answer.value[:500].decode("ascii"),
        dead_letter=answer.dead_letter.reason if answer.dead_letter else None,
    )


def _kind_of_credentials(command: Command) -> str:
    """The kind only; neither a key nor its hash belongs in a log."""
    if isinstance(command.credentials, ApiKey):
        return "api-key"
    return "access-token" if isinstance(command.credentials, AccessToken) else "none"
