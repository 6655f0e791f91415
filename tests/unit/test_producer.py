"""One Kafka transaction for the results of several lanes, without a broker: its order, and who is under suspicion."""

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import CoordinationType
from aiokafka.errors import InvalidTxnState, KafkaConnectionError, MessageSizeTooLargeError, RequestTimedOutError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.transaction import EndTxnRequest, InitProducerIdRequest, TxnOffsetCommitRequest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from tests.batches import batch_of
from worker.batch.batch import Batch
from worker.domain.command import DeadLetter
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.observability.hooks import Hooks
from worker.settings import Settings
from worker.store.port import LaneName
from worker.stream import delivery
from worker.stream import producer as module
from worker.stream.producer import EmissionFailed, Emitter, Unanswered, send_once

COMMANDS = "dpp.passport.create.v1"
CREATED, REJECTED = "dpp.passport.created.v1", "dpp.passport.rejected.v1"
DEAD = f"{COMMANDS}.passport-worker.dlq"

TAKEN, REFUSED, SPOILED, DROPPED, PENDING, WAITING = "taken", "refused", "spoiled", "dropped", "pending", "waiting"
"""What becomes of a batch: acknowledged, refused, refused for what another one did to the transaction, dropped by the
client, no answer, or not even in line."""


class _Producer:
    """In place of the client's: what becomes of a batch is told by its partition, and every step is noted."""

    def __init__(self, fates: Mapping[TopicPartition, str]) -> None:
        self.steps: list[str] = []
        self.batches: dict[TopicPartition, list[BatchBuilder]] = {}
        self.leaderless: set[TopicPartition] = set()
        self.leaders: dict[TopicPartition, int] = {}
        """Brokers that lead partitions; broker 1 leads all others."""
        self.looked = 0
        self.known: dict[str, set[int]] = {}
        """Partitions of topics, as the metadata name them."""
        self.unauthorized: set[str] = set()
        self.topics: list[Sequence[str]] = []
        self._fates = fates
        sender_task = asyncio.get_running_loop().create_future()
        self._sender = SimpleNamespace(sender_task=sender_task, _coordinators={CoordinationType.TRANSACTION: 1})
        cluster = SimpleNamespace(
            leader_for_partition=lambda place: -1 if place in self.leaderless else self.leaders.get(place, 1),
            brokers=lambda: [SimpleNamespace(nodeId=1), SimpleNamespace(nodeId=2)],
            partitions_for_topic=lambda topic: self.known.get(topic),
            unauthorized_topics=self.unauthorized,
        )
        self.client = SimpleNamespace(
            cluster=cluster, force_metadata_update=self._look, set_topics=self._set_topics, send=self._ask
        )
        self.asked: list[int] = []
        self.not_added: set[TopicPartition] = set()
        """Partitions that the coordinator has not taken into the transaction."""
        self._txn_manager = SimpleNamespace(partitions_to_add=lambda: self.not_added)
        self.offsets: dict[TopicPartition, int] = {}
        self.failing: dict[str, Exception] = {}

    async def start(self) -> None:
        self._note("start")

    def _look(self) -> "asyncio.Future[bool]":
        self.looked += 1
        return self._told()

    def _set_topics(self, topics: Sequence[str]) -> "asyncio.Future[bool]":
        self.topics.append(topics)
        return self._told()

    def _told(self) -> "asyncio.Future[bool]":
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(True)
        return answer

    async def _ask(self, node: int, request: object, *, group: int) -> None:
        self.asked.append(node)
        raise RequestTimedOutError

    def _note(self, step: str) -> None:
        self.steps.append(step)
        if step in self.failing:
            raise self.failing[step]

    async def begin_transaction(self) -> None:
        self._note("begin")

    def create_batch(self) -> BatchBuilder:
        return BatchBuilder(module.RECORD_BATCH_BYTES, 0, is_transactional=True)

    async def send_batch(self, batch: BatchBuilder, topic: str, *, partition: int) -> "asyncio.Future[object]":
        place = TopicPartition(topic, partition)
        fate = self._fates.get(place, TAKEN)
        if fate == WAITING:
            await asyncio.sleep(60)
        self.batches.setdefault(place, []).append(batch)
        answer = asyncio.get_running_loop().create_future()
        if fate == REFUSED:
            answer.set_exception(MessageSizeTooLargeError())
        elif fate == SPOILED:
            answer.set_exception(InvalidTxnState())
        elif fate != PENDING:
            answer.set_result(None if fate == DROPPED else object())
        return asyncio.shield(answer)

    async def send_offsets_to_transaction(self, offsets: dict[TopicPartition, int], group_id: str) -> None:
        self._note(f"offsets of {group_id}")
        self.offsets = offsets

    async def commit_transaction(self) -> None:
        self._note("commit")

    def sent(self, place: TopicPartition) -> list[list[bytes]]:
        """The values that went there, batch by batch."""
        batches = []
        for builder in self.batches.get(place, []):
            builder._set_producer_state(1, 1, 0)
            batches.append([record.value for record in DefaultRecordBatch(bytes(builder._build()))])
        return batches


