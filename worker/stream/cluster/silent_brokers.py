"""Keeps a broker that hangs from holding up every client of this process (guard B22).

A broker whose process or disk hangs still accepts connections, and counts as alive to the others. aiokafka then waits
for it up to `request_timeout_ms` (30 s) although any other broker could answer. It also has a single lock for all new
connections, so that each one waits for the slowest; `aiokafka_internals` replaces that lock. Importing this module
changes all clients of this process:

- A connection has to be set up within `NODE_SECONDS`. The time doubles with each failure, up to `CONNECT_SECONDS`.
- A question that any broker can answer waits `NODE_SECONDS` for one broker. The client then asks another one.
- A broker that cannot be reached, or lets a request wait for half that time, counts as silent. It does so until it
  answers anything, or for `SILENT_SECONDS` after the last such request. Clients prefer brokers that are not silent.
  `ask_silent` asks silent brokers again, so that no other question has to find out.

Requests that only one broker can answer, such as Fetch and Produce, still go to that broker, and wait for it.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

import aiokafka.client
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest

from worker.stream.aiokafka_internals import call_on_answers
from worker.stream.cluster.credentials import with_present_credentials

NODE_SECONDS = 2.0
CONNECT_SECONDS = 10.0
SILENT_SECONDS = 15.0

_FOR_ANY_BROKER = frozenset({MetadataRequest.API_KEY, FindCoordinatorRequest.API_KEY})
# Requests that a broker answers within `fetch_max_wait_ms` if it answers at all.
_AT_ONCE = _FOR_ANY_BROKER | {FetchRequest.API_KEY}

# Brokers by address, shared by all clients of the process. Times are monotonic.
_Address = tuple[str, int]
_silent_until = dict[_Address, float]()
_answered_at = dict[_Address, float]()
_failures_to_connect = dict[_Address, int]()


def is_silent(host: str, port: int) -> bool:
    """Whether a broker counts as silent."""
    return _silent_until.get((host, port), 0.0) > time.monotonic()


def any_silent() -> bool:
    """Whether any broker counts as silent."""
    now = time.monotonic()
    return any(until > now for until in _silent_until.values())


def node_is_silent(client: AIOKafkaClient, node: int) -> bool:
    """Whether a node counts as silent, by the address that the client knows."""
    broker = client.cluster.broker_metadata(node)
    return broker is not None and is_silent(broker.host, broker.port)


def node_answered(client: AIOKafkaClient, node: int, seconds: float) -> bool:
    """Whether a node has answered anything to any client within the last seconds."""
    broker = client.cluster.broker_metadata(node)
    return broker is not None and time.monotonic() - _answered_at.get((broker.host, broker.port), 0.0) < seconds


async def ask_silent(client: AIOKafkaClient) -> None:
    """Send each silent broker a small request. Its answer ends the silence."""
    nodes = [broker.nodeId for broker in _brokers(client.cluster) if is_silent(broker.host, broker.port)]
    await asyncio.gather(*(client.send(node, MetadataRequest([])) for node in nodes), return_exceptions=True)


def _note_silence(host: str, port: int) -> None:
    _silent_until[host, port] = time.monotonic() + SILENT_SECONDS


def _note_answer(host: str, port: int) -> None:
    _silent_until.pop((host, port), None)
    _answered_at[host, port] = time.monotonic()


async def _connect(host: str, port: int, **options: Any) -> AIOKafkaConnection:
    options = await with_present_credentials(options)  # outside the `try`: the broker is not to blame if this fails
    failures = _failures_to_connect.get((host, port), 0)
    try:
        async with asyncio.timeout(min(NODE_SECONDS * 2**failures, CONNECT_SECONDS)):
            connection = await create_conn(host, port, **options)
    except Exception:
        _failures_to_connect[host, port] = min(failures + 1, 10)
        _note_silence(host, port)
        raise
    _failures_to_connect.pop((host, port), None)
    return connection


_send = AIOKafkaConnection.send
_brokers = ClusterMetadata.brokers
_hosts = AIOKafkaClient.hosts.fget


def _send_watched(connection: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Awaitable[Any]:
    answer: Awaitable[Any] = _send(connection, request, expect_response)
    return _watched(connection, answer, request.API_KEY) if request.API_KEY in _AT_ONCE else answer


async def _watched(connection: AIOKafkaConnection, answer: Awaitable[Any], api_key: int) -> Any:
    async def note_silence() -> None:
        pause = NODE_SECONDS / 2
        while True:
            await asyncio.sleep(pause)
            _note_silence(connection.host, connection.port)
            pause = SILENT_SECONDS / 2

    noting = asyncio.create_task(note_silence())
    try:
        async with asyncio.timeout(NODE_SECONDS if api_key in _FOR_ANY_BROKER else None):
            return await answer
    finally:
        noting.cancel()


def _brokers_that_answer(cluster: ClusterMetadata) -> set[Any]:
    brokers = _brokers(cluster)
    # If all are silent, return all: a client needs some broker to ask.
    return {broker for broker in brokers if not is_silent(broker.host, broker.port)} or brokers


def _hosts_that_answer_first(client: AIOKafkaClient) -> list[Any]:
    return sorted(_hosts(client), key=lambda host: is_silent(*host[:2]))


aiokafka.client.create_conn = _connect
AIOKafkaClient.hosts = property(_hosts_that_answer_first)
AIOKafkaConnection.send = _send_watched
ClusterMetadata.brokers = _brokers_that_answer
call_on_answers(_note_answer)
