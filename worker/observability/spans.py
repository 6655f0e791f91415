"""Traces: one span per batch with the steps of its turn below it, and one per sampled result.

The worker must not put the id of its own span into a result: a result keeps the `traceparent` of its command byte for
byte, so that the same record always yields the same bytes. The span that sends a result is a child of the command's
context instead, and joins the trace of the producer, next to the spans of the readers.

A span holds nothing of a command's content: no credential, key, GTIN, serial number or company. A failure shows as the
types of its exceptions, since their messages may quote a record.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import islice
from time import time_ns
from typing import Literal

import structlog
from opentelemetry.context import Context, attach, create_key, detach, get_value, set_value
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanKind,
    StatusCode,
    TracerProvider,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker import __version__
from worker.domain.command import Command, TraceContext
from worker.domain.places import Place
from worker.observability import span_names as names
from worker.observability.hooks import Activity, Destination, Hooks, Sent, Stopwatch
from worker.store.port import LaneName

log = structlog.get_logger(__name__)

# How long a stop waits for the collector. Spans that it has not taken by then are lost.
FLUSH_SECONDS = 1.5

# A span keeps no more links, unless `OTEL_SPAN_LINK_COUNT_LIMIT` says otherwise.
MOST_LINKS = 128
# A link costs 17 µs, and leads nowhere if nobody keeps the trace, so only small batches link to all unsampled traces.
MOST_UNSAMPLED_LINKS = 16

# Version, trace, span and flags; the lowest bit of the flags says "sampled". Later versions may append to it.
_TRACEPARENT_BYTES = 55
_ODD_DIGITS = frozenset(b"13579bdf")

# The context key of the current activities' spans by partition. The spans of steps are below the first of them.
_CURRENT = create_key("passport-activities")

_propagator = TraceContextTextMapPropagator()

# Topic and partition of a lane.
Partition = tuple[str, int]


class Tracing(Hooks):
    """Makes the spans of a worker. `shutdown` exports the last spans, and may block for long."""

    def __init__(self, provider: TracerProvider, shutdown: Callable[[], None] | None = None) -> None:
        self._shutdown = shutdown
        self._tracer = provider.get_tracer("passport-worker", __version__, names.SCHEMA_URL)
        # Of activities that are not over.
        self._spans: dict[Activity, Span] = {}

    async def close(self) -> None:
        """Export the last spans in a daemon thread, so that a collector that hangs does not delay a stop."""
        if self._shutdown is None:
            return
        done: Future[None] = Future()
        threading.Thread(target=_settle, args=(done, self._shutdown), name="trace-flush", daemon=True).start()
        _, late = await asyncio.wait([asyncio.wrap_future(done)], timeout=FLUSH_SECONDS)
        if late:
            log.warning("traces_not_handed_over", waited_seconds=FLUSH_SECONDS)

    # Activities

    def begins(self, activity: Activity) -> None:
        """Start a span in a trace of its own, since a batch belongs to many commands."""
        if activity in self._spans:
            return
        name, attributes = activity.lane, names.lane(activity.lane)
        if activity.start is None:
            span = self._tracer.start_span(f"open {name.topic}", Context(), attributes=attributes)
        else:
            attributes = {**names.PROCESS, **attributes}
            span = self._tracer.start_span(f"process {name.topic}", Context(), SpanKind.CONSUMER, attributes)
        self._spans[activity] = span

    def ended(self, activity: Activity, failure: BaseException | None = None) -> None:
        """End the span of an activity, once. A halt is the failure of an opening."""
        span = self._spans.pop(activity, None)
        if span is not None:
            if failure is not None:
                _mark(span, failure)
            span.end()

    def decoded(self, batch: Activity, stop: int, commands: Sequence[Command]) -> None:
        """Link the batch to the contexts of its commands."""
        span = self._spans.get(batch, INVALID_SPAN)
        if not span.is_recording():
            return
        start = batch.start or 0
        span.set_attributes(
            {names.MESSAGING_BATCH_MESSAGE_COUNT: len(commands), names.BATCH_START: start, names.BATCH_STOP: stop}
        )
        for offset, trace in _worth_a_link(commands):
            context = get_current_span(_context_of(trace)).get_span_context()
            span.add_link(context, {names.MESSAGING_KAFKA_OFFSET: offset})

    @contextmanager
    def within(self, activities: Sequence[Activity]) -> Iterator[None]:
        """Put the spans of steps below the first activity that is recorded: a span belongs to one trace only."""
        running = [activity for activity in activities if activity in self._spans]
        running.sort(key=lambda activity: not self._spans[activity].is_recording())
        spans = {(activity.lane.topic, activity.lane.partition): self._spans[activity] for activity in running}
        first = next(iter(spans.values()), INVALID_SPAN)
        token = attach(set_span_in_context(first, set_value(_CURRENT, spans)))
        try:
            yield
        except BaseException as error:
            for activity in activities:
                self.ended(activity, error)
            raise
        finally:
            detach(token)

    def troubled(self, lane: LaneName, event: str, error: type[Exception], offset: int) -> None:
        """Mark the batch as failed, even if all of its commands are answered in the end."""
        span = _current_spans().get((lane.topic, lane.partition), INVALID_SPAN)
        span.add_event(event, {names.ERROR_TYPE: error.__name__, names.MESSAGING_KAFKA_OFFSET: offset})
        span.set_attribute(names.ERROR_TYPE, error.__name__)
        span.set_status(StatusCode.ERROR, error.__name__)

    def too_large(self) -> None:
        """Add an event to the batches: it is no failure if a batch is too large."""
        for span in _current_spans().values():
            span.add_event("batch_too_large")

    # Turns

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Make the span of a step of the current activities."""
        with self._as_current(self._tracer.start_span(name)):
            yield

    def stopwatch(self) -> Stopwatch:
        """Make the span of each step when the step has ended."""
        began_ns = time_ns()

        def lap(step: str) -> None:
            nonlocal began_ns
            now_ns = time_ns()
            self._tracer.start_span(step, start_time=began_ns).end(now_ns)
            began_ns = now_ns

        return lap

    @contextmanager
    def transaction(self, system: Literal["postgresql", "kafka"], records: int) -> Iterator[None]:
        """Make one span for all batches of a turn: below the first, and linked both ways to the others."""
        _, *others = _current_spans().values() or [INVALID_SPAN]
        span = self._tracer.start_span(
            "transaction",
            attributes={
                **names.SYSTEM[system],
                names.MESSAGING_BATCH_MESSAGE_COUNT: records,
                names.TRANSACTION_LANES: 1 + len(others),
            },
            links=[Link(batch.get_span_context()) for batch in others],
        )
        for batch in others:
            batch.add_link(span.get_span_context())
        with self._as_current(span):
            yield

    @contextmanager
    def sending(self, batches: Sequence[Sent], destination: Destination) -> Iterator[None]:
        """Make one span per sampled result, which lasts as long as the Kafka transaction and fails with it."""
        began_ns, failure = time_ns(), None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            ended_ns, current = time_ns(), _current_spans()
            for batch in batches:
                source, partition = batch.lane.topic, batch.lane.partition
                parent = current.get((source, partition))
                links = [] if parent is None else [Link(parent.get_span_context())]
                for answer in batch.answers:
                    if answer.trace is None or not _is_sampled(answer.trace):
                        continue
                    topic, result_partition = destination(answer.kind, batch.lane)
                    attributes = {
                        **names.SEND,
                        **names.place(topic, result_partition),
                        names.CAUSATION_ID: str(Place(source, partition, answer.offset)),
                    }
                    context = _context_of(answer.trace)
                    span = self._tracer.start_span(
                        f"send {topic}", context, SpanKind.PRODUCER, attributes, links, began_ns
                    )
                    if failure is not None:
                        _mark(span, failure)
                    span.end(ended_ns)

    @contextmanager
    def _as_current(self, span: Span) -> Iterator[None]:
        token = attach(set_span_in_context(span))
        try:
            yield
        except BaseException as error:
            _mark(span, error)
            raise
        finally:
            detach(token)
            span.end()


