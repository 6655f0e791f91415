"""Somebody who takes over transactional ids of others, as the broker lists them."""

import asyncio
import struct

from confluent_kafka import Producer

from worker.demo.embedded import HOST

_LIST_TRANSACTIONS = 66


async def transactional_ids(port: int, prefix: str) -> list[str]:
    """Those that begin with `prefix`, the newest producer last."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        request = struct.pack(">hhihb", _LIST_TRANSACTIONS, 0, 1, -1, 0) + b"\x01\x01\x00"  # no filters
        writer.write(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", await reader.readexactly(4))
        listed = _Answer(await reader.readexactly(size))
    finally:
        writer.close()
    listed.skip(4 + 1 + 4 + 2)  # correlation id, tagged fields, throttle time, error code
    for _ in range(listed.number() - 1):
        listed.text()  # unknown filters
    found = [listed.transaction() for _ in range(listed.number() - 1)]
    return [name for _, name in sorted(found) if name.startswith(prefix)]


def fence(servers: str, transactional_id: str) -> None:
    """InitProducerId: whoever has the id may not go on. Raises `KafkaException`."""
    settings = {"bootstrap.servers": servers, "transactional.id": transactional_id, "log_level": 0}
    Producer(settings).init_transactions(20)


class _Answer:
    """Kafka's compact encoding, from front to back."""

    def __init__(self, payload: bytes) -> None:
        self._payload, self._at = payload, 0

    def skip(self, size: int) -> bytes:
        self._at += size
        return self._payload[self._at - size : self._at]

    def number(self) -> int:
        value, shift = 0, 0
        while True:
            (byte,) = self.skip(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def text(self) -> str:
        return self.skip(self.number() - 1).decode()

    def transaction(self) -> tuple[int, str]:
        """Producer id and transactional id."""
        name = self.text()
        (producer_id,) = struct.unpack(">q", self.skip(8))
        self.text()  # its state
        self.number()  # tagged fields
        return producer_id, name
