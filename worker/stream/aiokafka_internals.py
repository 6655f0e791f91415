"""Every private attribute of aiokafka that the worker uses, and patches for faults inside aiokafka.

No other module touches such an attribute (`tests/unit/test_aiokafka_internals.py`). Before you move to a new version of
aiokafka, compare its sources with this module, raise `_KNOWN_VERSION`, and run `tests/integration/test_guards_*.py`.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Container, Coroutine, Hashable, Iterator
from contextlib import nullcontext, suppress
from typing import Any

import aiokafka
import aiokafka.client
import aiokafka.conn
import aiokafka.consumer.fetcher
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection, CloseReason, OAuthAuthenticator
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed
from aiokafka.protocol.admin import SaslAuthenticateRequest
from aiokafka.protocol.metadata import MetadataRequest as _MetadataRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.types import Array, Bytes, Int32, Schema
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from aiokafka.util import wait_for

from worker.domain.command import UnreadableRecord
from worker.messages.envelope import Record
from worker.stream.background import is_set_within
from worker.stream.lenient_batches import NAME_NOT_UTF8, LenientBatches

_KNOWN_VERSION = "0.14."

if not aiokafka.__version__.startswith(_KNOWN_VERSION):
    raise ImportError(
        f"worker.stream.aiokafka_internals fits aiokafka {_KNOWN_VERSION}x, got {aiokafka.__version__}: "
        "compare what it uses with the sources of that version"
    )

# Decoding of record batches (guard B8)


class _MessageSet:
    """aiokafka's `MemoryRecords`, with the bytes that they decode."""

    def __init__(self, message_set: bytes) -> None:
        self.bytes, self.batches = message_set, MemoryRecords(message_set)
        self.has_next, self.size_in_bytes = self.batches.has_next, self.batches.size_in_bytes


_UNREADABLE = UnreadableRecord(NAME_NOT_UTF8, "Expected header names in UTF-8")


