"""Spans without servers: what a batch links to, what a failure tells, and what costs nothing while traces are off."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest
from opentelemetry.sdk.trace.sampling import DEFAULT_OFF
from opentelemetry.semconv import schemas
from opentelemetry.semconv._incubating.attributes import messaging_attributes
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import INVALID_SPAN, NoOpTracerProvider, SpanContext, get_current_span

from tests.batches import batch_of
from tests.spans import Spans, attributes, context_of, errors, events, spans_in_memory, traceparent
from tests.unit.builders import command
from worker.batch.batch import Batch
from worker.domain.command import Command, Source, TraceContext
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.observability import span_names
from worker.observability import spans as spans_module
from worker.observability.hooks import Activity
from worker.observability.spans import MOST_LINKS, Tracing
from worker.store.port import LaneName, StoreUnavailable

LANE = LaneName("group", "commands", 3)
_CONVENTIONAL = [name for name in dir(span_names) if name.startswith(("MESSAGING_", "ERROR_"))]


def _traced(offset: int, parent: bytes) -> Command:
    return command(source=Source("commands", 3, offset, 0), trace=TraceContext(parent, b"vendor=secret"))


def _answer(offset: int, parent: bytes) -> Answer:
    return Answer(offset, 0, Kind.CONFLICT, "key", b"{}", trace=TraceContext(parent, None))


def _batch(*answers: Answer, partition: int = 3) -> Batch:
    return batch_of(LaneName("group", "commands", partition), 99, *answers)


def _begun(spans: Spans, *partitions: int) -> list[Activity]:
    """Batches that have begun, one a partition."""
    batches = [Activity(LaneName("group", "commands", one), 4) for one in partitions]
    for batch in batches:
        spans.tracing.begins(batch)
    return batches


def _context(spans: Spans, batch: Activity) -> SpanContext:
    return spans.tracing._spans[batch].get_span_context()


def _where(kind: Kind, lane: LaneName) -> tuple[str, int]:
    return kind.label, 4 + lane.partition


@pytest.mark.parametrize("name", _CONVENTIONAL)
def test_names_are_those_of_the_conventions(name: str) -> None:
    """The published constants are the oracle; none of them is deprecated."""
    published = {**vars(messaging_attributes), **vars(error_attributes)}
    assert getattr(span_names, name) == published[name]


def test_the_version_of_the_conventions_was_published() -> None:
    """Backends look the schema up to translate names of other versions."""
    assert span_names.SCHEMA_URL in {schema.value for schema in schemas.Schemas}


def test_a_batch_links_to_each_command_that_has_a_context() -> None:
    """Sampled or not, with the offset that tells which command it is, and without what the producer's state says."""
    spans = spans_in_memory()
    (batch,) = _begun(spans, 3)
    commands = [_traced(4, traceparent(1)), command(), _traced(6, traceparent(2, sampled=False))]
    spans.tracing.decoded(batch, 7, commands)
    spans.tracing.ended(batch)
    links = spans.one("process").links
    assert [(link.context.trace_id, link.context.span_id, link.context.trace_flags) for link in links] == [
        (1, 1, 1),
        (2, 2, 0),
    ]
    assert [attributes(link) for link in links] == [{"messaging.kafka.offset": 4}, {"messaging.kafka.offset": 6}]
    assert all(link.context.is_remote and not link.context.trace_state for link in links)


@pytest.mark.parametrize(
    ("sampled", "linked"),
    [
        (set[int](), [*range(16)]),
        ({100, 299}, [100, 299, *range(14)]),
        (set(range(50, 70)), [*range(50, 70)]),
        (set(range(300)), [*range(MOST_LINKS)]),
    ],
    ids=["none", "two", "twenty", "all"],
)
def test_of_many_commands_those_are_linked_whose_traces_are_kept(sampled: set[int], linked: list[int]) -> None:
    """A link to a trace that nobody kept leads nowhere; there are a few, and never more than a span has room for."""
    spans = spans_in_memory()
    (batch,) = _begun(spans, 3)
    commands = [_traced(n, traceparent(n + 1, sampled=n in sampled)) for n in range(300)]
    spans.tracing.decoded(batch, len(commands), commands)
    spans.tracing.ended(batch)
    assert [link.context.trace_id - 1 for link in spans.one("process").links] == linked


@pytest.mark.parametrize(
    ("parent", "sent"),
    [
        (b"00-%032x-%016x-01" % (1, 1), True),
        (b"00-%032x-%016x-03" % (1, 1), True),
        (b"00-%032x-%016x-00" % (1, 1), False),
        (b"00-%032x-%016x-02" % (1, 1), False),
        (b"00-%032x-%016x-0a" % (1, 1), False),
        (b"00-%032x-%016x-0b" % (1, 1), True),
        (b"cc-%032x-%016x-01-\xff%s" % (1, 1, b"x" * 600), True),
    ],
)
def test_the_lowest_flag_says_that_a_result_is_sampled(parent: bytes, sent: bool) -> None:
    """Whatever other flags and later versions add (W3C Trace Context, section 3.2.2.5 and 3.2.4)."""
    spans = spans_in_memory()
    with spans.tracing.sending([_batch(_answer(9, parent))], _where):
        pass
    assert [(span.name, context_of(span).trace_id) for span in spans.all()] == [("send conflict", 1)] * sent


