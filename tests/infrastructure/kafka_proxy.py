"""A proxy in front of a real Kafka that knows where requests and answers begin, so that a test can hold them up."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from worker.tools.demo.embedded import HOST

PRODUCE, LIST_OFFSETS, METADATA, OFFSET_FETCH, FIND_COORDINATOR = 0, 2, 3, 9, 10
ADD_PARTITIONS, END_TXN, TXN_OFFSET_COMMIT = 24, 26, 28
"""Numbers of Kafka's requests (`api_key`)."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One request, or the answer to it: its kind, and its bytes without their length."""

    api_key: int
    api_version: int
    correlation_id: int
    payload: bytes


class Cut(Exception):
    """Raised by a hook: the client's connection breaks, as if the network had reset it."""


Deliver = Callable[[], Awaitable[bytes]]
"""Sends a request to the broker on a connection of its own, whatever became of the client's; the answer's payload."""
OnRequest = Callable[[Frame, Deliver], Awaitable[None]]
OnAnswer = Callable[[Frame], bytes]
Lateness = Callable[[Frame], float]


async def pass_on(_request: Frame, _deliver: Deliver) -> None:
    """Requests go on as they came."""


def at_once(_answer: Frame) -> float:
    """Answers go on as they come."""
    return 0.0


class KafkaProxy:
    """Listens at `port` for a broker at `broker_port`, which has to advertise `port`.

    `on_request` may wait, or raise `Cut`; `on_answer` may change an answer; `lateness` says for how many seconds an
    answer is held up, and with it those behind it on its connection. All three are the test's to set.
    """

    def __init__(self, port: int, broker_port: int) -> None:
        self._port, self._broker_port = port, broker_port
        self._server: asyncio.Server | None = None
        self._ways: set[asyncio.Future[None]] = set()
        self.on_request: OnRequest = pass_on
        self.on_answer: OnAnswer = lambda answer: answer.payload
        self.lateness: Lateness = at_once

    @property
    def address(self) -> str:
        """For `PASSPORT_KAFKA_BOOTSTRAP_SERVERS`."""
        return f"{HOST}:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for way in self._ways:
            way.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_broker, to_broker = await asyncio.open_connection(HOST, self._broker_port)
        asked: dict[int, Frame] = {}
        ways = {
            asyncio.ensure_future(self._requests(reader, to_broker, asked)),
            asyncio.ensure_future(self._answers(from_broker, writer, asked)),
        }
        self._ways |= ways
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        self._ways -= ways
        writer.transport.abort()  # a reset, not an orderly end
        to_broker.close()

    async def _requests(
        self, reader: asyncio.StreamReader, to_broker: asyncio.StreamWriter, asked: dict[int, Frame]
    ) -> None:
        while True:
            payload = await _read(reader)
            api_key, api_version, correlation_id = struct.unpack_from(">hhi", payload)
            request = Frame(api_key, api_version, correlation_id, payload)
            await self.on_request(request, lambda request=request: self._deliver(request))  # type: ignore[misc]
            asked[request.correlation_id] = replace(request, payload=b"")
            _write(to_broker, payload)

    async def _answers(
        self, from_broker: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, Frame]
    ) -> None:
        while True:
            payload = await _read(from_broker)
            (correlation_id,) = struct.unpack_from(">i", payload)
            answer = replace(asked.pop(correlation_id), payload=payload)
            if seconds := self.lateness(answer):
                await asyncio.sleep(seconds)
            _write(writer, self.on_answer(answer))

    async def _deliver(self, request: Frame) -> bytes:
        reader, writer = await asyncio.open_connection(HOST, self._broker_port)
        try:
            _write(writer, request.payload)
            return await asyncio.wait_for(_read(reader), 20)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _write(writer: asyncio.StreamWriter, payload: bytes) -> None:
    writer.write(struct.pack(">i", len(payload)) + payload)
