"""All faults, by the room that they are in."""

from tests.mutants.faults import batch, domain, messages, store, stream, tools

FAULTS = (
    *domain.FAULTS,
    *messages.FAULTS,
    *batch.FAULTS,
    *store.FAULTS,
    *stream.FAULTS,
    *tools.FAULTS,
)
