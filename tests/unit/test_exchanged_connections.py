"""A connection that its broker is about to end is exchanged, and no request fails (guard B24). They are stand-ins."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import BrokerMetadata

from worker.settings import Settings
from worker.stream.cluster import silent_brokers
from worker.stream.cluster.connection import client_options

KEY = (1, 0)


@dataclass
class Connection:
    """Begins to be exchanged, and ends, so many seconds from now on."""

    exchange_at: float = 1e9
    ends_at: float = 1e9
    is_open: bool = True
    _requests: list[tuple[int, object, "asyncio.Future[None]"]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.exchange_at, self.ends_at = time.monotonic() + self.exchange_at, time.monotonic() + self.ends_at

    def connected(self) -> bool:
        """As aiokafka's."""
        return self.is_open

    def close(self, **_: object) -> None:
        """As aiokafka's."""
        self.is_open = False


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Connection | None]:
    """What connecting leads to, the next one first; None is a failure."""
    made: list[Connection | None] = []

    async def create_conn(*_: object, **__: object) -> Connection:
        await asyncio.sleep(0)
        connection = made.pop(0)
        if connection is None:
            raise KafkaConnectionError("away")
        return connection

    monkeypatch.setattr(silent_brokers, "create_conn", create_conn)
    return made


def _client(connection: Connection) -> Any:
    client = AIOKafkaClient(**client_options(Settings()))
    client.cluster._brokers = {1: BrokerMetadata(1, "localhost", 1, None)}
    client._conns = {KEY: connection}
    return client


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_requests_go_on_while_a_connection_is_exchanged(made: list[Connection | None]) -> None:
    """The old one stays open until it has answered; nobody waits for the new one."""
    answer = asyncio.get_running_loop().create_future()
    old, new = Connection(exchange_at=-1, _requests=[(1, None, answer)]), Connection()
    client, made[:] = _client(old), [new]
    assert [await client._get_conn(1), await client._get_conn(1)] == [old, old]
    await _settle()
    assert await client._get_conn(1) is new
    assert client._conns == {KEY: new}
    assert old.is_open
    answer.set_result(None)
    await _settle()
    assert not old.is_open


async def test_an_exchange_that_fails_is_tried_again(
    made: list[Connection | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with each request, but after a while; meanwhile the old connection serves."""
    old, new = Connection(exchange_at=-1), Connection()
    client, made[:] = _client(old), [None, new]
    for _ in range(5):
        assert await client._get_conn(1) is old
        await _settle()
    assert made == [new]
    old.exchange_at = 0.0
    assert await client._get_conn(1) is old
    await _settle()
    assert await client._get_conn(1) is new


async def test_no_request_goes_to_a_connection_that_has_ended(made: list[Connection | None]) -> None:
    """Nobody had anything to send while it could be exchanged. What still waits there is answered."""
    answer = asyncio.get_running_loop().create_future()
    old, new = Connection(exchange_at=-2, ends_at=-1, _requests=[(1, None, answer)]), Connection()
    client, made[:] = _client(old), [new]
    assert await client._get_conn(1) is new
    await _settle()
    assert old.is_open
    answer.set_result(None)
    await _settle()
    assert not old.is_open


async def test_a_client_that_is_closed_meanwhile_keeps_no_connection(made: list[Connection | None]) -> None:
    """The new one is closed, too."""
    old, new = Connection(exchange_at=-1), Connection()
    client, made[:] = _client(old), [new]
    await client._get_conn(1)
    old.close()
    await _settle()
    assert not new.is_open
