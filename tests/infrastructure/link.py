"""A network between a worker and a server that a test can break: slow, silent, or reset."""

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Self

from worker.tools.demo.embedded import HOST, free_port

_CHUNK_BYTES = 64 * 1024
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Link:
    """Relays TCP connections from a port of its own to `target_port`, whatever they carry."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.latency_seconds = 0.0
        self._target_port = target_port
        self._requests, self._answers = asyncio.Event(), asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self.hear()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._open, return_exceptions=True)

    def silence(self, *, requests: bool, answers: bool) -> None:
        """Nothing goes through in these directions any more, while both ends believe themselves connected."""
        if requests:
            self._requests.clear()
        if answers:
            self._answers.clear()

    def hear(self) -> None:
        """End a silence: what was held back goes on, late, also that of a client that has long gone."""
        self._requests.set()
        self._answers.set()

    def cut(self) -> None:
        """Reset all connections that there are; what was held back on them is lost."""
        for task, writers in self._open.items():
            task.cancel()
            for writer in writers:
                _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = [writer]
        try:
            from_server, to_server = await asyncio.open_connection(HOST, self._target_port)
            self._open[task].append(to_server)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._relay(reader, to_server, self._requests))
                ways.create_task(self._relay(from_server, writer, self._answers))
        except* (_Ended, OSError, asyncio.CancelledError):
            pass
        finally:
            for one in self._open.pop(task):
                _reset(one)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: asyncio.Event) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await asyncio.sleep(self.latency_seconds)
            await way.wait()
            writer.write(data)
            await writer.drain()
        raise _Ended


class _Ended(Exception):
    """One side has closed the connection; so do we, on both."""


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, and let the other end know it the hard way (RST)."""
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    writer.transport.abort()
