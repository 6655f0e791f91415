"""Sending rows and waiting for their answers: the one part of `submit` that speaks to Kafka."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from worker.messages.events import Event, Header, cause_of
from worker.settings import Settings
from worker.tools.cli.signals import Stop
from worker.tools.common.answering import RowAnswer, answer_of
from worker.tools.common.results import ResultWatcher
from worker.tools.submit.allowance import Allowance
from worker.tools.submit.answers_file import AnswersFile
from worker.tools.submit.command_batches import CommandBatches, Delivery
from worker.tools.submit.credentials import Credentials
from worker.tools.submit.keys import idempotency_key, record_key
from worker.tools.submit.row import Asked, Row, invalid
from worker.tools.submit.window import Slot, Window
from worker.tools.validate.problems import CLOUD_EVENT

_AT_ONCE = 1_250
"""Rows that are made into batches before the event loop goes on: small batches cost the broker more than all else."""
_BYTES_AT_ONCE = 1024 * 1024
_MOST_BYTES = 8 * 1024 * 1024
"""Of rows on their way: those of a spreadsheet never are so many; NDJSON may have 64 KiB a row."""
_GATHER_SECONDS = 0.02
"""Rest after results have come, so that more come at once."""
_LOOK_SECONDS = 0.1
_SYNC_SECONDS = 1.0
_REST_SECONDS = 0.02
_KEY = "idempotency-key"
_MOST_EARLY = 50_000
"""More results than that are not taken while the broker acknowledges nothing."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Most rows a second, if any; most rows in the window; seconds without any answer that are too many."""

    per_second: float | None = None
    in_flight: int = 5_000
    patience_seconds: float = 300.0


class NoAnswers(Exception):
    """Rows wait, and their answers do not come; the text says why it gives up."""


class Submission:
    """Rows of a file on their way. What it has to keep is in the answers file: a next one goes on from there."""

    def __init__(self, settings: Settings, credentials: Credentials, pace: Pace, answers: AnswersFile) -> None:
        self._credentials, self._pace, self._answers = credentials, pace, answers
        self._watcher = ResultWatcher(settings)
        self._batches = CommandBatches(settings)
        self._window = Window(settings.topic_commands, self._written)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._last_news = 0.0

    async def run(self, rows: Iterator[Row], stop: Stop, show_progress: Callable[[], None]) -> None:
        """Send rows until all are answered. When asked to stop, only wait for the answers of those that were sent.

        `show_progress` is called about ten times a second.
        Raises `CLUSTER_ERRORS`, `NoAnswers`, `CannotWrite`, and what reading the rows raises.
        """
        try:
            await self._watcher.start()
            partition_of = await self._batches.start()
            self._answers.begin()
            self._last_news = time.monotonic()
            self._begin(self._watch())
            self._begin(self._sync())
            sending = self._begin(self._send(rows, stop, partition_of))
            while self._failure is None and (not sending.done() or self._window):
                await asyncio.sleep(_LOOK_SECONDS)
                show_progress()
                self._look_for_answers()
            await asyncio.sleep(0)  # until `_ended` has heard of what has just failed
            if self._failure is not None:
                raise self._failure
        finally:
            for one in self._tasks:
                one.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.gather(self._watcher.close(), self._batches.close())
            self._answers.sync()

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error

    def _written(self, row: Row, answer: RowAnswer) -> None:
        self._answers.append(row, answer)
        self._last_news = time.monotonic()

    def _look_for_answers(self) -> None:
        if not self._window:
            self._last_news = time.monotonic()
        elif time.monotonic() - self._last_news > self._pace.patience_seconds:
            raise NoAnswers(
                f"no answer came for {self._pace.patience_seconds:g} s, and {len(self._window):,} rows wait: "
                "is a worker running?"
            )

    async def _watch(self) -> None:
        window = self._window
        while True:
            if window.early > _MOST_EARLY:
                await asyncio.sleep(_REST_SECONDS)
                continue
            records = await self._watcher.poll()
            for record in records:
                cause = cause_of(record.headers)
                if cause is not None and window.expects(cause) and window.hear(cause, answer_of(record)):
                    self._last_news = time.monotonic()
            if records:
                await asyncio.sleep(_GATHER_SECONDS)

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_SECONDS)
            await asyncio.to_thread(self._answers.sync)

    async def _send(self, rows: Iterator[Row], stop: Stop, partition_of: Callable[[bytes], int]) -> None:
        pace = self._pace
        allowance = None if pace.per_second is None else Allowance(pace.per_second, time.monotonic())
        while not stop.is_asked:
            room = pace.in_flight - len(self._window)
            least = min(_AT_ONCE, max(1, pace.in_flight // 2))
            if allowance is not None:
                least, room = 1, min(room, allowance.rows(time.monotonic()))
            if room < least or self._window.kept_bytes > _MOST_BYTES:
                await asyncio.sleep(_REST_SECONDS)
                continue
            chunk = _some(rows, min(room, _AT_ONCE))
            if not chunk:
                return
            if allowance is not None:
                allowance.take(len(chunk))
            await self._send_some(chunk, partition_of)

    async def _send_some(self, rows: list[Row], partition_of: Callable[[bytes], int]) -> None:
        at = time.time()
        lanes: dict[int, tuple[list[Slot], list[Event]]] = {}
        for row in rows:
            if row.asked is None:
                self._window.add(row, invalid(row))
                continue
            key = record_key(row.asked.body)
            slots, commands = lanes.setdefault(partition_of(key), ([], []))
            commands.append(Event(key, row.asked.value, self._headers(row.asked, at)))
            slots.append(self._window.add(row.without_content()))
        for partition, (slots, commands) in lanes.items():
            self._window.handed_over(partition, len(slots))
            waiting = iter(slots)
            for delivery in await self._batches.publish(partition, commands):
                self._begin(self._acknowledge(delivery, partition, list(islice(waiting, delivery.count))))

    def _headers(self, asked: Asked, at: float) -> list[Header]:
        key = idempotency_key(asked.body)
        content_type = CLOUD_EVENT[1] if asked.is_cloud_event else None
        headers = [*self._credentials.headers(asked.value, key, content_type, at), (_KEY, key.encode("ascii"))]
        return [*headers, CLOUD_EVENT] if asked.is_cloud_event else headers

    async def _acknowledge(self, delivery: Delivery, partition: int, slots: list[Slot]) -> None:
        first = await delivery.first_offset()
        if first is None:
            raise NoAnswers("the broker has forgotten where some commands stand, so that their answers cannot be told")
        self._window.acknowledged(partition, first, slots)


def _some(rows: Iterator[Row], most: int) -> list[Row]:
    """The next few; fewer where they are large."""
    taken, size = [], 0
    for row in islice(rows, most):
        taken.append(row)
        size += len(row.kept)
        if size > _BYTES_AT_ONCE:
            break
    return taken
