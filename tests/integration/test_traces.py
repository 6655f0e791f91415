"""Traces through real Kafka and Postgres: a batch with its steps, its results, and the contexts of their commands."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import groupby

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

from tests.conftest import MakeBench
from tests.integration.guards_helpers import held, publish, reset_offset, running, set_topic
from tests.invariants import check_invariants
from tests.spans import Spans, attributes, context_of, errors, events, spans_in_memory, traceparent
from tests.workbench import Result, Workbench, tenant, until
from worker.batch import pipeline
from worker.store import postgres, sql
from worker.stream.lane import LaneState

pytestmark = pytest.mark.real_kafka

Sent = Sequence[tuple[str, bytes]]


def _command(bench: Workbench, number: int, *headers: tuple[str, bytes], partition: int = 0) -> dict[str, object]:
    """A valid command of a serial and GTIN of its own, with more headers."""
    command = bench.command(tenant(1), 40_123_450 + number, f"SERIAL-{number}", partition=partition)
    own = command["headers"]
    assert isinstance(own, list)
    return {**command, "headers": [*own, *headers]}


def _traced(bench: Workbench, number: int, partition: int = 0) -> dict[str, object]:
    """A command whose producer keeps its trace, which is told by the number."""
    return _command(bench, number, ("traceparent", traceparent(number)), partition=partition)


def _trace_headers(result: Result) -> list[tuple[str, bytes | None]]:
    return [header for header in result.headers if header[0] in ("traceparent", "tracestate")]


def _by_cause(results: Sequence[Result]) -> Mapping[int, Result]:
    return {int(result.cause.rpartition("/")[2]): result for result in results}


async def _answered(bench: Workbench, commands: Sequence[Mapping[str, object]], spans: Spans) -> Mapping[int, Result]:
    """Have commands of partition 0 answered as one batch, and the worker stopped; results by offset of the command."""
    await publish(bench, commands)
    async with running(bench, tracing=spans.tracing) as one:
        await one.emitted(len(commands))
    return _by_cause(await bench.wait_for_results(len(commands)))


async def test_a_trace_goes_on_in_the_result(bench: Workbench) -> None:
    """The headers come back byte for byte, and the span that sends it is a child of the producer's context.

    Only where the producer keeps the trace; what is malformed begins none.
    """
    spans = spans_in_memory()
    state = ("tracestate", b"vendor=1,other=2")
    results = await _answered(
        bench,
        [
            _command(bench, 0, ("TraceParent", traceparent(0xA0)), state),
            _command(bench, 1, ("traceparent", traceparent(0xA1, sampled=False)), state),
            _command(bench, 2, ("traceparent", b"00-malformed-01"), state),
            _command(bench, 3),
            _command(bench, 4, ("traceparent", b"01-%032x-%016x-01-more" % (0xA4, 0xA4))),
        ],
        spans,
    )
    assert [_trace_headers(results[offset]) for offset in range(5)] == [
        [("traceparent", traceparent(0xA0)), state],
        [("traceparent", traceparent(0xA1, sampled=False)), state],
        [],
        [],
        [("traceparent", b"01-%032x-%016x-01-more" % (0xA4, 0xA4))],
    ]
    sends = spans.named("send")
    assert [(context_of(one).trace_id, one.parent.span_id) for one in sends if one.parent] == [
        (0xA0, 0xA0),
        (0xA4, 0xA4),
    ]
    await check_invariants(bench)


async def test_spans_say_what_the_conventions_ask_for(bench: Workbench) -> None:
    """A batch is a consumer's span in a trace of its own, linked to its commands; each sampled result links to it."""
    spans = spans_in_memory()
    await _answered(bench, [_traced(bench, 0xB0), _command(bench, 1), _traced(bench, 0xB2)], spans)
    batch, sends = spans.one("process"), spans.named("send")
    topic = bench.settings.topic_commands
    assert (batch.name, batch.kind, batch.parent) == (f"process {topic}", SpanKind.CONSUMER, None)
    assert attributes(batch) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": "0",
        "messaging.consumer.group.name": bench.settings.group_id,
        "messaging.batch.message_count": 3,
        "passport.batch.start": 0,
        "passport.batch.stop": 3,
    }
    assert [(link.context.trace_id, attributes(link)) for link in batch.links] == [
        (0xB0, {"messaging.kafka.offset": 0}),
        (0xB2, {"messaging.kafka.offset": 2}),
    ]
    for offset, send in zip((0, 2), sends, strict=True):
        assert (send.name, send.kind) == (f"send {bench.settings.topic_created}", SpanKind.PRODUCER)
        assert attributes(send) == {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": bench.settings.topic_created,
            "messaging.destination.partition.id": "0",
            "passport.causation_id": f"{topic}/0/{offset}",
        }
        assert [link.context for link in send.links] == [context_of(batch)]
    for span in spans.all():
        assert span.instrumentation_scope is not None
        assert span.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.44.0"