def test_a_result_that_may_not_be_visible_has_a_failed_span() -> None:
    """With the kinds of what was raised, and without what they say."""
    spans = spans_in_memory()
    with (
        pytest.raises(StoreUnavailable),
        spans.tracing.sending([_batch(_answer(9, traceparent(1)))], _where),
    ):
        raise StoreUnavailable("serial of-a-unit") from TimeoutError("serial of-a-unit")
    span = spans.one("send conflict")
    assert errors(span) == ("ERROR", "StoreUnavailable")
    assert span.status.description == "StoreUnavailable from TimeoutError"
    assert "of-a-unit" not in spans.text()


def test_a_batch_fails_with_its_step_and_ends_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever raises first; a failure of the same batch that surfaces again later changes nothing."""
    spans = spans_in_memory()
    (batch,) = _begun(spans, 3)
    with pytest.raises(KeyError), spans.tracing.within([batch]), spans.tracing.step("store"):
        raise KeyError("serial")
    with pytest.raises(OSError, match="later"), spans.tracing.within([batch]):
        raise OSError("later")
    assert [(span.name, errors(span)) for span in spans.all()] == [
        ("store", ("ERROR", "KeyError")),
        ("process commands", ("ERROR", "KeyError")),
    ]
    assert caplog.messages == [], "the SDK warns of a span that is ended twice"


def test_trouble_is_told_of_the_batch_whatever_its_step() -> None:
    """A batch that was answered in the end shows that it was no good one; too much at once is no failure."""
    spans = spans_in_memory()
    (batch,) = _begun(spans, 3)
    with spans.tracing.within([batch]), spans.tracing.step("store"):
        spans.tracing.troubled(LANE, "batch_failed", KeyError, 12)
        spans.tracing.too_large()
    spans.tracing.ended(batch)
    whole = spans.one("process")
    assert errors(whole) == ("ERROR", "KeyError")
    told = {"error.type": "KeyError", "messaging.kafka.offset": 12}
    assert events(whole) == [("batch_failed", told), ("batch_too_large", {})]
    assert errors(spans.one("store")) == ("UNSET", None)


def test_what_runs_in_a_step_finds_its_span() -> None:
    """That is how a metric gets its exemplar: the current span is the step's, in the trace of the batch."""
    spans = spans_in_memory()
    (batch,) = _begun(spans, 3)
    with spans.tracing.within([batch]):
        assert get_current_span().get_span_context() == _context(spans, batch)
        with spans.tracing.step("decode"):
            inner = get_current_span().get_span_context()
        assert get_current_span().get_span_context() == _context(spans, batch)
        assert inner.trace_id == _context(spans, batch).trace_id
    assert inner.span_id == context_of(spans.one("decode")).span_id
    assert get_current_span() is INVALID_SPAN


def test_a_transaction_has_its_place_with_the_first_batch_and_links_to_the_others() -> None:
    """Both ways, so that from any of them one finds what its turn had to share; told is what was asked to be told."""
    spans = spans_in_memory()
    batches = _begun(spans, 0, 1, 2)
    contexts = [_context(spans, batch) for batch in batches]
    with (
        spans.tracing.within(batches),
        spans.tracing.transaction("postgresql", 30),
        spans.tracing.step("gather"),
    ):
        pass
    for batch in batches:
        spans.tracing.ended(batch)
    transaction = spans.one("transaction")
    assert transaction.parent == contexts[0]
    assert [link.context for link in transaction.links] == contexts[1:]
    assert attributes(transaction) == {
        "db.system.name": "postgresql",
        "messaging.batch.message_count": 30,
        "passport.transaction.lanes": 3,
    }
    assert spans.below(transaction) == ["gather"]
    links = {context_of(whole).span_id: [link.context for link in whole.links] for whole in spans.named("process")}
    assert [links[one.span_id] for one in contexts] == [[], [context_of(transaction)], [context_of(transaction)]]


def test_a_transaction_of_one_batch_links_to_nothing() -> None:
    """It stands below it."""
    spans = spans_in_memory()
    (batch,) = _begun(spans, 3)
    with spans.tracing.within([batch]), spans.tracing.transaction("kafka", 1):
        pass
    transaction = spans.one("transaction")
    assert (transaction.parent, list(transaction.links)) == (_context(spans, batch), [])
    assert attributes(transaction)["passport.transaction.lanes"] == 1


def test_what_fails_together_fails_each_batch_that_goes_on() -> None:
    """One that was ended before, since its lane was lost or its results are out, stays as it was."""
    spans = spans_in_memory()
    batches = _begun(spans, 0, 1, 2)
    contexts = [_context(spans, batch) for batch in batches]
    spans.tracing.ended(batches[1])
    with pytest.raises(StoreUnavailable), spans.tracing.within(batches):
        raise StoreUnavailable("serial of-a-unit")
    found = {context_of(span).span_id: errors(span) for span in spans.named("process")}
    failed = ("ERROR", "StoreUnavailable")
    assert [found[one.span_id] for one in contexts] == [failed, ("UNSET", None), failed]


