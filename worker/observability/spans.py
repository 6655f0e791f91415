"""Traces: a span a batch of a lane with the steps of its turn, and one a sampled result, named as OpenTelemetry says.

A result keeps the `traceparent` of its command byte for byte: the same record always yields the
same bytes, also when the ledger emits it again, so the id of no span of ours can go into it. The span that sends it is
a child of the command's context instead. It joins the trace of whoever sent the command, beside what readers add.

Nothing that a command says gets into a span: no credential, key, GTIN, serial number or company. A failure is told by
the types of its exceptions, since their messages may quote a record.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from time import time_ns
from typing import Protocol

import structlog
from opentelemetry.context import Context, attach, create_key, detach, get_value, set_value
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NoOpTracerProvider,
    Span,
    SpanKind,
    StatusCode,
    TracerProvider,
    get_current_span,
    set_span_in_context,
)

from worker import __version__
from worker.domain.command import Command
from worker.messages.events import Answer
from worker.messages.refusals import Kind
from worker.observability import span_names as names
from worker.observability.span_links import context_of, is_sampled, worth_a_link
from worker.store.port import LaneName

log = structlog.get_logger(__name__)

Source = tuple[str, int]
"""Where commands come from: topic and partition."""
Destination = Callable[[Kind, int], tuple[str, int]]
"""Topic and partition where the results of a kind go that answer commands of a partition."""

FLUSH_SECONDS = 1.5
"""How long a stop waits for the collector; what it has not taken by then is lost."""

_WHOLE = create_key("passport-whole")
"""Where a context holds the spans of the batches, or of the openings, whose step is current."""


class Sent(Protocol):
    """What a Kafka transaction carries for one lane; `span` is that of its batch, or of its opening."""

    @property
    def source(self) -> Source:
        """Where its commands came from."""
        ...

    @property
    def answers(self) -> Sequence[Answer]:
        """In order."""
        ...

    @property
    def span(self) -> Span:
        """What the spans of its results link to."""
        ...


class Tracing:
    """Makes the spans of a worker. Without a `provider` there are none, and nothing is looked at to make them.

    `shutdown` hands over what was not exported yet, and may block for long.
    """

    def __init__(self, provider: TracerProvider | None = None, shutdown: Callable[[], None] | None = None) -> None:
        self._on = provider is not None
        self._shutdown = shutdown
        self._tracer = (provider or NoOpTracerProvider()).get_tracer("passport-worker", __version__, names.SCHEMA_URL)

    async def close(self) -> None:
        """Hand over the last spans, in a thread that may be left behind: a collector that hangs holds up no stop."""
        if self._shutdown is None:
            return
        done: Future[None] = Future()
        threading.Thread(target=_settle, args=(done, self._shutdown), name="trace-flush", daemon=True).start()
        _, late = await asyncio.wait([asyncio.wrap_future(done)], timeout=FLUSH_SECONDS)
        if late:
            log.warning("traces_not_handed_over", waited_seconds=FLUSH_SECONDS)

    # What lanes do

    def start_batch(self, name: LaneName) -> Span:
        """The span of one batch of a lane, in a trace of its own; somebody has to end it."""
        return self._tracer.start_span(
            f"process {name.topic}", Context(), SpanKind.CONSUMER, {**names.PROCESS, **names.lane(name)}
        )

    def start_opening(self, name: LaneName) -> Span:
        """The span of a lane's opening, in a trace of its own; somebody has to end it. A halt is its failure."""
        return self._tracer.start_span(f"open {name.topic}", Context(), attributes=names.lane(name))

    def end(self, whole: Span, failure: BaseException | None = None) -> None:
        """The end of a batch or an opening, unless it has ended."""
        if whole.is_recording():
            if failure is not None:
                _mark(whole, failure)
            whole.end()

    def describe(self, batch: Span, commands: Sequence[Command], start: int, stop: int) -> None:
        """Tell a batch's span what was found at offsets from `start` to below `stop`, and link it to their contexts."""
        if not batch.is_recording():
            return
        batch.set_attributes(
            {names.MESSAGING_BATCH_MESSAGE_COUNT: len(commands), names.BATCH_START: start, names.BATCH_STOP: stop}
        )
        for offset, trace in worth_a_link(commands):
            context = get_current_span(context_of(trace)).get_span_context()
            batch.add_link(context, {names.MESSAGING_KAFKA_OFFSET: offset})

    @contextmanager
    def within(self, wholes: Sequence[Span]) -> Iterator[None]:
        """A step of these batches, or openings, together: what is raised fails and ends them.

        The span of a step has its place in one trace only, that of the first that is recorded.
        """
        if not self._on or not wholes:
            yield
            return
        first = next((whole for whole in wholes if whole.is_recording()), wholes[0])
        others = (whole for whole in wholes if whole is not first)
        token = attach(set_span_in_context(first, set_value(_WHOLE, (first, *others))))
        try:
            yield
        except BaseException as error:
            for whole in wholes:
                self.end(whole, error)
            raise
        finally:
            detach(token)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """The span of a step of whatever is current."""
        if not self._on:
            yield
            return
        with self._current(self._tracer.start_span(name)):
            yield

    def stopwatch(self) -> Callable[[str], None]:
        """Makes the spans of steps that follow each other within whatever is current: each when the step has ended."""
        if not self._on:
            return _no_span
        began_ns = time_ns()

        def lap(step: str) -> None:
            nonlocal began_ns
            now_ns = time_ns()
            self._tracer.start_span(step, start_time=began_ns).end(now_ns)
            began_ns = now_ns

        return lap

    def event(self, name: str) -> None:
        """Note on the batches what is no failure."""
        for whole in _wholes():
            whole.add_event(name)

    def trouble(self, whole: Span, name: str, error_type: str, offset: int) -> None:
        """Note on a batch a failure, from `offset` on, that it survives. Its status shows that it was no good one."""
        whole.add_event(name, {names.ERROR_TYPE: error_type, names.MESSAGING_KAFKA_OFFSET: offset})
        whole.set_attribute(names.ERROR_TYPE, error_type)
        whole.set_status(StatusCode.ERROR, error_type)

    @contextmanager
    def transaction(self, attributes: names.Attributes, records: int) -> Iterator[None]:
        """The span of one side's transaction for all batches of a turn, linked both ways to those of other traces."""
        if not self._on:
            yield
            return
        others = _wholes()[1:]
        span = self._tracer.start_span(
            "transaction",
            attributes={
                **attributes,
                names.MESSAGING_BATCH_MESSAGE_COUNT: records,
                names.TRANSACTION_LANES: 1 + len(others),
            },
            links=[Link(one.get_span_context()) for one in others],
        )
        for one in others:
            one.add_link(span.get_span_context())
        with self._current(span):
            yield

    # What a producer does

    @contextmanager
    def sending(self, parts: Sequence[Sent], destination: Destination) -> Iterator[None]:
        """One span a sampled result, as long as their Kafka transaction, with which it fails."""
        if not self._on:
            yield
            return
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
        ended_ns = time_ns()
        for part in parts:
            (source, partition), links = part.source, [Link(part.span.get_span_context())]
            for answer in part.answers:
                if answer.trace is None or not is_sampled(answer.trace):
                    continue
                place = destination(answer.kind, partition)
                attributes = {
                    **names.SEND,
                    **names.place(*place),
                    names.CAUSATION_ID: f"{source}/{partition}/{answer.offset}",
                }
                context = context_of(answer.trace)
                span = self._tracer.start_span(
                    f"send {place[0]}", context, SpanKind.PRODUCER, attributes, links, began_ns
                )
                if failure is not None:
                    _mark(span, failure)
                span.end(ended_ns)

    @contextmanager
    def _current(self, span: Span) -> Iterator[None]:
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


NO_TRACING = Tracing()
"""Makes no spans."""


def _no_span(_step: str) -> None:
    """Where there are no traces."""


def _wholes() -> tuple[Span, ...]:
    spans = get_value(_WHOLE)
    return spans if isinstance(spans, tuple) else (INVALID_SPAN,)


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