async def test_a_batch_shows_its_steps(bench: Workbench) -> None:
    """Decode, store and emit, within it and one after the other; below them one transaction on each side."""
    spans = spans_in_memory()
    await _answered(bench, [_command(bench, number) for number in range(3)], spans)
    batch, store, emit = spans.one("process"), spans.one("store"), spans.one("emit")
    assert spans.below(batch) == ["decode", "store", "emit"]
    assert (spans.below(store), spans.below(emit)) == (["look-up", "transaction"], ["transaction"])
    in_postgres, in_kafka = spans.named("transaction")
    assert spans.below(in_postgres) == ["gather", "decide", "write", "commit"]
    shared = {"messaging.batch.message_count": 3, "passport.transaction.lanes": 1}
    assert attributes(in_postgres) == {"db.system.name": "postgresql", **shared}
    assert attributes(in_kafka) == {"messaging.system": "kafka", **shared}
    for name in ("decode", "store", "emit", "look-up", "gather", "decide", "write", "commit"):
        assert _lies_within(spans.one(name), batch), name
    assert _lies_within(in_postgres, store)
    assert _lies_within(in_kafka, emit)
    assert {errors(span) for span in spans.all()} == {("UNSET", None)}


def _lies_within(inner: ReadableSpan, outer: ReadableSpan) -> bool:
    times = (outer.start_time, inner.start_time, inner.end_time, outer.end_time)
    known = [time for time in times if time is not None]
    return len(known) == 4 and known == sorted(known)


async def test_lanes_of_a_turn_share_one_transaction_span_on_each_side(make_bench: MakeBench) -> None:
    """It is in the trace of the first lane's batch, and linked both ways to the batches of the others."""
    bench = await make_bench(partitions=3)
    spans = spans_in_memory()
    async with running(bench, tracing=spans.tracing) as one:
        async with held(bench):
            await publish(bench, [_traced(bench, 0xC0, 0)])
            await until(lambda: len(spans.named("look-up")) == 1, 20, "a turn that waits for the lock")
            await publish(bench, [_traced(bench, 0xC1, 1), _traced(bench, 0xC2, 2)])
            await until(lambda: all(len(one.lane(partition).inbox) for partition in (1, 2)), 20, "two lanes that wait")
        await bench.wait_for_results(3)
        await asyncio.gather(*(one.emitted(1, partition) for partition in range(3)))
    alone, alone_in_kafka, together, together_in_kafka = spans.named("transaction")
    for of_one in (alone, alone_in_kafka):
        assert attributes(of_one)["passport.transaction.lanes"] == 1
    batches = {context_of(batch).span_id: batch for batch in spans.named("process")}
    assert len({context_of(batch).trace_id for batch in batches.values()}) == 3
    for of_two in (together, together_in_kafka):
        assert attributes(of_two)["passport.transaction.lanes"] == 2
        (link,) = of_two.links
        other = batches[link.context.span_id]
        assert context_of(of_two) in [link.context for link in other.links]
        assert context_of(of_two).trace_id != context_of(other).trace_id


async def test_a_replay_and_a_re_emission_are_sent_anew(bench: Workbench) -> None:
    """The same bytes, trace headers and all, though the spans of each run are others; these link to the opening."""
    first, second = spans_in_memory(), spans_in_memory()
    again = _command(bench, 0, ("idempotency-key", b"key-1"), ("traceparent", traceparent(0xD1)))
    commands = [_command(bench, 0, ("idempotency-key", b"key-1"), ("traceparent", traceparent(0xD0))), again]
    results = await _answered(bench, commands, first)
    assert [_trace_headers(results[n]) for n in (0, 1)] == [[("traceparent", traceparent(n))] for n in (0xD0, 0xD1)]
    assert results[1].header("idempotency-replayed") == "true"
    assert [context_of(span).trace_id for span in first.named("send")] == [0xD0, 0xD1]

    await reset_offset(bench, 0)
    async with running(bench, tracing=second.tracing) as one:
        await one.emitted(2)
    emitted = sorted(await bench.wait_for_results(4), key=lambda result: (result.cause, result.offset))
    for _, same in groupby(emitted, lambda result: result.cause):
        once, twice = same
        assert (once.key, once.value, once.headers) == (twice.key, twice.value, twice.headers)
    opening = second.of("open", lambda span: attributes(span)["messaging.destination.partition.id"] == "0")
    assert second.below(opening[0]) == ["re-emit"]
    sends = second.named("send")
    assert [context_of(span).trace_id for span in sends] == [0xD0, 0xD1]
    assert [link.context for span in sends for link in span.links] == [context_of(opening[0])] * 2
    assert second.named("process") == []