def _emitter(fates: Mapping[TopicPartition, str] | None = None, partitions: int = 3) -> tuple[Emitter, _Producer]:
    """An emitter that has started, into topics of so many partitions."""
    emitter, producer = Emitter(Settings(), "unique", Hooks()), _Producer(fates or {})
    emitter._producer._closed = True  # it never started, and complains of not being stopped
    emitter._producer = producer
    emitter._partitions = dict.fromkeys((*Settings().result_topics, DEAD), partitions)
    return emitter, producer


def _answer(offset: int, kind: Kind = Kind.REJECTED, value: bytes = b"{}", letter: DeadLetter | None = None) -> Answer:
    return Answer(offset, 0, kind, "key", value, dead_letter=letter)


def _batch(partition: int, *answers: Answer, stop: int = 9) -> Batch:
    return batch_of(LaneName("group", COMMANDS, partition), stop, *answers)


def _rejected(*lanes: int) -> list[Batch]:
    return [_batch(lane, _answer(0), _answer(1)) for lane in lanes]


def _at(partition: int) -> TopicPartition:
    return TopicPartition(REJECTED, partition)


async def test_results_come_before_offsets_and_offsets_before_the_commit() -> None:
    """Those of all lanes in one transaction; the group then stands behind what each of them answers.

    The consumer hears when only the end is left, so that it fetches for the next turn.
    """
    emitter, producer = _emitter()
    assert (emitter.has_begun, emitter.is_open) == (False, False)
    batches = [_batch(0, _answer(3), stop=5), _batch(2, _answer(7, Kind.CREATED), stop=8), _batch(1, stop=4)]
    await emitter.emit(batches, lambda: producer.steps.append("nearly over"))
    assert producer.steps == ["begin", "offsets of passport-worker", "nearly over", "commit"]
    assert producer.offsets == {
        TopicPartition(COMMANDS, lane): OffsetAndMetadata(stop, f"passport-worker {stop}")
        for lane, stop in ((0, 5), (2, 8), (1, 4))
    }
    assert producer.batches.keys() == {_at(0), TopicPartition(CREATED, 2)}
    assert (emitter.has_begun, emitter.is_open) == (True, False)


async def test_a_partition_gets_one_batch_in_the_order_of_its_lanes() -> None:
    """Where there are fewer result partitions than lanes, those of a place share it; copies go beside results."""
    emitter, producer = _emitter(partitions=2)
    letter = DeadLetter(b"k", b"copy", (), "reason")
    answers = [_answer(at, value=f"0-{at}".encode(), letter=letter if at == 1 else None) for at in range(3)]
    await emitter.emit([_batch(0, *answers), _batch(1, _answer(0, value=b"1-0")), _batch(2, _answer(0, value=b"2-0"))])
    assert producer.sent(_at(0)) == [[b"0-0", b"0-1", b"0-2", b"2-0"]]
    assert producer.sent(_at(1)) == [[b"1-0"]]
    assert producer.sent(TopicPartition(DEAD, 0)) == [[b"copy"]]


