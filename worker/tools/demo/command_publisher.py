"""The command topic from outside: publishing commands one by one."""

import asyncio

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from worker.domain.places import Place
from worker.messages.events import Header
from worker.settings import Settings
from worker.stream.cluster.connection import client_options


class CommandPublisher:
    """One producer, which is idempotent: a retry after a lost acknowledgement is no second command."""

    def __init__(self, settings: Settings) -> None:
        self._topic = settings.topic_commands
        self._producer = AIOKafkaProducer(**client_options(settings), enable_idempotence=True)

    async def start(self) -> None:
        """Connect; raises `KafkaError`."""
        await self._producer.start()

    async def publish(self, key: bytes | None, value: bytes | None, headers: list[Header]) -> asyncio.Future[str]:
        """Hand a command over; its place, `<topic>/<partition>/<offset>`, once acknowledged, or a `KafkaError`."""
        delivery = await self._producer.send(self._topic, value, key=key, headers=headers)
        return asyncio.ensure_future(_place(delivery))

    async def close(self) -> None:
        """Safe to call when it never started."""
        await self._producer.stop()


async def _place(delivery: "asyncio.Future[RecordMetadata]") -> str:
    where = await delivery
    return str(Place(where.topic, where.partition, where.offset))