async def test_a_batch_that_is_lost_fails_and_the_lane_opens_again(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the type of what happened, from the step up to the batch; the next opening is a span of its own."""
    original, lost = postgres.commit, list[int]()

    async def commit(connection: sql.Connection) -> None:
        await original(connection)
        if not lost:
            lost.append(1)
            raise TimeoutError("no answer about SERIAL-224")

    spans = spans_in_memory()
    async with running(bench, tracing=spans.tracing) as one:
        monkeypatch.setattr(postgres, "commit", commit)
        await publish(bench, [_traced(bench, 0xE0)])
        await bench.wait_for_results(1)
        await one.emitted(1)
    failed = [span.name.split()[0] for span in spans.all() if errors(span) == ("ERROR", "StoreUnavailable")]
    assert failed == ["transaction", "store", "process"]
    assert spans.one("process").status.description == "StoreUnavailable from TimeoutError"
    assert len(spans.named("open")) == 4, "both lanes of the session, twice"
    assert len(spans.named("send")) == len(spans.named("re-emit")) == 1
    assert "SERIAL" not in spans.text()


async def test_results_that_cannot_be_sent_fail_with_their_batch(bench: Workbench) -> None:
    """Each sampled result has a failed span for the attempt, and a good one for the one that made it visible."""
    spans = spans_in_memory()
    async with running(bench, tracing=spans.tracing) as one:
        await set_topic(bench, bench.settings.topic_created, "max.message.bytes", "200")
        await publish(bench, [_traced(bench, 0xE1)])
        await until(lambda: one.reopenings() >= 1, 30, "a send that fails")
        await set_topic(bench, bench.settings.topic_created, "max.message.bytes", str(2 * 1024 * 1024))
        await bench.wait_for_results(1)
        await one.emitted(1)
    assert errors(spans.one("process")) == errors(spans.one("emit")) == ("ERROR", "EmissionFailed")
    *failed, good = spans.named("send")
    assert {errors(span) for span in failed} == {("ERROR", "MessageSizeTooLargeError")}
    assert errors(good) == ("UNSET", None)
    assert {context_of(span).trace_id for span in (*failed, good)} == {0xE1}


async def test_a_halted_lane_is_a_failed_opening(bench: Workbench) -> None:
    """The trace names the halt; what to do about it is in the log and on `/readyz`."""
    spans = spans_in_memory()
    await _answered(bench, [_command(bench, 0)], spans)
    spans.exporter.clear()
    await reset_offset(bench, 5)
    async with running(bench, opened=False, tracing=spans.tracing) as one:
        await until(lambda: one.lane().state is LaneState.HALTED, 20, "a halt")
    halted = spans.of("open", lambda span: attributes(span)["messaging.destination.partition.id"] == "0")
    assert [errors(span) for span in halted] == [("ERROR", "Halt")]


async def test_too_much_at_once_is_an_event_and_no_failure(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is taken in smaller ones, each with its span; what is too much ahead is not even begun."""
    monkeypatch.setattr(pipeline, "TURN_ANSWER_BYTES", 6_000)
    spans = spans_in_memory()
    await _answered(bench, [_command(bench, number) for number in range(40)], spans)
    first, *others = spans.named("process")
    assert events(first) == [("batch_too_large", {})]
    assert errors(first) == ("UNSET", None)
    assert {errors(span) for span in spans.all()} == {("UNSET", None)}
    assert sum(int(str(attributes(span)["messaging.batch.message_count"])) for span in others) >= 40


REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.serial = 'SERIAL-7' THEN
        RAISE EXCEPTION 'no % of % for %', NEW.serial, NEW.gtin,
            (SELECT id FROM company WHERE number = NEW.company_number) USING ERRCODE = '22000';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON passport FOR EACH ROW EXECUTE FUNCTION refuse();
"""


async def test_no_span_tells_a_secret(bench: Workbench) -> None:
    """Not of good commands, of refused ones, nor of one whose data the database quotes in its error.

    A search through everything that would leave the process: names, attributes, events, statuses and links.
    """
    connection = await bench.connect()
    await connection.execute(REFUSE)
    await connection.close()
    parents = [b"00-4bf92f3577b34da6a3ce929d0e0e%04x-00f067aa0ba9%04x-01" % (n, n) for n in range(1, 13)]
    commands = [
        _command(
            bench,
            number,
            ("idempotency-key", f"order-{number % 10}".encode()),
            ("traceparent", parent),
            ("tracestate", b"vendor=opaque-state"),
        )
        for number, parent in enumerate(parents)
    ]
    unreadable = {**commands[0], "value": b'{"SERIAL-unreadable'}
    stranger = {
        **commands[1],
        "headers": [("authorization", b"Bearer tp_secret_stranger"), ("traceparent", parents[1])],
    }
    spans = spans_in_memory()
    results = await _answered(bench, [*commands, unreadable, stranger], spans)
    assert {bench.label_of(result.topic) for result in results.values()} == {"created", "rejected"}
    batch = spans.named("process")[0]
    assert [name for name, _ in events(batch)][-1] == "record_refused"
    assert errors(batch) == ("ERROR", "BadRecord")
    assert len(spans.named("send")) == 14
    _assert_silent(bench, spans, ("order-", "opaque-state", "SERIAL", "tp_", "Bearer"))


def _assert_silent(bench: Workbench, spans: Spans, secrets: Sequence[str]) -> None:
    said = spans.text().replace('"db.system.name": "postgresql"', "")  # the test's password may be a part of that
    one = tenant(1)
    password = bench.settings.database_url.partition("//")[2].partition("@")[0]
    assert bench.settings.topic_created in said, "the search looks at what there is"
    for secret in (*secrets, "4012345", one.company_id, one.product_id, one.api_key, password or "postgresql://"):
        assert secret not in said, secret
