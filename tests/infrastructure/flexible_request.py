"""Requests of Kafka's newer encoding ("flexible versions") that no client library here has, over a plain socket."""

import asyncio
import struct
from typing import Self

from worker.tools.demo.embedded import HOST

ANSWER_SECONDS = 20.0

NO_TAGS = b"\0"


def compact(text: str) -> bytes:
    """A string."""
    return unsigned(len(text.encode()) + 1) + text.encode()


def array(*items: bytes) -> bytes:
    """Some items, encoded by themselves."""
    return unsigned(len(items) + 1) + b"".join(items)


def unsigned(number: int) -> bytes:
    """A varint."""
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*parts, number))


class Answer:
    """The answer's bytes, read from front to back."""

    def __init__(self, payload: bytes) -> None:
        self._payload, self._at = payload, 0

    @classmethod
    async def to(cls, port: int, api_key: int, body: bytes) -> Self:
        """Ask the broker at `port`, in version 0 of a request; the answer behind its header."""
        request = struct.pack(">hhih", api_key, 0, 1, -1) + NO_TAGS + body
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(struct.pack(">i", len(request)) + request)
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                answer = cls(await reader.readexactly(size))
            finally:
                writer.close()
        answer.skip(4)  # the correlation id
        answer.skip_tags()
        return answer

    def skip(self, size: int) -> bytes:
        """The next bytes."""
        self._at += size
        return self._payload[self._at - size : self._at]

    def skip_tags(self) -> None:
        """Tagged fields, of which there are none in these answers."""
        assert self.unsigned() == 0

    def short(self) -> int:
        """A number of two bytes."""
        (value,) = struct.unpack(">h", self.skip(2))
        return int(value)

    def integer(self) -> int:
        """A number of four bytes."""
        (value,) = struct.unpack(">i", self.skip(4))
        return int(value)

    def long(self) -> int:
        """A number of eight bytes."""
        (value,) = struct.unpack(">q", self.skip(8))
        return int(value)

    def unsigned(self) -> int:
        """A varint."""
        value, shift = 0, 0
        while True:
            (byte,) = self.skip(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def length(self) -> int:
        """How many items an array has."""
        return max(0, self.unsigned() - 1)

    def text(self) -> str:
        """A string; empty where there is none."""
        return self.skip(self.length()).decode()