def _worth_a_link(commands: Sequence[Command]) -> list[tuple[int, TraceContext]]:
    """Offset and context of as many commands as a span may link to, sampled ones first."""
    traced = [(command.source.offset, command.trace) for command in commands if command.trace is not None]
    sampled = [(offset, trace) for offset, trace in traced if _is_sampled(trace)][:MOST_LINKS]
    others = ((offset, trace) for offset, trace in traced if not _is_sampled(trace))
    return [*sampled, *islice(others, max(0, MOST_UNSAMPLED_LINKS - len(sampled)))]


def _is_sampled(trace: TraceContext) -> bool:
    """Whether the producer of the command has sampled its trace."""
    return trace.traceparent[_TRACEPARENT_BYTES - 1] in _ODD_DIGITS


def _context_of(trace: TraceContext) -> Context:
    """The context of a command without its `tracestate`, which only the result passes on."""
    return _propagator.extract({"traceparent": trace.traceparent[:_TRACEPARENT_BYTES].decode("ascii")})


def _current_spans() -> Mapping[Partition, Span]:
    spans = get_value(_CURRENT)
    return spans if isinstance(spans, dict) else {}


def _mark(span: Span, error: BaseException) -> None:
    if span.is_recording():
        span.set_attribute(names.ERROR_TYPE, type(error).__name__)
        span.set_status(StatusCode.ERROR, _in_short(error))


def _in_short(error: BaseException) -> str:
    """The types of an exception and of its causes; messages may quote a record."""
    kinds = [type(error).__name__]
    while error.__cause__ is not None:
        error = error.__cause__
        kinds.append(type(error).__name__)
    return " from ".join(kinds)


def _settle(done: "Future[None]", work: Callable[[], None]) -> None:
    try:
        work()
    except Exception as error:
        log.warning("traces_not_handed_over", error=type(error).__name__)
    finally:
        done.set_result(None)
