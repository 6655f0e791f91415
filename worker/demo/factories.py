"""Simulated factories: publish what the script says, at a pace that a person can follow."""

import asyncio
import random
import time
from collections.abc import Callable

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from worker.demo.script import Command, Script
from worker.settings import Settings
from worker.stream.connection import client_options

STREAM_SECONDS = 15.0
SLOWEST, FASTEST = 60.0, 1000.0
"""Commands a second."""

_AHEAD_SECONDS = 0.01

Appended = Callable[[Command, str, float], None]
"""Called with the command, its `<topic>/<partition>/<offset>`, and when it was handed over (monotonic seconds)."""


class Factories:
    """All makers at one producer, which is idempotent: a retry after a lost answer must not be a second command."""

    def __init__(self, settings: Settings, script: Script, chance: random.Random, on_append: Appended) -> None:
        self._topic = settings.topic_commands
        self._script = script
        self._chance = chance
        self._on_append = on_append
        self._producer = AIOKafkaProducer(**client_options(settings), enable_idempotence=True)
        self._deliveries: set[asyncio.Future[RecordMetadata]] = set()

    async def start(self) -> None:
        """Connect; raises `KafkaError`."""
        await self._producer.start()

    async def publish(self, count: int, stopping: asyncio.Event) -> None:
        """Up to `count` commands, fewer when stopped; returns when all are acknowledged. Raises `KafkaError`."""
        rate = min(max(count / STREAM_SECONDS, SLOWEST), FASTEST)
        due = time.monotonic()
        for _ in range(count):
            if stopping.is_set():
                break
            await self._send(self._script.next())
            due += self._chance.expovariate(rate)
            if due - time.monotonic() > _AHEAD_SECONDS:
                await asyncio.sleep(due - time.monotonic())
        await asyncio.gather(*self._deliveries)

    async def close(self) -> None:
        """Safe to call when it never started."""
        await self._producer.stop()

    async def _send(self, command: Command) -> None:
        handed_over = time.monotonic()
        delivery = await self._producer.send(self._topic, command.value, key=command.key, headers=list(command.headers))
        self._deliveries.add(delivery)
        delivery.add_done_callback(lambda done: self._delivered(command, handed_over, done))

    def _delivered(self, command: Command, handed_over: float, done: "asyncio.Future[RecordMetadata]") -> None:
        """A failed delivery stays in the set, where `publish` finds it."""
        if not done.cancelled() and done.exception() is None:
            self._deliveries.discard(done)
            where = done.result()
            self._on_append(command, f"{where.topic}/{where.partition}/{where.offset}", handed_over)
