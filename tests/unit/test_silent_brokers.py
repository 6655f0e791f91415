"""One broker that hangs holds up nobody who can ask another one (guard B22). Connections are stand-ins."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError, RequestTimedOutError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import BrokerMetadata

from worker.settings import Settings
from worker.stream.cluster import connection as asking
from worker.stream.cluster import silent_brokers as module
from worker.stream.cluster.connection import Cluster, client_options

HUNG, WELL = ("localhost", 1), ("localhost", 2)


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No broker was asked before; and nobody waits for long."""
    monkeypatch.setattr(module, "NODE_SECONDS", 0.05)
    monkeypatch.setattr(asking, "NODE_SECONDS", 0.05)
    known = (module._silent_until, module._answered_at, module._failures_to_connect)
    for one in known:
        cast(Any, one).clear()
    yield
    for one in known:
        cast(Any, one).clear()


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ports to which connections were begun; the one to the hung broker is never set up."""
    ports: list[int] = []

    async def create_conn(host: str, port: int, **_: object) -> object:
        ports.append(port)
        if (host, port) == HUNG:
            await asyncio.sleep(60)
        return SimpleNamespace(connected=lambda: True, host=host, port=port)

    monkeypatch.setattr(module, "create_conn", create_conn)
    return ports


def _client() -> AIOKafkaClient:
    client = AIOKafkaClient(**client_options(Settings(kafka_bootstrap_servers="localhost:1,localhost:2")))
    client.cluster._brokers = {port: BrokerMetadata(port, host, port, None) for host, port in (HUNG, WELL)}
    return client


async def test_a_connection_does_not_wait_for_one_to_another_broker(
    monkeypatch: pytest.MonkeyPatch, tried: list[int]
) -> None:
    """Seen to fail with the one lock that aiokafka has for all of them."""
    monkeypatch.setattr(module, "NODE_SECONDS", 5.0)
    client = _client()
    hung = asyncio.create_task(client._get_conn(1))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(1):
        assert await client._get_conn(2) is not None
    assert tried == [1, 2]
    assert not hung.done()
    hung.cancel()


@pytest.mark.usefixtures("tried")
async def test_a_connection_that_is_not_set_up_in_time_is_given_up() -> None:
    """And its broker counts as silent; the next try may take longer, since a slow broker is not a hung one.

    Seen to fail with the 30 s that any request may take.
    """
    client = _client()
    async with asyncio.timeout(2):
        assert await client._get_conn(1) is None
    assert module.is_silent(*HUNG)
    assert module.any_silent()
    assert module.node_is_silent(client, 1)
    assert module._failures_to_connect == {HUNG: 1}


async def test_a_client_that_may_choose_a_broker_chooses_one_that_answers() -> None:
    """For metadata, coordinators and a first connection. Where all are silent, any will do."""
    client = _client()
    module._note_silence(*HUNG)
    for _ in range(20):
        assert client.get_random_node() == 2
        assert client.hosts[0][:2] == WELL
    module._note_silence(*WELL)
    assert {client.get_random_node() for _ in range(50)} == {1, 2}


async def test_any_answer_ends_the_silence() -> None:
    """Whatever was asked, and whatever the answer is."""
    module._note_silence(*HUNG)
    with pytest.raises(AttributeError, match="_requests"):
        AIOKafkaConnection._handle_frame(SimpleNamespace(host=HUNG[0], port=HUNG[1]), b"")
    assert not module.is_silent(*HUNG)
    cluster = ClusterMetadata()
    cluster._brokers = {1: BrokerMetadata(1, *HUNG, None)}
    assert module.node_answered(cast(Any, SimpleNamespace(cluster=cluster)), 1, 5.0)
    assert not module.node_answered(cast(Any, SimpleNamespace(cluster=cluster)), 2, 5.0)


@pytest.mark.parametrize("api_key", sorted(module._AT_ONCE))
async def test_a_broker_that_does_not_answer_is_silent_before_the_request_ends(api_key: int) -> None:
    """A question that any broker can answer is given up; a fetch is its leader's, and goes on."""
    connection = cast(Any, SimpleNamespace(host=HUNG[0], port=HUNG[1]))
    answer = asyncio.get_running_loop().create_future()
    watched = asyncio.create_task(module._watched(connection, answer, api_key))
    await asyncio.sleep(0.2)
    assert module.is_silent(*HUNG)
    if api_key in module._FOR_ANY_BROKER:
        with pytest.raises(TimeoutError):
            await watched
    else:
        answer.set_result("records")
        assert await watched == "records"


async def test_a_broker_is_silent_for_as_long_as_a_request_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else has to find out again. Seen to fail while it was silent for some seconds after the first one."""
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.1)
    connection = cast(Any, SimpleNamespace(host=HUNG[0], port=HUNG[1]))
    answer = asyncio.get_running_loop().create_future()
    watched = asyncio.create_task(module._watched(connection, answer, FetchRequest.API_KEY))
    await asyncio.sleep(0.1)
    for _ in range(6):
        assert module.is_silent(*HUNG)
        await asyncio.sleep(0.05)
    answer.set_result(None)
    await watched
    await asyncio.sleep(0.15)
    assert not module.is_silent(*HUNG)


async def test_silent_brokers_are_asked_again_beside_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only these, and whatever they say."""
    client, asked = _client(), list[int]()

    async def send(node: int, request: object) -> object:
        asked.append(node)
        raise RequestTimedOutError

    monkeypatch.setattr(client, "send", send)
    await module.ask_silent(client)
    assert asked == []
    module._note_silence(*HUNG)
    await module.ask_silent(client)
    assert asked == [1]


@pytest.mark.parametrize("error", [None, RequestTimedOutError(), NodeNotReadyError(), KafkaConnectionError()])
async def test_a_question_for_any_broker_goes_to_another_one(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """Seen to fail while one random broker was asked, for 15 s. A broker that died is looked up before the next one."""
    cluster = Cluster(Settings())
    client, asked, looked = _client(), list[int](), list[bool]()
    cluster._client = client

    async def send(node: int, request: object) -> object:
        asked.append(node)
        if node == 1:
            module._note_silence(*HUNG)
            if error is not None:
                raise error
            await asyncio.sleep(60)
        return "answer"

    async def update_metadata() -> None:
        looked.append(True)

    monkeypatch.setattr(client, "send", send)
    monkeypatch.setattr(client, "force_metadata_update", update_metadata)
    monkeypatch.setattr(client, "get_random_node", lambda: 2 if module.is_silent(*HUNG) else 1)
    async with asyncio.timeout(2):
        answer: Any = await cluster.ask(MetadataRequest([]))
    assert (answer, asked) == ("answer", [1, 2])
    assert looked == [True] * isinstance(error, NodeNotReadyError)