class _Records(PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    """The records of a partition in one answer to a fetch.

    aiokafka raises `UnicodeDecodeError` at a header name that is not UTF-8, and again at each fetch from that offset.
    From that batch on, `LenientBatches` decode the rest of the answer. A record with such a name is unreadable.
    """

    _records_iterator: Iterator[Record]

    def __init__(self, topic_partition: TopicPartition, records: _MessageSet, *options: Any) -> None:
        super().__init__(topic_partition, records.batches, *options)
        self._message_set = records.bytes

    def __next__(self) -> Record:
        try:
            return next(self._records_iterator)  # not `super().__next__()`, which takes a tenth longer
        except UnicodeDecodeError:
            # aiokafka's loop over the batches begins again, at the batch of the bad record. It skips records below
            # `next_fetch_offset`, which it has yielded, and still knows which transactions were aborted.
            self._records = LenientBatches(self._message_set, self.next_fetch_offset)
            self._records_iterator = self._unpack_records()
            return next(self)

    def _consumer_record(self, tp: TopicPartition, record: Any) -> Record:
        """Make the worker's own record, which all consumers of the process get in place of a `ConsumerRecord`."""
        return Record(
            tp.topic,
            tp.partition,
            record.offset,
            record.timestamp,
            record.key,
            record.value,
            tuple(record.headers),
            _UNREADABLE if record.checksum == NAME_NOT_UTF8 else None,
        )


aiokafka.consumer.fetcher.MemoryRecords = _MessageSet
aiokafka.consumer.fetcher.PartitionRecords = _Records


def records_of(
    response: Any, topic_partition: TopicPartition, offset: int, *, committed: bool = True, only_times: bool = False
) -> Iterator[Record]:
    """The records of a partition in an answer to a fetch from `offset` on, as a consumer sees them.

    Leaves out markers and, for a `committed` reader, aborted records. With `only_times`, records have offsets and times
    alone: a megabyte of headers takes a hundred megabytes as objects. Raises `CorruptRecordException` at a batch whose
    bytes fail their checksum.
    """
    records = _records_in(response, topic_partition, offset, committed, only_times)
    try:
        yield from records
    finally:
        # Object and iterator refer to each other. A caller that takes only the first records would leave megabytes to
        # the garbage collector, which seldom runs.
        records._records_iterator = iter(())


def _records_in(
    response: Any, topic_partition: TopicPartition, offset: int, committed: bool, only_times: bool
) -> _Records:
    part = response.topics[0][1][0]
    # From version 11 on, there is a preferred replica between the aborted transactions and the records.
    aborted, records = part[-3 if response.API_VERSION >= 11 else -2], _MessageSet(part[-1] or b"")
    if only_times:
        records.batches = LenientBatches(records.bytes, offset, only_times=True)
    isolation = READ_COMMITTED if committed else READ_UNCOMMITTED
    return _Records(topic_partition, records, aborted, offset, None, None, True, isolation)


def next_offset(response: Any, offset: int) -> int:
    """Where the next fetch starts after this answer: after its last whole batch, or at `offset` if it has none."""
    batches = MemoryRecords(response.topics[0][1][0][-1] or b"")
    while batches.has_next():
        offset = batches.next_batch().next_offset
    return offset


# Consumers


def client_of(consumer: AIOKafkaConsumer) -> AIOKafkaClient:
    """The client that a consumer fetches with."""
    return consumer._client


def membership_of(consumer: AIOKafkaConsumer) -> tuple[int, str]:
    """The generation of a consumer's group, and the consumer's member id."""
    return consumer._coordinator.generation, consumer._coordinator.member_id


def check_membership(consumer: AIOKafkaConsumer) -> None:
    """Raise the error that ended a consumer's membership, such as a missing permission, as a poll would."""
    consumer._coordinator.check_errors()


def fetched_partitions(consumer: AIOKafkaConsumer) -> Container[TopicPartition]:
    """Partitions with fetched records that were not polled yet; it changes as fetches are answered.

    Polling each of many partitions would take longer than reading, since most of them have nothing.
    """
    fetched: Container[TopicPartition] = consumer._fetcher._records
    return fetched


async def wait_for_fetch(consumer: AIOKafkaConsumer, seconds: float) -> None:
    """Wait until more is fetched, of any partition: `getmany` with a timeout, but without taking the records.

    Raises as `check_membership` does.
    """
    check_membership(consumer)
    with consumer._subscription.fetch_context():  # counts as a poll for `max_poll_interval_ms`
        pass
    waiter = consumer._fetcher._create_fetch_waiter()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await waiter


# The least duration of an empty fetch. Kafka holds empty answers back for longer; the demo's broker does not.
EMPTY_SECONDS = 0.05

# The pause after a fetch with records. It takes at least `FULL_SECONDS`, so that records of all partitions that come
# meanwhile are fetched together. It ends when a turn is nearly over, or after `MOST_SECONDS`: records that are fetched
# earlier would only wait for the end of that turn, and those that come in between for the end of the next one.
FULL_SECONDS = 0.01
MOST_SECONDS = 0.04


def pause_after_fetches(consumer: AIOKafkaConsumer) -> Callable[[], None]:
    """Make a started consumer fetch less often: aiokafka fetches again at once, and each request names every partition.

    The reader gets the records before the pause. Call the result when a turn is nearly over.
    """
    fetcher = consumer._fetcher
    pausing = set[asyncio.Event]()  # one per broker, since each has its own fetch
    # How long aiokafka fetches nothing while fetched records are unread. A lane that has enough leaves its records
    # unread, and must not hold up the others, so this ends before the pause. If both ended in the same step of the
    # event loop, aiokafka would take the fetch for unfinished, and wait for 200 ms (guard B25).
    fetcher._prefetch_backoff = FULL_SECONDS / 2
    fetch = fetcher._proc_fetch_request

    async def fetch_and_pause(*request: Any) -> bool:
        sent = time.monotonic()
        has_records: bool = await fetch(*request)
        for waiter in list(fetcher._fetch_waiters) if has_records else ():
            fetcher._notify(waiter)
        turn_ends = asyncio.Event()
        pausing.add(turn_ends)
        with suppress(asyncio.CancelledError):  # aiokafka cancels this task but needs its result, as from `fetch`
            await asyncio.sleep(FULL_SECONDS if has_records else EMPTY_SECONDS - (time.monotonic() - sent))
            if has_records:
                await is_set_within(turn_ends, MOST_SECONDS - FULL_SECONDS)
        pausing.discard(turn_ends)
        return has_records

    def end_pauses() -> None:
        for turn_ends in pausing:
            turn_ends.set()

    fetcher._proc_fetch_request = fetch_and_pause
    return end_pauses


# Producers


def sender_of(producer: AIOKafkaProducer) -> "asyncio.Task[None] | None":
    """The task that sends all requests of a producer; None before the producer has started."""
    sender: asyncio.Task[None] | None = producer._sender.sender_task
    return sender


def transaction_coordinator_of(producer: AIOKafkaProducer) -> int:
    """The broker that coordinates the producer's transactions; -1 if the producer does not know it."""
    return int(producer._sender._coordinators.get(CoordinationType.TRANSACTION, -1))


def has_partitions_to_add(producer: AIOKafkaProducer) -> bool:
    """Whether Kafka has still to add partitions to the transaction, perhaps since the previous one is not over."""
    return bool(producer._txn_manager.partitions_to_add())


def drop_failure(producer: AIOKafkaProducer) -> None:
    """Mark the producer's exception as seen. asyncio would report it as never retrieved."""
    waiter = producer._txn_manager._transaction_waiter
    if waiter is not None and waiter.done() and not waiter.cancelled():
        waiter.exception()


def keep_batches(producer: AIOKafkaProducer) -> None:
    """Never give up a batch because its partition has no leader.

    The option for it, `request_timeout_ms`, must stay low, since it also decides how soon a silent broker is noticed.
    """
    producer._message_accumulator._batch_ttl = math.inf


# Clients and their connections


class MetadataRequest(_MetadataRequest):  # type: ignore[misc]
    """Asks about topics without creating them: a topic that a broker creates has one partition and producer time.

    aiokafka lets brokers create every topic that it asks about, and has no option against it.
    """

    def __init__(self, topics: list[str] | None = None) -> None:
        super().__init__(topics, allow_auto_topic_creation=False)


aiokafka.client.MetadataRequest = MetadataRequest  # for all clients of this process


async def wait_for_topic(client: AIOKafkaClient, topic: str) -> None:
    """Wait until a client knows the partitions of a topic. Raises `UnknownTopicOrPartitionError` after 30 s."""
    await client._wait_on_metadata(topic)


# The least time between metadata requests of a client: aiokafka asks again after each answer without a leader (B26).
METADATA_SECONDS = 0.05

_metadata_update = AIOKafkaClient._metadata_update


async def _update_metadata(client: AIOKafkaClient, cluster: ClusterMetadata, topics: Collection[str]) -> bool:
    """If no broker that the client knows answers, ask the configured addresses again (B27)."""
    await asyncio.sleep(getattr(client, "metadata_at", 0.0) + METADATA_SECONDS - time.monotonic())
    client.metadata_at = time.monotonic()
    if await _metadata_update(client, cluster, topics):
        return True
    try:
        await client.bootstrap()
    except KafkaConnectionError:
        return False
    is_updated: bool = await _metadata_update(client, cluster, topics)
    return is_updated


AIOKafkaClient._metadata_update = _update_metadata


_get_conn = AIOKafkaClient._get_conn


async def _get_conn_beside(
    client: AIOKafkaClient, node_id: int, *, group: Hashable = ConnectionGroup.DEFAULT, no_hint: bool = False
) -> AIOKafkaConnection | None:
    """Connect to brokers in parallel: with aiokafka's single lock, each would wait for the slowest (B22).

    Also exchanges a connection before its broker ends it (B24).
    """
    connection = client._conns.get((node_id, group))
    if connection is not None and connection.connected():
        now = time.monotonic()
        if now < getattr(connection, "exchange_at", math.inf):
            return connection
        if now < connection.ends_at:
            connection.exchange_at = now + EXCHANGE_AGAIN_SECONDS
            _in_background(_exchange(client, node_id, group, connection))
            return connection
        # The connection's time is over: the broker closes it at the next request (KIP-368).
        del client._conns[node_id, group]
        _in_background(_close_when_answered(connection))
    locks: defaultdict[object, asyncio.Lock] = client.__dict__.setdefault("_conn_locks", defaultdict(asyncio.Lock))
    async with locks[node_id, group]:
        return await _get_conn(client, node_id, group=group)


AIOKafkaClient._get_conn = _get_conn_beside
AIOKafkaClient._get_conn_lock = nullcontext()


# Brokers with `connections.max.reauth.ms` say how long a connection may serve. It is exchanged after this share of that
# time, while requests go on. If connecting fails, the worker tries again.
EXCHANGED_AFTER = 0.8
EXCHANGE_AGAIN_SECONDS = 1.0

_background: set[asyncio.Task[None]] = set()


def _in_background(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    _background.add(task)
    task.add_done_callback(_background.discard)


async def _exchange(client: AIOKafkaClient, node_id: int, group: Hashable, old: AIOKafkaConnection) -> None:
    # In a group of its own: both connections exist for a moment, and closing the client has to close both.
    if await _get_conn_beside(client, node_id, group=("next", group)) is None:
        return
    new = client._conns.pop((node_id, ("next", group)), None)
    if new is None:  # another exchange of this connection took it
        return
    if client._conns.get((node_id, group)) is old and old.connected():
        client._conns[node_id, group] = new
        await _close_when_answered(old)
    else:  # the client was closed, or had to connect meanwhile
        new.close()


async def _close_when_answered(connection: AIOKafkaConnection) -> None:
    if waiting := [answer for _, _, answer in connection._requests]:
        await asyncio.wait(waiting)
    connection.close()


_send = AIOKafkaConnection.send


def _send_and_note_end(connection: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Awaitable[Any]:
    if isinstance(request, ProduceRequest) and expect_response and connection.connected():
        return _send_records(connection, request)
    answer: Awaitable[Any] = _send(connection, request, expect_response)
    return _noting_end(connection, answer) if isinstance(request, SaslAuthenticateRequest) else answer


def _send_records(connection: AIOKafkaConnection, request: ProduceRequest) -> Awaitable[Any]:
    """Send without joining the request: aiokafka's `send` copies all results eight times, a fifth of the CPU."""
    prepared = request.prepare(connection._versions)
    correlation_id = connection._next_correlation_id()
    header = prepared.build_request_header(correlation_id=correlation_id, client_id=connection._client_id)
    values = [getattr(prepared, name) for name in prepared.SCHEMA.names]
    parts = [header.encode(), *_parts(prepared.SCHEMA, values)]
    try:
        connection._writer.writelines([Int32.encode(sum(map(len, parts))), *parts])
    except OSError as error:
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"Connection at {connection.host}:{connection.port} broken: {error}") from error
    answer = asyncio.get_running_loop().create_future()
    connection._requests.append((correlation_id, prepared, answer))
    answered: Awaitable[Any] = wait_for(answer, connection._request_timeout)
    return answered


def _parts(field: Any, value: Any) -> Iterator[bytes]:
    """The bytes of a value in a request, without a copy of record batches."""
    if isinstance(field, Schema):
        for part, item in zip(field.fields, value, strict=True):
            yield from _parts(part, item)
    elif isinstance(field, Array):
        yield Int32.encode(len(value))
        for item in value:
            yield from _parts(field.array_of, item)
    elif field is Bytes:
        yield Int32.encode(len(value))
        yield value
    else:
        yield field.encode(value)


async def _noting_end(connection: AIOKafkaConnection, answer: Awaitable[Any]) -> Any:
    response = await answer
    if lifetime_ms := getattr(response, "session_lifetime_ms", 0):
        now, lifetime = time.monotonic(), lifetime_ms / 1000
        connection.exchange_at, connection.ends_at = now + lifetime * EXCHANGED_AFTER, now + lifetime
    return response


AIOKafkaConnection.send = _send_and_note_end


class _OAuthAuthenticator(OAuthAuthenticator):  # type: ignore[misc]
    """Raises a broker's refusal, a challenge by RFC 7628, which aiokafka takes for success (B23)."""

    async def step(self, challenge: bytes | None) -> tuple[bytes, bool] | None:
        if challenge:
            self._sasl_oauth_token_provider.refuse()
            raise SaslAuthenticationFailed(f"the broker refuses the token: {challenge.decode(errors='replace')}")
        step: tuple[bytes, bool] | None = await super().step(challenge)
        return step


aiokafka.conn.OAuthAuthenticator = _OAuthAuthenticator


def call_on_answers(note: Callable[[str, int], None]) -> None:
    """Call `note` with host and port of a broker whenever it answers anything to any client of this process."""
    handle_frame = AIOKafkaConnection._handle_frame

    def handle_frame_noted(connection: AIOKafkaConnection, frame: bytes) -> None:
        note(connection.host, connection.port)
        handle_frame(connection, frame)

    AIOKafkaConnection._handle_frame = handle_frame_noted
