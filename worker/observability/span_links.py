"""What commands say of their traces, as far as spans of ours link to it."""

from collections.abc import Sequence
from itertools import islice

from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker.domain.command import Command, TraceContext

MOST_LINKS = 128
"""A span keeps no more unless `OTEL_SPAN_LINK_COUNT_LIMIT` says otherwise."""
MOST_UNSAMPLED_LINKS = 16
"""Links cost 17 µs each, and to a trace that nobody keeps they lead nowhere: only small batches have all of them."""

_TRACEPARENT_BYTES = 55
"""Version, trace, span and flags, whose lowest bit says that the trace is sampled. Later versions may add to that."""

_ODD = frozenset(b"13579bdf")

_propagator = TraceContextTextMapPropagator()


def worth_a_link(commands: Sequence[Command]) -> list[tuple[int, TraceContext]]:
    """Offset and context of as many commands as a span may link to; those whose trace is kept come first."""
    traced = [(command.source.offset, command.trace) for command in commands if command.trace is not None]
    sampled = [one for one in traced if is_sampled(one[1])][:MOST_LINKS]
    others = (one for one in traced if not is_sampled(one[1]))
    return [*sampled, *islice(others, max(0, MOST_UNSAMPLED_LINKS - len(sampled)))]


def is_sampled(trace: TraceContext) -> bool:
    """Whether whoever sent the command keeps its trace."""
    return trace.traceparent[_TRACEPARENT_BYTES - 1] in _ODD


def context_of(trace: TraceContext) -> Context:
    """The context of a command less its `tracestate`: what a producer wrote there is passed on in the result alone."""
    return _propagator.extract({"traceparent": trace.traceparent[:_TRACEPARENT_BYTES].decode("ascii")})