def test_what_is_everybodys_is_told_of_all_batches_and_trouble_of_one() -> None:
    """Too much at once is so for all of them; trouble is told of one, and only that one is no good one."""
    spans = spans_in_memory()
    batches = _begun(spans, 0, 1)
    with spans.tracing.within(batches):
        spans.tracing.too_large()
        spans.tracing.troubled(batches[1].lane, "record_refused", KeyError, 7)
    for batch in batches:
        spans.tracing.ended(batch)
    first, second = spans.named("process")
    assert [name for name, _ in events(first)] == ["batch_too_large"]
    assert [name for name, _ in events(second)] == ["batch_too_large", "record_refused"]
    assert (errors(first), errors(second)) == (("UNSET", None), ("ERROR", "KeyError"))


def test_results_of_several_lanes_link_to_their_own_batch_and_go_to_their_own_place() -> None:
    """One Kafka transaction carries them; each result joins the trace of its command."""
    spans = spans_in_memory()
    batches = _begun(spans, 0, 1)
    parts = [
        _batch(_answer(9, traceparent(1)), _answer(10, traceparent(2, sampled=False)), partition=0),
        _batch(_answer(9, traceparent(3)), partition=1),
    ]
    with spans.tracing.within(batches), spans.tracing.sending(parts, _where):
        assert spans.all() == [], "they are as long as the transaction"
    first, second = spans.named("send")
    for span, batch, partition, trace in ((first, batches[0], 0, 1), (second, batches[1], 1, 3)):
        assert context_of(span).trace_id == trace
        assert [link.context for link in span.links] == [_context(spans, batch)]
        told = attributes(span)
        assert told["messaging.destination.partition.id"] == str(4 + partition)
        assert told["passport.causation_id"] == f"commands/{partition}/9"


def test_results_are_traced_like_their_commands_whatever_is_kept_of_batches() -> None:
    """An operator may keep few batches, or none, and lose no producer's trace; what is below a batch goes with it."""
    spans = spans_in_memory(DEFAULT_OFF)
    (batch,) = _begun(spans, 3)
    with spans.tracing.within([batch]):
        spans.tracing.decoded(batch, 2, [_traced(1, traceparent(1))])
        with (
            spans.tracing.transaction("kafka", 1),
            spans.tracing.step("gather"),
            spans.tracing.sending([_batch(_answer(1, traceparent(1)))], _where),
        ):
            spans.tracing.troubled(LANE, "batch_failed", KeyError, 1)
    context = _context(spans, batch)
    spans.tracing.ended(batch)
    assert [span.name for span in spans.all()] == ["send conflict"]
    assert [link.context for link in spans.one("send").links] == [context]


def test_without_a_provider_no_sdk_is_loaded() -> None:
    """It takes time and memory, and need not be installed."""
    ask = (
        "import sys, worker.tools.cli.main; "
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_flush_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread that does not keep the process, while the event loop goes on."""
    monkeypatch.setattr(spans_module, "FLUSH_SECONDS", 0.05)
    hang, threads = threading.Event(), list[threading.Thread]()

    def shutdown() -> None:
        threads.append(threading.current_thread())
        hang.wait(10)

    started = time.monotonic()
    await asyncio.gather(Tracing(NoOpTracerProvider(), shutdown).close(), Tracing(NoOpTracerProvider()).close())
    assert time.monotonic() - started < 5
    assert [(thread.is_alive(), thread.daemon) for thread in threads] == [(True, True)]
    hang.set()


async def test_a_flush_that_fails_ends_the_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect of an exporter is no reason to wait."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def shutdown() -> None:
        raise RuntimeError("defect")

    started = time.monotonic()
    await Tracing(NoOpTracerProvider(), shutdown).close()
    assert time.monotonic() - started < spans_module.FLUSH_SECONDS


def test_traces_of_batches_are_their_own() -> None:
    """A batch belongs to many commands: what happens to be current where it begins is not its parent."""
    spans = spans_in_memory()
    (first,) = _begun(spans, 3)
    with spans.tracing.within([first]):
        (second,) = _begun(spans, 4)
        spans.tracing.begins(Activity(LANE))
        spans.tracing.ended(Activity(LANE))
    traces = [_context(spans, first), _context(spans, second), context_of(spans.one("open"))]
    assert len({one.trace_id for one in traces}) == 3


def test_what_has_begun_begins_no_second_time() -> None:
    """A lane opens in several steps, each of which may be the first."""
    spans = spans_in_memory()
    for _ in range(2):
        spans.tracing.begins(Activity(LANE))
    for _ in range(2):
        spans.tracing.ended(Activity(LANE))
    assert [span.name for span in spans.all()] == ["open commands"]
