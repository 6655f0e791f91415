"""Simulated factories: publish what the script says, at a pace that a person can follow."""

import asyncio
import random
import time
from collections.abc import Callable

from worker.settings import Settings
from worker.tools.demo.command_publisher import CommandPublisher
from worker.tools.demo.script import Command, Script

STREAM_SECONDS = 15.0
SLOWEST, FASTEST = 60.0, 1000.0
"""Commands a second."""

_AHEAD_SECONDS = 0.01

Appended = Callable[[Command, str, float], None]
"""Called with the command, its `<topic>/<partition>/<offset>`, and when it was handed over (monotonic seconds)."""


class Factories:
    """All makers at one publisher."""

    def __init__(self, settings: Settings, script: Script, chance: random.Random, on_append: Appended) -> None:
        self._script = script
        self._chance = chance
        self._on_append = on_append
        self._publisher = CommandPublisher(settings)
        self._deliveries: set[asyncio.Future[str]] = set()

    async def start(self) -> None:
        """Connect; raises `KafkaError`."""
        await self._publisher.start()

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
        await self._publisher.close()

    async def _send(self, command: Command) -> None:
        handed_over = time.monotonic()
        delivery = await self._publisher.publish(command.key, command.value, list(command.headers))
        self._deliveries.add(delivery)
        delivery.add_done_callback(lambda done: self._delivered(command, handed_over, done))

    def _delivered(self, command: Command, handed_over: float, done: "asyncio.Future[str]") -> None:
        """A failed delivery stays in the set, where `publish` finds it."""
        if not done.cancelled() and done.exception() is None:
            self._deliveries.discard(done)
            self._on_append(command, done.result(), handed_over)
