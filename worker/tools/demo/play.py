"""One run of the stream: factories publish, a watcher reads, the tally matches, and it ends when all is answered."""

import asyncio
import random
import time
from types import TracebackType
from typing import Self

from worker.settings import Settings
from worker.tools.common.results import ResultRecord, ResultWatcher
from worker.tools.demo.factories import Factories
from worker.tools.demo.glimpses import Glimpses
from worker.tools.demo.makers import makers
from worker.tools.demo.results import result_of
from worker.tools.demo.script import Command, Script
from worker.tools.demo.tally import Result, Sent, Tally

QUIET_SECONDS = 1.0
"""After the last result is in: time for one that comes twice to show up."""

PATIENCE_SECONDS = 20.0
"""Without any news; then the missing results count as lost."""

CLOSE_SECONDS = 5.0
"""aiokafka waits for a broker that is away without bounds."""


class Play:
    """Enter it to begin; it has ended when `is_over` says so."""

    def __init__(self, settings: Settings, count: int, stopping: asyncio.Event) -> None:
        chance = random.Random()
        self.count = count
        self.tally = Tally()
        self.glimpses = Glimpses()
        self.started = self.last_news = time.monotonic()
        self._published = False
        self._stopping = stopping
        self._commands: dict[str, Command] = {}
        self._script = Script(makers(), f"{chance.getrandbits(24):06x}", chance)
        self._factories = Factories(settings, self._script, chance, self._appended)
        self._watcher = ResultWatcher(settings, dead_letters=True)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def seconds(self) -> float:
        """From the start to the last news."""
        return self.last_news - self.started

    async def __aenter__(self) -> Self:
        try:
            await self._watcher.start()
            await self._factories.start()
        except BaseException:
            await self._close()
            raise
        self.started = self.last_news = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._factories.publish(self.count, self._stopping)),
            asyncio.create_task(self._watch()),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._close()

    def is_over(self) -> bool:
        """Whether all is published and answered, or no more answers come; raises what ended a task too soon."""
        publishing, watching = self._tasks
        for task in (publishing, watching):
            if task.done():
                task.result()
        silent = time.monotonic() - self.last_news
        self._published = publishing.done()
        return silent > (QUIET_SECONDS if self._published and not self.tally.waiting else PATIENCE_SECONDS)

    def breaches(self) -> list[str]:
        """How the promise was broken, once it is over; none when it was kept."""
        stuck = [] if self._published else [f"the broker took no more commands for {PATIENCE_SECONDS:.0f} s"]
        return stuck + self.tally.breaches()

    async def _close(self) -> None:
        # While the broker is away, aiokafka's consumer lets the CancelledError of its own tasks escape from `stop`;
        # in tasks, it is not taken for a cancellation of the demo.
        closing = [asyncio.create_task(client.close()) for client in (self._factories, self._watcher)]
        _, late = await asyncio.wait(closing, timeout=CLOSE_SECONDS)
        for one in late:
            one.cancel()
        await asyncio.gather(*closing, return_exceptions=True)

    def _appended(self, command: Command, cause: str, handed_over: float) -> None:
        self._commands[cause] = command
        result = self.tally.note_sent(Sent(cause, command.sender, handed_over))
        if result is not None:
            self._answered(command, result)

    async def _watch(self) -> None:
        """Until cancelled."""
        while True:
            seen = await self._watcher.poll()
            now = time.monotonic()
            for record in seen:
                self._read(record, now)

    def _read(self, record: ResultRecord, now: float) -> None:
        if record.kind is None:
            place = [record.header(f"dlq-original-{name}") or "" for name in ("topic", "partition", "offset")]
            self.tally.note_dead_letter("/".join(place))
            return
        result = result_of(record, record.kind)
        sent = self.tally.note_result(result, now)
        if sent is not None:
            self._answered(self._commands[sent.cause], result)

    def _answered(self, command: Command, result: Result) -> None:
        self.last_news = time.monotonic()
        del self._commands[result.cause]
        self._script.hear(command, result)
        self.glimpses.offer(command, result, self.last_news)
