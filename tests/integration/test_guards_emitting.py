"""Guards B3, B4, B5 and B16: on any doubt about a transaction nothing is committed, and the producer is thrown away."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import ConcurrentTransactions, GroupAuthorizationFailedError, NotEnoughReplicasError
from aiokafka.producer.sender import (
    AddOffsetsToTxnHandler,
    AddPartitionsToTxnHandler,
    EndTxnHandler,
    InitPIDHandler,
    SendProduceReqHandler,
)
from aiokafka.protocol.transaction import EndTxnRequest
from aiokafka.structs import TopicPartition

from tests.batches import batch_of
from tests.infrastructure.kafka import LocalKafka
from tests.integration.guards_helpers import changed, commands, publish, running, set_topic
from tests.invariants import check_invariants
from tests.workbench import Workbench, make_workbench, until
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.observability.hooks import Hooks
from worker.store import failpoints
from worker.store.port import LaneName
from worker.stream import group as group_module
from worker.stream import producer as producer_module
from worker.stream.cluster import connection
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.describe_transactions_v0 import TransactionStateRequest
from worker.stream.producer import Emitter
from worker.tools.common import topics
from worker.tools.common.topics import create_topics

pytestmark = pytest.mark.real_kafka


def _answer(offset: int) -> Answer:
    return Answer(
        offset=offset,
        appended_ms=1_700_000_000_000,
        kind=Kind.REJECTED,
        key=f"key-{offset}",
        value=b"{}",
        company_id=None,
        passport_id=None,
        replayed=False,
        trace=None,
        dead_letter=None,
    )


async def test_the_point_endtxn_sent_comes_after_the_request(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crash tests kill a worker there. Seen to fail: the request had not been sent yet."""
    steps: list[str] = []
    send = AIOKafkaConnection.send

    def spy(connection: AIOKafkaConnection, request: object, *options: Any, **named: Any) -> object:
        if isinstance(request, EndTxnRequest):
            steps.append("request")
        return send(connection, request, *options, **named)

    monkeypatch.setattr(AIOKafkaConnection, "send", spy)
    monkeypatch.setattr(failpoints, "reach", lambda point: steps.append(point) if point.startswith("EndTxn") else None)
    emitter = Emitter(bench.settings, f"{bench.settings.group_id}.point", Hooks())
    await emitter.start()
    await emitter.emit([batch_of(LaneName(bench.settings.group_id, bench.settings.topic_commands, 0), 1, _answer(0))])
    await emitter.close()
    assert steps == ["request", "EndTxn sent", "EndTxn answered"]


# B3


async def test_b3_a_result_that_cannot_be_sent_holds_the_offset_back(bench: Workbench) -> None:
    """While the broker refuses a result as too large E stands still; once the topic is repaired it appears once.

    Seen to fail without `_deliver_all`: the commit succeeded, and the lane never noticed.
    """
    async with running(bench) as one:
        await set_topic(bench, bench.settings.topic_created, "max.message.bytes", "200")
        await publish(bench, commands(bench, 0, 10))
        await until(lambda: one.reopenings() >= 2, 30, "sends that fail")
        assert await one.committed() in (None, 0)
        assert one.lane().lag.applied  # as many as the first turn took
        assert await asyncio.to_thread(bench.results) == []
        await set_topic(bench, bench.settings.topic_created, "max.message.bytes", str(2 * 1024 * 1024))
        await bench.wait_for_results(10)
        await one.emitted(10)
        assert await one.committed() == 10
    await check_invariants(bench)


# B4


