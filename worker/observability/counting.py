"""The metrics of the line, for Prometheus."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry import trace

from worker.messages.reasons import count_by_plan, count_refusals
from worker.observability.hooks import CommittedTransaction, Hooks, LaneLag, Stopwatch, Turn
from worker.observability.metrics import LATE_SECONDS, STEPS, Metrics
from worker.store.port import LaneName

LANE_STATES = ("opening", "running", "waiting", "halted", "lost")


class Counting(Hooks):
    """Counts and times the line.

    It counts a whole turn or batch at once, since finding a metric by its labels takes as long as parsing a header.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lags: dict[tuple[str, int], LaneLag] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step of a batch, unless it fails."""
        started = time.perf_counter()
        yield
        if name in STEPS:
            self._metrics.step_seconds.labels(name).observe(time.perf_counter() - started, exemplar())

    def stopwatch(self) -> Stopwatch:
        """Time the steps of a transaction in Postgres."""
        last = time.perf_counter()

        def lap(step: str) -> None:
            nonlocal last
            now = time.perf_counter()
            self._metrics.store_step_seconds.labels(step).observe(now - last, exemplar())
            last = now

        return lap

    def committed(self, done: CommittedTransaction) -> None:
        """Count a transaction by its decisions."""
        self._metrics.transaction_seconds.observe(done.seconds, exemplar())
        self._metrics.transaction_lanes.observe(done.lanes)
        self._metrics.transaction_records.observe(len(done.created) + len(done.others))
        for reason, count in count_refusals(done.others).items():
            self._metrics.refusals.labels(reason).inc(count)
        for (plan, answer), count in count_by_plan(done.created, done.others, done.companies).items():
            self._metrics.plan_answers.labels(plan, answer).inc(count)

    def turn(self, turn: Turn) -> None:
        """Count the batches of a turn."""
        traced = exemplar()
        for batch in turn.batches:
            labels = batch.lane.topic, batch.lane.partition
            self._metrics.records.labels(*labels).inc(len(batch.answers))
            self._metrics.position.labels(*labels).set(batch.stop)
            self._metrics.batch_records.observe(len(batch.answers), traced)
            for answer in batch.answers:
                if answer.dead_letter is not None:
                    self._metrics.dead_letters.labels(answer.dead_letter.reason).inc()
        for outcome, count in turn.outcomes.items():
            self._metrics.outcomes.labels(outcome).inc(count, traced)

    def visible(self, appended_ms: Sequence[Sequence[int]]) -> None:
        """Time batches up to now, and count their commands."""
        now = time.time()
        in_time_from = (now - LATE_SECONDS) * 1000
        for batch in appended_ms:
            self._metrics.batch_delay.observe(max(0.0, now - batch[0] / 1000), exemplar())
            self._metrics.answers.inc(len(batch))
            if min(batch) < in_time_from:
                self._metrics.late_answers.inc(sum(appended < in_time_from for appended in batch))

    def lane_opens(self, name: LaneName, lag: LaneLag) -> None:
        """Have the lag computed at each scrape, since it grows while nothing happens to the lane."""
        labels = name.topic, name.partition
        self._lags[labels] = lag
        self._metrics.lag_records.labels(*labels).set_function(lag.records)
        self._metrics.lag_seconds.labels(*labels).set_function(lag.seconds)
        for counter in (self._metrics.records, self._metrics.halts, self._metrics.reemitted, self._metrics.reopenings):
            counter.labels(*labels)  # at 0: `increase()` cannot see a counter that appears at 1

    def lane_closed(self, name: LaneName, lag: LaneLag) -> None:
        """Drop the gauges of a lane that another worker has now, or sums over all workers would be wrong."""
        labels = name.topic, name.partition
        # A lane that was cut off may close after the next lane of its partition has opened in this worker.
        if self._lags.get(labels) is not lag:
            return
        del self._lags[labels]
        metrics = self._metrics
        per_lane = metrics.position, metrics.lag_records, metrics.lag_seconds, metrics.halted, metrics.halt_looked
        # Only gauges: counters stay, since a sum over all workers must not fall.
        for gauge in (*per_lane, metrics.lane_states):
            gauge.remove_by_labels({"topic": name.topic, "partition": str(name.partition)})

    def lane_state(self, name: LaneName, state: str) -> None:
        """Set the gauge of the current state, and clear those of the others."""
        for known in LANE_STATES:
            self._metrics.lane_states.labels(name.topic, name.partition, known).set(known == state)
        self._metrics.halted.labels(name.topic, name.partition).set(state == "halted")

    def lane_reopens(self, name: LaneName) -> None:
        """Count it."""
        self._metrics.reopenings.labels(name.topic, name.partition).inc()

    def lane_halted(self, name: LaneName) -> None:
        """Count it."""
        self._metrics.halts.labels(name.topic, name.partition).inc()

    def halted_lane_looked(self, name: LaneName, at: float) -> None:
        """Note the time."""
        self._metrics.halt_looked.labels(name.topic, name.partition).set(at)

    def emitted_again(self, name: LaneName, results: int) -> None:
        """Count the results."""
        self._metrics.reemitted.labels(name.topic, name.partition).inc(results)

    def assigned(self, generation: int, partitions: int) -> None:
        """Count the assignment, and note its size."""
        self._metrics.rebalances.inc()
        self._metrics.generation.set(generation)
        self._metrics.partitions.set(partitions)

    def unassigned(self) -> None:
        """Note that the worker has no partitions."""
        self._metrics.partitions.set(0)


def exemplar() -> dict[str, str] | None:
    """The current trace and span, if sampled, to be shown with a sample in OpenMetrics."""
    context = trace.get_current_span().get_span_context()
    if not (context.is_valid and context.trace_flags.sampled):
        return None
    return {"trace_id": trace.format_trace_id(context.trace_id), "span_id": trace.format_span_id(context.span_id)}
