"""What operators see: Prometheus metrics, and one canonical log line a turn."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from opentelemetry import trace

from worker.messages.events import Answer
from worker.messages.reasons import count_by_plan, count_refusals
from worker.messages.refusals import Kind
from worker.observability.hooks import Answered, Committed, Hooks, Stopwatch, Watched
from worker.observability.metrics import Metrics
from worker.observability.refusal_log import RefusalLog
from worker.observability.spans import NO_TRACING, Tracing
from worker.store.port import LaneName

log = structlog.get_logger(__name__)

LANE_STATES = ("opening", "running", "waiting", "halted", "lost")


class Telemetry(Metrics, Hooks):
    """What the rooms tell; a turn or a batch at a time, since a look-up of labels takes as long as parsing a header."""

    def __init__(self, tracing: Tracing = NO_TRACING) -> None:
        super().__init__()
        self._tracing = tracing
        self._lanes: dict[tuple[str, int], Watched] = {}
        self._refusal_log = RefusalLog()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step of a batch, and make its span: decode, store or emit."""
        with self._tracing.step(name):
            started = time.perf_counter()
            yield
            self.step_seconds.labels(name).observe(time.perf_counter() - started, exemplar())

    def stopwatch(self) -> Stopwatch:
        """Starts to time the steps of one transaction in Postgres, and to make their spans."""
        started = last = time.perf_counter()
        trace_step = self._tracing.stopwatch()

        def lap(step: str) -> float:
            nonlocal last
            now = time.perf_counter()
            trace_step(step)
            self.store_step_seconds.labels(step).observe(now - last, exemplar())
            last = now
            return now - started

        return lap

    def committed(self, done: Committed) -> None:
        """Count a transaction by what it decided."""
        self.transaction_seconds.observe(done.seconds, exemplar())
        self.transaction_lanes.observe(done.lanes)
        self.transaction_records.observe(len(done.created) + len(done.others))
        for reason, count in count_refusals(done.others).items():
            self.refusals.labels(reason).inc(count)
        for (plan, answer), count in count_by_plan(done.created, done.others, done.companies).items():
            self.plan_answers.labels(plan, answer).inc(count)

    def lane_state(self, name: LaneName, state: str) -> None:
        """Show the one state that a lane is in."""
        for one in LANE_STATES:
            self.lane_states.labels(name.topic, name.partition, one).set(one == state)
        self.halted.labels(name.topic, name.partition).set(state == "halted")

    def lane_opens(self, name: LaneName, lane: Watched) -> None:
        """Ask how far a lane is behind whenever somebody looks: it gets older while nothing else happens to it."""
        labels = name.topic, name.partition
        self._lanes[labels] = lane
        self.lag_records.labels(*labels).set_function(lane.lag_records)
        self.lag_seconds.labels(*labels).set_function(lane.lag_seconds)
        for counter in (self.records, self.halts, self.reemitted, self.reopenings):
            counter.labels(*labels)

    def lane_closed(self, name: LaneName, lane: Watched) -> None:
        """Drop the gauges of a lane that another worker has now, so that sums over workers are right.

        Unless the partition has a new lane here: one that was cut off may end later than that begins.
        """
        self._refusal_log.tell_numbers()
        topic, partition = name.topic, name.partition
        if self._lanes.get((topic, partition)) is not lane:
            return
        del self._lanes[topic, partition]
        gauges = (self.position, self.lag_records, self.lag_seconds, self.halted, self.halt_looked, self.lane_states)
        for gauge in gauges:
            gauge.remove_by_labels({"topic": topic, "partition": str(partition)})

    def turn(self, answered: Sequence[Answered], started: float) -> None:
        """Count the batches of a turn and write its canonical line; `started` is a `time.monotonic()`."""
        if not answered:
            return
        outcomes, traced = Counter[str](), exemplar()
        for one in answered:
            labels = one.lane.topic, one.lane.partition
            self.records.labels(*labels).inc(len(one.answers))
            self.position.labels(*labels).set(one.stop)
            self.batch_records.observe(len(one.answers), traced)
            outcomes.update(map(outcome_name, one.answers))
        for name, count in outcomes.items():
            self.outcomes.labels(name).inc(count, traced)
        log.info(
            "turn",
            topic=answered[0].lane.topic,
            offsets={one.lane.partition: (one.start, one.stop) for one in answered},
            records=outcomes.total(),
            outcomes=outcomes,
            store_ms=round((time.monotonic() - started) * 1000, 1),
        )
        for one in answered:
            self._tell_refusals(one)

    def _tell_refusals(self, answered: Answered) -> None:
        for answer, command in zip(answered.answers, answered.commands, strict=True):
            if answer.kind is not Kind.CREATED:
                self._refusal_log.tell(answered.lane.topic, answered.lane.partition, answer, command)
                if answer.dead_letter is not None:
                    self.dead_letters.labels(answer.dead_letter.reason).inc()

    def visible(self, appended_ms: Sequence[int]) -> None:
        """Results came out; when the oldest command of each batch was appended."""
        now = time.time()
        for one in appended_ms:
            self.batch_delay.observe(max(0.0, now - one / 1000), exemplar())

    def lane_reopens(self, name: LaneName) -> None:
        """See `Hooks`."""
        self.reopenings.labels(name.topic, name.partition).inc()

    def lane_halted(self, name: LaneName) -> None:
        """See `Hooks`."""
        self.halts.labels(name.topic, name.partition).inc()

    def halted_lane_looked(self, name: LaneName, at: float) -> None:
        """See `Hooks`."""
        self.halt_looked.labels(name.topic, name.partition).set(at)

    def emitted_again(self, name: LaneName, results: int) -> None:
        """See `Hooks`."""
        self.reemitted.labels(name.topic, name.partition).inc(results)

    def assigned(self, generation: int, partitions: int) -> None:
        """See `Hooks`."""
        self.rebalances.inc()
        self.generation.set(generation)
        self.partitions.set(partitions)

    def unassigned(self) -> None:
        """See `Hooks`."""
        self.partitions.set(0)

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


def exemplar() -> dict[str, str] | None:
    """Trace and span to show beside a sample, in OpenMetrics: the current span's, if it is sampled."""
    context = trace.get_current_span().get_span_context()
    if not (context.is_valid and context.trace_flags.sampled):
        return None
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}


def outcome_name(answer: Answer) -> str:
    """`created`, `replayed`, `overage-required`, `conflict` or `rejected`."""
    return "replayed" if answer.replayed else answer.kind.label
