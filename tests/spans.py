"""Spans that tests look at: an exporter in memory, and contexts of producers."""

from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Sampler
from opentelemetry.trace import Link, SpanContext

from worker.observability.spans import Tracing


@dataclass(frozen=True)
class Spans:
    """What a tracing has exported."""

    tracing: Tracing
    exporter: InMemorySpanExporter

    def all(self) -> list[ReadableSpan]:
        """Every span that has ended, in that order."""
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of a name, which may leave the topic out."""
        return [span for span in self.all() if name in (span.name, span.name.split(" ")[0])]

    def one(self, name: str) -> ReadableSpan:
        """The only one of a name."""
        (span,) = self.named(name)
        return span

    def of(self, name: str, chosen: Callable[[ReadableSpan], bool]) -> list[ReadableSpan]:
        """Those of a name that are so."""
        return [span for span in self.named(name) if chosen(span)]

    def below(self, parent: ReadableSpan) -> list[str]:
        """Names of a span's children, in the order in which they began."""
        children = [span for span in self.all() if span.parent is not None and span.parent == context_of(parent)]
        return [span.name for span in sorted(children, key=lambda span: span.start_time or 0)]

    def text(self) -> str:
        """Everything that leaves the process, for a search."""
        return "\n".join(span.to_json(indent=None) for span in self.all())


def spans_in_memory(sampler: Sampler = DEFAULT_ON) -> Spans:
    """A tracing that keeps what its parents keep, and what has none, unless the sampler says otherwise."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Spans(Tracing(provider), exporter)


def traceparent(number: int, *, sampled: bool = True) -> bytes:
    """A context of a producer: trace and span are told by the number."""
    return f"00-{number:032x}-{number:016x}-{int(sampled):02x}".encode()


def context_of(span: ReadableSpan) -> SpanContext:
    """What identifies a span."""
    found = span.get_span_context()
    assert isinstance(found, SpanContext)
    return found


def attributes(span: ReadableSpan | Link) -> dict[str, object]:
    """The attributes of a span or link."""
    return dict(span.attributes or {})


def errors(span: ReadableSpan) -> tuple[str, object]:
    """Status and error type."""
    return span.status.status_code.name, attributes(span).get("error.type")


def events(span: ReadableSpan) -> list[tuple[str, dict[str, object]]]:
    """Names and attributes of a span's events."""
    return [(event.name, dict(event.attributes or {})) for event in span.events]