async def test_what_is_too_much_for_a_batch_goes_in_several_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a single record of any size in one of its own."""
    monkeypatch.setattr(module, "RECORD_BATCH_BYTES", 1000)
    emitter, producer = _emitter()
    sizes = [100, 100, 5000, 100]
    await emitter.emit([_batch(0, *(_answer(at, value=b"x" * size) for at, size in enumerate(sizes)))])
    batches = producer.sent(_at(0))
    assert [len(value) for values in batches for value in values] == sizes
    assert len(batches) > 2
    assert [len(values) for values in batches if len(values[0]) == 5000] == [1]


def _numbers(error: EmissionFailed) -> set[int]:
    """The partitions of the suspects."""
    assert all(topic == COMMANDS for topic, _ in error.suspects)
    return {partition for _, partition in error.suspects}


async def _fails(emitter: Emitter, batches: Sequence[Batch]) -> EmissionFailed:
    with pytest.raises(EmissionFailed) as caught:
        await emitter.emit(batches)
    assert (emitter.has_begun, emitter.is_open) == (True, True)
    return caught.value


_SUSPECTS: Mapping[str, tuple[Mapping[TopicPartition, str], set[int]]] = {
    "one was refused": ({_at(1): REFUSED}, {1}),
    "two were refused": ({_at(0): REFUSED, _at(2): REFUSED}, {0, 2}),
    "all were refused": ({_at(0): REFUSED, _at(1): REFUSED, _at(2): REFUSED}, {0, 1, 2}),
    "who is refused is worse than who waits": ({_at(0): REFUSED, _at(1): PENDING}, {0}),
    "one has no answer": ({_at(1): PENDING}, {1}),
    "one is not even in line": ({_at(1): WAITING}, {1}),
    "two have no answer": ({_at(0): WAITING, _at(2): PENDING}, {0, 2}),
    "none has an answer": ({_at(0): PENDING, _at(1): WAITING, _at(2): PENDING}, set()),
    "one was dropped": ({_at(1): DROPPED}, {1}),
    "who spoils it for others is to blame": ({_at(0): SPOILED, _at(1): REFUSED, _at(2): SPOILED}, {1}),
    "who is spoiled does not wait": ({_at(0): SPOILED, _at(1): PENDING}, {1}),
    "all are spoiled": ({_at(0): SPOILED, _at(1): SPOILED, _at(2): SPOILED}, set()),
}


@pytest.mark.parametrize(("fates", "suspects"), _SUSPECTS.values(), ids=_SUSPECTS)
async def test_lanes_are_suspects_whose_results_alone_were_not_taken(
    monkeypatch: pytest.MonkeyPatch, fates: Mapping[TopicPartition, str], suspects: set[int]
) -> None:
    """So that they are opened apart, and the others go on; nothing is committed (guard B3).

    Seen to fail where a wait that the deadline cancelled counted as an answer: nobody was suspected.
    """
    monkeypatch.setattr(module, "EMIT_SECONDS", 0.3)
    emitter, producer = _emitter(fates)
    assert _numbers(await _fails(emitter, _rejected(0, 1, 2))) == suspects
    assert producer.steps == ["begin"]


async def test_what_goes_where_no_leader_is_is_not_waited_for_until_the_deadline() -> None:
    """The client itself would only ask for metadata, again and again. Other results may take their time.

    Seen to fail without `NoLeader`: all lanes stood for the 20 s of the deadline.
    """
    emitter, producer = _emitter({_at(1): PENDING})
    producer.leaderless = {_at(1)}
    async with asyncio.timeout(10):
        error = await _fails(emitter, _rejected(0, 1, 2))
    assert (_numbers(error), str(error)) == ({1}, f"NoLeader: {REJECTED}/1 has no leader")


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Brokers that answer anything at all. Times are short, but longer than a crowded machine holds a process up."""
    nodes = {1, 2}
    for name, seconds in (("LOOK_SECONDS", 0.02), ("SILENT_SECONDS", 0.5), ("FOLLOWERS_SECONDS", 1.0)):
        monkeypatch.setattr(delivery, name, seconds)
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(module, "EMIT_SECONDS", 3.0)
    monkeypatch.setattr(delivery, "node_answered", lambda client, node, seconds: node in nodes)
    return nodes


