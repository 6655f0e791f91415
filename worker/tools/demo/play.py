"""Plays the stream: factories publish, and a watcher counts results until every command has one."""

import asyncio
import random
import time
from collections import Counter
from datetime import UTC, datetime
from itertools import repeat
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from worker.messages.rules import ROWS, Kind
from worker.settings import Settings
from worker.stream.cluster.connection import client_options, close_within
from worker.tools.common.answers import body_of_value, outcome_class
from worker.tools.common.results import ResultRecord, ResultWatcher
from worker.tools.demo.makers import makers
from worker.tools.demo.script import Command, Script

STREAM_SECONDS = 15.0
SLOWEST, FASTEST = 60.0, 1000.0
"""Commands per second: a pace that a person can follow."""
ENDLESS_RATE = 2.0
"""Commands per second of an endless stream, which leaves the machine to other work."""
_AHEAD_SECONDS = 0.01

PATIENCE_SECONDS = 20.0
"""Missing results count as lost after this time without any news."""

CLOSE_SECONDS = 5.0
"""A limit, since aiokafka waits forever for a broker that is away."""

_MOST_EARLY = 10_000


class Play:
    """Enter it to start the stream, and leave it when `is_over` returns True. `count` None: a slow endless stream.

    An endless stream never counts results as lost, since somebody may stop the worker.
    """

    def __init__(self, settings: Settings, count: int | None, stopping: asyncio.Event) -> None:
        self.count = count
        self.published = self.answered = 0
        self.outcomes: Counter[tuple[int, str]] = Counter()
        """Results by status and code."""
        self.examples: dict[str, str] = {}
        """For each code, the place of the command that got it last."""
        self.first_appended: datetime | None = None
        """Append time of the oldest command, by the broker's clock."""
        self._topic, self._stopping = settings.topic_commands, stopping
        self._chance = random.Random()
        self._script = Script(makers(), f"{self._chance.getrandbits(24):06x}", self._chance)
        # Idempotent, so that a retry after a lost acknowledgement sends no second command.
        self._producer = AIOKafkaProducer(**client_options(settings), enable_idempotence=True)
        self._watcher = ResultWatcher(settings)
        self._unanswered: dict[str, Command] = {}
        self._early: dict[str, tuple[int, str]] = {}
        self._deliveries: set[asyncio.Future[RecordMetadata]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._started = self._last_news = time.monotonic()

    @property
    def seconds(self) -> float:
        """From the start to the last news."""
        return self._last_news - self._started

    async def __aenter__(self) -> Self:
        try:
            await self._watcher.start()
            await self._producer.start()
        except BaseException:
            await self._close()
            raise
        self._started = self._last_news = time.monotonic()
        self._tasks = [asyncio.create_task(self._publish()), asyncio.create_task(self._watch())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._close()

    def is_over(self) -> bool:
        """Whether every command has a result, or none came for a while. Raises what ended a task too early."""
        publishing, watching = self._tasks
        for task in (publishing, watching):
            if task.done():
                task.result()
        if self.count is None:
            return publishing.done()
        is_complete = publishing.done() and not self._unanswered
        return is_complete or time.monotonic() - self._last_news > PATIENCE_SECONDS

    def breaches(self) -> list[str]:
        """Sentences about broken promises. Call it once the play is over."""
        breaches = []
        if not self._tasks[0].done() or self._tasks[0].cancelled():
            breaches.append(f"the broker took no more commands for {PATIENCE_SECONDS:.0f} s")
        if self._unanswered:
            breaches.append(
                f"{len(self._unanswered):,} commands have no result, such as {next(iter(self._unanswered))}"
            )
        return breaches

    async def _close(self) -> None:
        for client in (self._producer.stop, self._watcher.close):
            await close_within(client(), CLOSE_SECONDS)

    async def _publish(self) -> None:
        """Publish `count` commands, or fewer when stopped; returns once all are acknowledged. Raises `KafkaError`."""
        rate = ENDLESS_RATE if self.count is None else min(max(self.count / STREAM_SECONDS, SLOWEST), FASTEST)
        due = time.monotonic()
        for _ in repeat(None) if self.count is None else range(self.count):
            if self._stopping.is_set():
                break
            command = self._script.next()
            delivery = await self._producer.send(
                self._topic, command.value, key=command.key, headers=list(command.headers)
            )
            self._deliveries.add(delivery)
            delivery.add_done_callback(lambda done, command=command: self._appended(command, done))
            due += self._chance.expovariate(rate)
            if due - time.monotonic() > _AHEAD_SECONDS:
                await asyncio.sleep(due - time.monotonic())
        await asyncio.gather(*self._deliveries)

    def _appended(self, command: Command, done: "asyncio.Future[RecordMetadata]") -> None:
        if done.cancelled() or done.exception() is not None:
            return  # the delivery stays in the set, from which `_publish` gets its error
        self._deliveries.discard(done)
        where = done.result()
        self.published += 1
        appended = datetime.fromtimestamp(where.timestamp / 1000, UTC)
        self.first_appended = min(appended, self.first_appended or appended)
        cause = f"{where.topic}/{where.partition}/{where.offset}"
        self._unanswered[cause] = command
        if (outcome := self._early.pop(cause, None)) is not None:  # the result was read before the acknowledgement
            self._note(cause, outcome)

    async def _watch(self) -> None:
        while True:
            for record in await self._watcher.poll():
                cause, outcome = record.cause, outcome_of(record)
                if cause in self._unanswered:
                    self._note(cause, outcome)
                else:
                    self._early[cause] = outcome
                    if len(self._early) > _MOST_EARLY:  # results of other producers' commands
                        del self._early[next(iter(self._early))]

    def _note(self, cause: str, outcome: tuple[int, str]) -> None:
        self._last_news = time.monotonic()
        self.answered += 1
        self.outcomes[outcome] += 1
        self.examples[outcome[1]] = cause
        self._script.hear(self._unanswered.pop(cause), outcome[1])


def outcome_of(record: ResultRecord) -> tuple[int, str]:
    """Status and code of a result. On a shared cluster it may be anybody's, so it may have any outcome."""
    body = {} if record.kind is Kind.CREATED else body_of_value(record.value or b"")  # bodies are slow to read
    outcome = outcome_class(record.kind, body, replayed=record.is_replayed)
    if outcome is None:
        status = body.get("status")
        return status if isinstance(status, int) else 0, record.kind.label
    return ROWS[outcome].status, ROWS[outcome].code