async def test_b4_no_transaction_is_ever_aborted(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error the producer is dropped without a word; InitProducerId of the next one ends what it left.

    Seen to fail with `abort_transaction()` in `emit`'s error path.
    """
    aborted, producers = list[str](), list[int]()
    _note_aborts_and_producers(monkeypatch, aborted, producers)
    async with running(bench) as one:
        with monkeypatch.context() as broker:
            broker.setattr(AddOffsetsToTxnHandler, "handle_response", _refuse_the_group)
            await publish(bench, commands(bench, 0, 10))
            await until(lambda: one.reopenings() >= 2, 30, "transactions that fail")
        await bench.wait_for_results(10)
    assert aborted == []
    assert len(set(producers)) >= 1 + 2
    await check_invariants(bench)


def _refuse_the_group(self: AddOffsetsToTxnHandler, response: object) -> None:
    """As if the broker had answered that the group may not be committed."""
    self._sender._txn_manager.error_transaction(GroupAuthorizationFailedError(self._group_id))


def _note_aborts_and_producers(monkeypatch: pytest.MonkeyPatch, aborted: list[str], producers: list[int]) -> None:
    end, abort, init = EndTxnHandler.__init__, AIOKafkaProducer.abort_transaction, InitPIDHandler.handle_response

    def noted_end(self: EndTxnHandler, sender: Any, commit_result: Any) -> None:
        if not commit_result:
            aborted.append("EndTxn(abort)")
        end(self, sender, commit_result)

    async def noted_abort(self: AIOKafkaProducer) -> None:
        aborted.append("abort_transaction")
        await abort(self)

    def noted_init(self: InitPIDHandler, response: Any) -> Any:
        producers.append(id(self._sender))
        _kept.append(self._sender)  # so that no other gets its id
        return init(self, response)

    monkeypatch.setattr(EndTxnHandler, "__init__", noted_end)
    monkeypatch.setattr(AIOKafkaProducer, "abort_transaction", noted_abort)
    monkeypatch.setattr(InitPIDHandler, "handle_response", noted_init)


_kept: list[object] = []


# B16


async def test_b16_small_transactions_in_a_row_keep_their_producer(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CONCURRENT_TRANSACTIONS after a commit is waited out: 50 transactions of a record, one producer, no reopening.

    Seen to fail with `EMIT_SECONDS = 0.03`, which leaves the broker no time for its markers.
    """
    concurrent, producers = list[int](), list[int]()
    _note_aborts_and_producers(monkeypatch, [], producers)
    _note_concurrent_transactions(monkeypatch, concurrent)
    await publish(bench, commands(bench, 0, 50))
    async with running(bench, settings=changed(bench.settings, batch_records=1)) as one:
        await bench.wait_for_results(50)
        assert one.reopenings() == 0
        assert len(set(producers)) == 1
    assert concurrent, "the broker never answered CONCURRENT_TRANSACTIONS: this test proves nothing"
    await check_invariants(bench)


def _note_concurrent_transactions(monkeypatch: pytest.MonkeyPatch, noted: list[int]) -> None:
    """Count those that the broker sends, and answer so on each tenth request, too."""
    original, calls = AddPartitionsToTxnHandler.handle_response, list[int]()

    def handle_response(self: AddPartitionsToTxnHandler, response: Any) -> Any:
        calls.append(0)
        code = ConcurrentTransactions.errno
        if len(calls) % 10 == 0:
            response.errors = [(topic, [(one, code) for one, _ in parts]) for topic, parts in response.errors]
        noted.extend(error for _, parts in response.errors for _, error in parts if error == code)
        return original(self, response)

    monkeypatch.setattr(AddPartitionsToTxnHandler, "handle_response", handle_response)


async def test_b16_a_produce_that_the_broker_wants_again_is_no_doubt(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NOT_ENOUGH_REPLICAS on the first produce of a transaction is tried again by the client; no reopening.

    Seen to fail with an emitter that gives up on the first such answer (`EMIT_SECONDS = 0.05`).
    """
    original, refused = SendProduceReqHandler.handle_response, list[object]()

    def handle_response(self: SendProduceReqHandler, response: Any) -> Any:
        if len(refused) < 3 and self._sender._txn_manager.transactional_id is not None:
            refused.append(response)
            code = NotEnoughReplicasError.errno
            response.topics = [
                (topic, [(part[0], code, -1, *part[3:]) for part in parts]) for topic, parts in response.topics
            ]
        return original(self, response)

    monkeypatch.setattr(SendProduceReqHandler, "handle_response", handle_response)
    async with running(bench) as one:
        await publish(bench, commands(bench, 0, 10))
        await bench.wait_for_results(10)
        assert one.reopenings() == 0
    assert len(refused) == 3
    await check_invariants(bench)


# B5


DEADLINE, SLACK = 1.5, 6.0
"""Seconds: the deadlines that the tests set, and how much later all must be over on a busy machine."""


async def _overdue(question: Awaitable[object]) -> str:
    """How a question to a frozen broker ends."""
    try:
        await asyncio.wait_for(question, DEADLINE + SLACK + 10)
    except Exception as error:
        return type(error).__name__
    return "answered"


async def _timed(name: str, question: Awaitable[object]) -> tuple[str, str, bool]:
    started = asyncio.get_running_loop().time()
    end = await _overdue(question)
    return name, end, asyncio.get_running_loop().time() - started < DEADLINE + SLACK


async def test_b5_no_question_to_a_frozen_broker_waits_for_ever(
    own_kafka: LocalKafka, database_url: str, kafka_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emit, start, close, log ends, committed offsets, membership, topics and pings all end at their deadlines.

    Seen to fail, one by one, without the `asyncio.timeout` of each of them.
    """
    bench = await make_workbench(own_kafka.bootstrap_servers, database_url, kafka_prefix)
    _short_deadlines(monkeypatch)
    cluster, known, fresh = (Cluster(bench.settings) for _ in range(3))
    async with running(bench) as one:
        await cluster.ping()
        await known.ping()
        topic, group = bench.settings.topic_commands, bench.settings.group_id
        old, new, idle = (
            Emitter(bench.settings, f"{group}.{topic}.{name}", Hooks()) for name in ("old", "new", "idle")
        )
        await old.start()
        await idle.start()
        own_kafka.freeze()
        try:
            questions: dict[str, Callable[[], Awaitable[object]]] = {
                "emit": lambda: old.emit([batch_of(LaneName("group", topic, 0), 2, _answer(1))]),
                "start": new.start,
                "close": idle.close,
                "log ends": lambda: one.assignment.log_ends([TopicPartition(topic, 0)]),
                "committed": lambda: cluster.committed(group, [TopicPartition(topic, 0)]),
                "transaction": lambda: cluster.ask_transaction_coordinator("id", TransactionStateRequest("id")),
                "is member": lambda: cluster.is_member(group, 1, "nobody"),
                "topic settings": lambda: cluster.topic_settings(topic),
                "partition counts": lambda: cluster.partition_counts([topic]),
                "create topics": lambda: create_topics(cluster, bench.settings),
                "first question": fresh.client,
                "ping": known.ping,
            }
            ends = await asyncio.gather(*(_timed(name, ask()) for name, ask in questions.items()))
            for left in (old, new):
                ends.append(await _timed("close after failure", left.close()))
            ends.append(await _timed("close cluster", cluster.close()))
        finally:
            own_kafka.thaw()
    assert [name for name, _, in_time in ends if not in_time] == []
    answered = {name for name, end, _ in ends if end == "answered"}
    assert answered == {"close", "close after failure", "close cluster"}, ends


def _short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (connection, group_module, topics):
        monkeypatch.setattr(module, "ANSWER_SECONDS", DEADLINE)
    monkeypatch.setattr(producer_module, "EMIT_SECONDS", DEADLINE)
    monkeypatch.setattr(producer_module, "START_SECONDS", DEADLINE)


async def test_b5_a_topic_that_is_missing_is_waited_for_in_bounds(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aiokafka asks for the offsets of a topic that does not exist without end; the lane does not.

    Seen to fail without the deadline in `log_ends`.
    """
    _short_deadlines(monkeypatch)
    async with running(bench) as one:
        assert await _timed("log ends", one.assignment.log_ends([TopicPartition(one.topic, 99)])) == (
            "log ends",
            "answered",
            True,
        )


@pytest.mark.parametrize("busy", [False, True])
async def test_b5_a_worker_stops_in_time_though_the_broker_is_frozen(
    own_kafka: LocalKafka, database_url: str, kafka_prefix: str, tmp_path: Path, busy: bool
) -> None:
    """SIGTERM while Kafka answers nothing, with a transaction in flight or none, ends the process within 10 s.

    Seen to fail without the deadlines of `consumer.stop()` and of the worker's whole life after SIGTERM; each alone
    is enough, since the other holds.
    """
    bench = await make_workbench(own_kafka.bootstrap_servers, database_url, kafka_prefix)
    process = bench.start_worker(tmp_path / "worker.log", PASSPORT_BATCH_RECORDS="1" if busy else "2000")
    try:
        await publish(bench, commands(bench, 0, 300, None))
        await bench.wait_for_results(20 if busy else 300)
        own_kafka.freeze()
        await asyncio.sleep(1)
        assert await asyncio.to_thread(bench.stop_worker, process, 10.0) == 0
    finally:
        own_kafka.thaw()
        bench.kill_workers()
