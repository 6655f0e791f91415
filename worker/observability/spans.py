"""Traces: a span a batch of a lane with the steps of its turn, and one a sampled result, named as OpenTelemetry says.

A result keeps the `traceparent` of its command byte for byte: the same record always yields the
same bytes, also when the ledger emits it again, so the id of no span of ours can go into it. The span that sends it is
a child of the command's context instead. It joins the trace of whoever sent the command, beside what readers add.

Nothing that a command says gets into a span: no credential, key, GTIN, serial number or company. A failure is told by
the types of its exceptions, since their messages may quote a record.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
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

from worker import __version__
from worker.domain.command import Command
from worker.domain.places import Place
from worker.observability import span_names as names
from worker.observability.hooks import Activity, Destination, Hooks, Sent, Stopwatch
from worker.observability.span_links import context_of, is_sampled, worth_a_link
from worker.store.port import LaneName

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.5
"""How long a stop waits for the collector; what it has not taken by then is lost."""

_CURRENT = create_key("passport-activities")
"""Where a context holds the spans of the batches, or of the openings, whose step is current, by partition: first that
which the step's own span is below."""

Partition = tuple[str, int]
"""Topic and partition of a lane."""


class Tracing(Hooks):
    """Makes the spans of a worker.

    `shutdown` hands over what was not exported yet, and may block for long.
    """

    def __init__(self, provider: TracerProvider, shutdown: Callable[[], None] | None = None) -> None:
        self._shutdown = shutdown
        self._tracer = provider.get_tracer("passport-worker", __version__, names.SCHEMA_URL)
        self._spans: dict[Activity, Span] = {}
        """Of what is not over."""

    async def close(self) -> None:
        """Hand over the last spans, in a thread that may be left behind: a collector that hangs holds up no stop."""
        if self._shutdown is None:
            return
        done: Future[None] = Future()
        threading.Thread(target=_settle, args=(done, self._shutdown), name="trace-flush", daemon=True).start()
        _, late = await asyncio.wait([asyncio.wrap_future(done)], timeout=FLUSH_SECONDS)
        if late:
            log.warning("traces_not_handed_over", waited_seconds=FLUSH_SECONDS)

    # What lanes are at

    def begins(self, activity: Activity) -> None:
        """Starts a span in a trace of its own: a batch belongs to many commands. A halt is an opening's failure."""
        if activity in self._spans:
            return
        name = activity.lane
        if activity.start is None:
            span = self._tracer.start_span(f"open {name.topic}", Context(), attributes=names.lane(name))
        else:
            attributes = {**names.PROCESS, **names.lane(name)}
            span = self._tracer.start_span(f"process {name.topic}", Context(), SpanKind.CONSUMER, attributes)
        self._spans[activity] = span

    def ended(self, activity: Activity, failure: BaseException | None = None) -> None:
        """Ends its span, once."""
        span = self._spans.pop(activity, None)
        if span is not None:
            if failure is not None:
                _mark(span, failure)
            span.end()

    def decoded(self, batch: Activity, stop: int, commands: Sequence[Command]) -> None:
        """Links the batch to the contexts of its commands."""
        span = self._spans.get(batch, INVALID_SPAN)
        if not span.is_recording():
            return
        start = batch.start or 0
        span.set_attributes(
            {names.MESSAGING_BATCH_MESSAGE_COUNT: len(commands), names.BATCH_START: start, names.BATCH_STOP: stop}
        )
        for offset, trace in worth_a_link(commands):
            context = get_current_span(context_of(trace)).get_span_context()
            span.add_link(context, {names.MESSAGING_KAFKA_OFFSET: offset})

    @contextmanager
    def within(self, activities: Sequence[Activity]) -> Iterator[None]:
        """The span of a step has its place in one trace only, that of the first of these that is recorded."""
        going_on = [one for one in activities if one in self._spans]
        going_on.sort(key=lambda one: not self._spans[one].is_recording())
        spans = {(one.lane.topic, one.lane.partition): self._spans[one] for one in going_on}
        first = next(iter(spans.values()), INVALID_SPAN)
        token = attach(set_span_in_context(first, set_value(_CURRENT, spans)))
        try:
            yield
        except BaseException as error:
            for one in activities:
                self.ended(one, error)
            raise
        finally:
            detach(token)

    def troubled(self, lane: LaneName, event: str, error: type[Exception], offset: int) -> None:
        """The batch's status shows that it was no good one, also where it is answered in the end."""
        span = _current_spans().get((lane.topic, lane.partition), INVALID_SPAN)
        span.add_event(event, {names.ERROR_TYPE: error.__name__, names.MESSAGING_KAFKA_OFFSET: offset})
        span.set_attribute(names.ERROR_TYPE, error.__name__)
        span.set_status(StatusCode.ERROR, error.__name__)

    def too_large(self) -> None:
        """It is no failure: a note on the batches."""
        for span in _current_spans().values():
            span.add_event("batch_too_large")

    # Turns

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """The span of a step of whatever is current."""
        with self._as_current(self._tracer.start_span(name)):
            yield

    def stopwatch(self) -> Stopwatch:
        """Spans of steps that follow each other within whatever is current: each is made when the step has ended."""
        began_ns = time_ns()

        def lap(step: str) -> None:
            nonlocal began_ns
            now_ns = time_ns()
            self._tracer.start_span(step, start_time=began_ns).end(now_ns)
            began_ns = now_ns

        return lap

    @contextmanager
    def transaction(self, system: Literal["postgresql", "kafka"], records: int) -> Iterator[None]:
        """One span for all batches of a turn, below the first, and linked both ways to those of other traces."""
        _, *others = _current_spans().values() or [INVALID_SPAN]
        span = self._tracer.start_span(
            "transaction",
            attributes={
                **names.SYSTEM[system],
                names.MESSAGING_BATCH_MESSAGE_COUNT: records,
                names.TRANSACTION_LANES: 1 + len(others),
            },
            links=[Link(one.get_span_context()) for one in others],
        )
        for one in others:
            one.add_link(span.get_span_context())
        with self._as_current(span):
            yield

    @contextmanager
    def sending(self, parts: Sequence[Sent], destination: Destination) -> Iterator[None]:
        """One span a sampled result, as long as their Kafka transaction, with which it fails."""
        began = time_ns()
        try:
            yield
        except BaseException as error:
            self._send_spans(parts, destination, began, error)
            raise
        self._send_spans(parts, destination, began, None)

    def _send_spans(
        self, parts: Sequence[Sent], destination: Destination, began_ns: int, failure: BaseException | None
    ) -> None:
        ended_ns, current = time_ns(), _current_spans()
        for part in parts:
            source, partition = part.source
            links = [Link(current[source, partition].get_span_context())] if (source, partition) in current else []
            for answer in part.answers:
                if answer.trace is None or not is_sampled(answer.trace):
                    continue
                place = destination(answer.kind, partition)
                attributes = {
                    **names.SEND,
                    **names.place(*place),
                    names.CAUSATION_ID: str(Place(source, partition, answer.offset)),
                }
                context = context_of(answer.trace)
                span = self._tracer.start_span(
                    f"send {place[0]}", context, SpanKind.PRODUCER, attributes, links, began_ns
                )
                if failure is not None:
                    _mark(span, failure)
                span.end(ended_ns)

    @contextmanager
    def _as_current(self, span: Span) -> Iterator[None]:
        """Make a span the current one and end it; what is raised fails it."""
        token = attach(set_span_in_context(span))
        try:
            yield
        except BaseException as error:
            _mark(span, error)
            raise
        finally:
            detach(token)
            span.end()


def _current_spans() -> Mapping[Partition, Span]:
    found = get_value(_CURRENT)
    return found if isinstance(found, dict) else {}


def _mark(span: Span, error: BaseException) -> None:
    if span.is_recording():
        span.set_attribute(names.ERROR_TYPE, type(error).__name__)
        span.set_status(StatusCode.ERROR, _in_short(error))


def _in_short(error: BaseException) -> str:
    """The kinds of an exception and of what it was raised from; messages may quote a record's data."""
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
