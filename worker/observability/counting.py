"""What Prometheus sees of the line."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace

from worker.messages.reasons import count_by_plan, count_refusals
from worker.observability.hooks import Committed, Hooks, Stopwatch, Turn, Watched
from worker.observability.metrics import STEPS, Metrics
from worker.store.port import LaneName

LANE_STATES = ("opening", "running", "waiting", "halted", "lost")


class Counting(Hooks):
    """Counts and times; a turn or a batch at a time, since a look-up of labels takes as long as parsing a header."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lanes: dict[tuple[str, int], Watched] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times a step of a batch, unless it fails."""
        started = time.perf_counter()
        yield
        if name in STEPS:
            self._metrics.step_seconds.labels(name).observe(time.perf_counter() - started, exemplar())

    def stopwatch(self) -> Stopwatch:
        """Starts to time the steps of one transaction in Postgres."""
        last = time.perf_counter()

        def lap(step: str) -> None:
            nonlocal last
            now = time.perf_counter()
            self._metrics.store_step_seconds.labels(step).observe(now - last, exemplar())
            last = now

        return lap

    def committed(self, done: Committed) -> None:
        """Count a transaction by what it decided."""
        self._metrics.transaction_seconds.observe(done.seconds, exemplar())
        self._metrics.transaction_lanes.observe(done.lanes)
        self._metrics.transaction_records.observe(len(done.created) + len(done.others))
        for reason, count in count_refusals(done.others).items():
            self._metrics.refusals.labels(reason).inc(count)
        for (plan, answer), count in count_by_plan(done.created, done.others, done.companies).items():
            self._metrics.plan_answers.labels(plan, answer).inc(count)

    def lane_state(self, name: LaneName, state: str) -> None:
        """Show the one state that a lane is in."""
        for one in LANE_STATES:
            self._metrics.lane_states.labels(name.topic, name.partition, one).set(one == state)
        self._metrics.halted.labels(name.topic, name.partition).set(state == "halted")

    def lane_opens(self, name: LaneName, lane: Watched) -> None:
        """Ask how far a lane is behind whenever somebody looks: it gets older while nothing else happens to it."""
        labels = name.topic, name.partition
        self._lanes[labels] = lane
        self._metrics.lag_records.labels(*labels).set_function(lane.lag_records)
        self._metrics.lag_seconds.labels(*labels).set_function(lane.lag_seconds)
        for counter in (self._metrics.records, self._metrics.halts, self._metrics.reemitted, self._metrics.reopenings):
            counter.labels(*labels)

    def lane_closed(self, name: LaneName, lane: Watched) -> None:
        """Drop the gauges of a lane that another worker has now, so that sums over workers are right.

        Unless the partition has a new lane here: one that was cut off may end later than that begins.
        """
        topic, partition = name.topic, name.partition
        if self._lanes.get((topic, partition)) is not lane:
            return
        del self._lanes[topic, partition]
        gauges = (
            self._metrics.position,
            self._metrics.lag_records,
            self._metrics.lag_seconds,
            self._metrics.halted,
            self._metrics.halt_looked,
            self._metrics.lane_states,
        )
        for gauge in gauges:
            gauge.remove_by_labels({"topic": topic, "partition": str(partition)})

    def turn(self, turn: Turn) -> None:
        """Count the batches of a turn."""
        traced = exemplar()
        for one in turn.lanes:
            labels = one.lane.topic, one.lane.partition
            self._metrics.records.labels(*labels).inc(len(one.answers))
            self._metrics.position.labels(*labels).set(one.stop)
            self._metrics.batch_records.observe(len(one.answers), traced)
            for answer in one.answers:
                if answer.dead_letter is not None:
                    self._metrics.dead_letters.labels(answer.dead_letter.reason).inc()
        for name, count in turn.outcomes.items():
            self._metrics.outcomes.labels(name).inc(count, traced)

    def visible(self, appended_ms: Sequence[int]) -> None:
        """Results came out; when the oldest command of each batch was appended."""
        now = time.time()
        for one in appended_ms:
            self._metrics.batch_delay.observe(max(0.0, now - one / 1000), exemplar())

    def lane_reopens(self, name: LaneName) -> None:
        """See `Hooks`."""
        self._metrics.reopenings.labels(name.topic, name.partition).inc()

    def lane_halted(self, name: LaneName) -> None:
        """See `Hooks`."""
        self._metrics.halts.labels(name.topic, name.partition).inc()

    def halted_lane_looked(self, name: LaneName, at: float) -> None:
        """See `Hooks`."""
        self._metrics.halt_looked.labels(name.topic, name.partition).set(at)

    def emitted_again(self, name: LaneName, results: int) -> None:
        """See `Hooks`."""
        self._metrics.reemitted.labels(name.topic, name.partition).inc(results)

    def assigned(self, generation: int, partitions: int) -> None:
        """See `Hooks`."""
        self._metrics.rebalances.inc()
        self._metrics.generation.set(generation)
        self._metrics.partitions.set(partitions)

    def unassigned(self) -> None:
        """See `Hooks`."""
        self._metrics.partitions.set(0)


def exemplar() -> dict[str, str] | None:
    """Trace and span to show beside a sample, in OpenMetrics: the current span's, if it is sampled."""
    context = trace.get_current_span().get_span_context()
    if not (context.is_valid and context.trace_flags.sampled):
        return None
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}