@pytest.mark.parametrize("lanes", [(0, 1, 2), (1,)], ids=["others took some", "nobody else has any"])
async def test_a_broker_that_is_silent_is_not_waited_for_until_the_deadline(
    answering: set[int], lanes: Sequence[int]
) -> None:
    """It hangs, and still counts as alive: it is asked for anything, and the lanes of others go on without its own.

    Seen to fail without `SilentLeader`: all lanes stood for the 20 s of the deadline.
    """
    answering.remove(2)
    emitter, producer = _emitter({_at(1): PENDING})
    producer.leaders = {_at(1): 2}
    error = await _fails(emitter, _rejected(*lanes))
    assert _numbers(error) == {1}
    assert str(error) == f"SilentLeader: broker 2 does not take results for {REJECTED}/1"
    assert set(producer.asked) == {2}


async def test_a_cluster_that_stands_still_as_a_whole_is_waited_for(answering: set[int]) -> None:
    """No lane would get on without another."""
    answering.clear()
    emitter, _ = _emitter({_at(1): PENDING})
    assert str(await _fails(emitter, _rejected(0, 1, 2))).startswith("TimeoutError")


@pytest.mark.parametrize(("lanes", "is_given_up"), [((0, 1, 2), True), ((1,), False)])
@pytest.mark.usefixtures("answering")
async def test_a_broker_that_answers_waits_for_followers(lanes: Sequence[int], is_given_up: bool) -> None:
    """For a while, if other results were taken; then for as long as there is."""
    emitter, _ = _emitter({_at(1): PENDING})
    error = await _fails(emitter, _rejected(*lanes))
    assert _numbers(error) == ({1} if is_given_up else set())
    assert str(error).startswith("SilentLeader" if is_given_up else "TimeoutError")


@pytest.mark.parametrize("is_silent", [False, True], ids=["its coordinator answers", "its coordinator is silent"])
async def test_a_transaction_before_that_has_not_ended_is_not_waited_for(answering: set[int], is_silent: bool) -> None:
    """It lacks a marker, perhaps on a broker that nobody needs now; another session need not wait. Nothing is sent on.

    Seen to fail without `NotOver`: all lanes stood for the 20 s of the deadline, and until that broker was back.
    """
    if is_silent:
        answering.remove(1)
    emitter, producer = _emitter({_at(0): PENDING, _at(1): PENDING})
    producer.not_added = {_at(0), _at(1)}
    producer.leaders = {_at(0): 2, _at(1): 2}
    error = await _fails(emitter, _rejected(0, 1))
    assert error.suspects == set()
    assert str(error).startswith("TimeoutError" if is_silent else "NotOver")
    assert producer._sender.sender_task.cancelled() is not is_silent


async def test_a_producer_that_was_thrown_away_sends_nothing_more() -> None:
    """Its sender ends, also where it waits for a broker that is silent: then its connections are closed."""
    emitter, producer = _emitter()
    closed = asyncio.Event()

    async def send_on() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await closed.wait()  # as aiokafka, which waits for requests that are on their way

    async def close() -> None:
        closed.set()

    producer.client.close = close
    producer._sender.sender_task = asyncio.create_task(send_on())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await emitter.end_sending()
    assert producer._sender.sender_task.done()


async def test_all_lanes_that_share_a_partition_are_suspects() -> None:
    """Nobody knows whose result it was."""
    emitter, _ = _emitter({_at(0): REFUSED}, partitions=2)
    assert _numbers(await _fails(emitter, _rejected(0, 1, 2))) == {0, 2}


async def test_a_lane_with_nothing_to_say_is_no_suspect(monkeypatch: pytest.MonkeyPatch) -> None:
    """It brought an offset only; where the one other lane hangs, nobody in particular is to blame."""
    monkeypatch.setattr(module, "EMIT_SECONDS", 0.05)
    emitter, _ = _emitter({_at(0): PENDING})
    assert (await _fails(emitter, [*_rejected(0), _batch(1)])).suspects == set()


async def test_a_client_that_gave_up_makes_no_suspects() -> None:
    """It fails all that was pending, whoever is to blame."""
    emitter, producer = _emitter({_at(1): REFUSED})
    producer._sender.sender_task.set_result(None)
    assert (await _fails(emitter, _rejected(0, 1, 2))).suspects == set()


@pytest.mark.parametrize("step", ["offsets of passport-worker", "commit"])
async def test_nobody_is_a_suspect_where_all_results_were_taken(step: str) -> None:
    """The offsets, or the commit, are the doubt: whether it took place is for the ledger to settle."""
    emitter, producer = _emitter()
    producer.failing[step] = Unanswered("lost")
    error = await _fails(emitter, _rejected(0, 1))
    assert (error.suspects, str(error)) == (frozenset(), "Unanswered: lost")


async def test_a_place_without_a_leader_is_named() -> None:
    """Any kind of result may come, so all of its places are looked at; the lanes of other places are not held up."""
    emitter, producer = _emitter(partitions=2)
    lanes = [LaneName("group", COMMANDS, partition) for partition in range(4)]
    assert [*map(emitter.find_obstacle, lanes)] == [None] * 4
    producer.leaderless = {TopicPartition(CREATED, 1)}
    assert [*map(emitter.find_obstacle, lanes)] == [None, f"{CREATED}/1 has no leader"] * 2
    producer.leaderless = {TopicPartition(DEAD, 0)}
    assert [*map(emitter.find_obstacle, lanes)] == [f"{DEAD}/0 has no leader", None] * 2
    assert producer.looked == 4, "newer metadata may name a leader"


async def test_a_missing_topic_holds_up_the_lanes_of_its_channel_alone() -> None:
    """All topics are asked for at once. Once the topic is there, the lanes go on; access may be lost as well.

    Seen to fail: the producer waited for each topic in turn, and no session of any channel could start any more.
    """
    settings = Settings(channels="acme")
    emitter, producer = Emitter(settings, "unique", Hooks()), _Producer({})
    emitter._producer._closed = True
    emitter._producer = producer
    own, acme = settings.answer_topics, settings.of_channel("acme").answer_topics
    producer.known = {topic: {0, 1} for topic in (*own, *acme[1:])}
    await emitter.start()
    assert producer.topics == [[*own, *acme]]
    lanes = [LaneName("group", topic, 3) for topic in settings.by_commands]
    assert [*map(emitter.find_obstacle, lanes)] == [None, f"Kafka knows no topic {acme[0]}"]
    producer.unauthorized.add(acme[0])
    assert [*map(emitter.find_obstacle, lanes)] == [None, None]
    producer.unauthorized.clear()
    producer.known[acme[0]] = {0}
    assert [*map(emitter.find_obstacle, lanes)] == [None, None]


@pytest.mark.parametrize(
    ("request_of", "raised"),
    [
        (EndTxnRequest("unique", 1, 1, True), Unanswered),
        (TxnOffsetCommitRequest("unique", "group", 1, 1, []), Unanswered),
        (InitProducerIdRequest("unique", 1), KafkaConnectionError),
    ],
    ids=["EndTxn", "TxnOffsetCommit", "InitProducerId"],
)
async def test_what_must_not_be_sent_twice_gets_no_error_that_is_tried_again(
    request_of: Any, raised: type[Exception]
) -> None:
    """The client sends again upon every `KafkaError` (guard B20); the other requests may come late."""
    sent: list[object] = []

    async def send(node: int, request: object, **_: object) -> object:
        sent.append(request)
        raise KafkaConnectionError("reset")

    client: Any = SimpleNamespace(send=send)
    send_once(client)
    with pytest.raises(raised, match="reset"):
        await client.send(1, request_of)
    assert sent == [request_of]
