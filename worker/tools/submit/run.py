"""Sends rows and waits for their answers: the part of `submit` that speaks to Kafka."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from itertools import islice, takewhile
from typing import Any

from worker.messages.events import Event, cause_of
from worker.settings import Settings
from worker.tools.common.answering import RowAnswer, row_answer_of
from worker.tools.common.progress import Allowance
from worker.tools.common.results import ResultWatcher
from worker.tools.submit.advice import DENIED, about_credentials
from worker.tools.submit.answers_file import AnswersFile
from worker.tools.submit.command_batches import CommandBatches, Delivery
from worker.tools.submit.headers import Credentials, idempotency_key, record_key
from worker.tools.submit.options import Pace
from worker.tools.submit.table import INVALID, Row
from worker.tools.submit.window import RowWindow, Slot
from worker.tools.validate.problems import CLOUD_EVENT

_AT_ONCE = 1_250
"""Rows that become batches before the event loop continues. Small batches cost the broker more than all else."""
_BYTES_AT_ONCE = 1024 * 1024
_MOST_BYTES = 8 * 1024 * 1024
"""Size of the rows in flight. Rows of a spreadsheet stay far below; NDJSON may have 64 KiB per row."""
_GATHER_SECONDS = 0.02
"""Pause after results have come, so that the next poll returns more."""
_LOOK_SECONDS = 0.1
_SYNC_SECONDS = 1.0
_REST_SECONDS = 0.02
_MOST_EARLY = 50_000
"""Results to keep while the broker acknowledges nothing; then reading stops."""
_PROBES = 20
"""If as many first answers refuse the credentials, all others would."""
_MOST_HELD = 1_000


class NoAnswers(Exception):
    """Answers to waiting rows do not come; the text says why the verb gives up."""


class Denied(Exception):
    """The worker refuses the credentials; the text says how, and what to do."""


class Submission:
    """Sends rows of a file. The answers file keeps all its state: another submission continues from there.

    The first rows are sent alone, to try the credentials. If all of them are denied, their answers are not written, so
    that the same command with better credentials sends these rows again.
    """

    def __init__(self, settings: Settings, credentials: Credentials, pace: Pace, answers: AnswersFile) -> None:
        self._credentials, self._pace, self._answers = credentials, pace, answers
        self._watcher = ResultWatcher(settings)
        self._batches = CommandBatches(settings)
        self._window = RowWindow(settings.topic_commands, self._write)
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._last_news = 0.0
        self._held: list[tuple[Row, RowAnswer]] | None = []
        """Answers that are not written yet; None once the credentials have proved good."""
        self._denied: list[RowAnswer] = []
        self._sent = 0

    async def run(self, rows: Iterator[Row], stop: asyncio.Event, show_progress: Callable[[], None]) -> None:
        """Send rows until all are answered. When asked to stop, only wait for the answers of those that were sent.

        `show_progress` is called about ten times a second. Raises `CLUSTER_ERRORS`, `NoAnswers`, `Denied`,
        `CannotWrite`, and the errors of reading the rows.
        """
        is_over = False
        try:
            # Before the first send, since the watcher reads from the ends of the logs as they are now.
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
                if not self._window:
                    self._last_news = time.monotonic()
                elif time.monotonic() - self._last_news > self._pace.patience:
                    raise NoAnswers(
                        f"no answer came for {self._pace.patience:g} s, and {len(self._window):,} rows wait: "
                        "is a worker running?"
                    )
            await asyncio.sleep(0)  # let `_ended` run for a task that has just failed
            if self._failure is not None:
                raise self._failure
            is_over = True
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.gather(self._watcher.close(), self._batches.close())
            if not is_over:  # refused credentials say nothing about rows: the same command sends these again
                self._held = [*takewhile(lambda held: held[1].status not in DENIED, self._held or [])]
            # Rows with a written answer count as answered: the same command would skip them.
            if not isinstance(self._failure, Denied):
                self._release()
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

    def _write(self, row: Row, answer: RowAnswer) -> None:
        self._last_news = time.monotonic()
        if self._held is None:
            self._answers.append(row, answer)
            return
        self._held.append((row, answer))
        if answer.status in DENIED:
            self._denied.append(answer)
            if len(self._denied) == _PROBES:
                kinds = " or ".join(dict.fromkeys(f"{denied.status} {denied.error}" for denied in self._denied))
                advice = about_credentials(self._denied[0].error)
                raise Denied(f"the first {_PROBES} answers are all {kinds}, so sending has stopped. {advice}")
        # A bad row was not sent, so it proves nothing about the credentials. After a denied row it waits, since
        # answers are written in order. The bound is for files of many bad rows.
        elif answer.outcome != INVALID or not self._denied or len(self._held) > _MOST_HELD:
            self._release(is_proved=answer.outcome != INVALID or bool(self._denied))

    def _release(self, *, is_proved: bool = True) -> None:
        held, self._held = self._held or [], None if is_proved else []
        for row, answer in held:
            self._answers.append(row, answer)

    async def _watch(self) -> None:
        window = self._window
        while True:
            if window.early > _MOST_EARLY:
                await asyncio.sleep(_REST_SECONDS)
                continue
            records = await self._watcher.poll()
            for record in records:
                cause = cause_of(record.headers)
                if cause is not None and window.expects(cause) and window.hear(cause, row_answer_of(record)):
                    self._last_news = time.monotonic()
            if records:
                await asyncio.sleep(_GATHER_SECONDS)

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(_SYNC_SECONDS)
            syncing = asyncio.create_task(asyncio.to_thread(self._answers.sync))
            try:
                await asyncio.shield(syncing)
            finally:  # a thread cannot be cancelled, and it keeps the lock of a file that is closed meanwhile
                await asyncio.wait([syncing])

    async def _send(self, rows: Iterator[Row], stop: asyncio.Event, partition_of: Callable[[bytes], int]) -> None:
        pace = self._pace
        allowance = None if pace.rate is None else Allowance(pace.rate, time.monotonic())
        while not stop.is_set():
            room = pace.in_flight - len(self._window)
            least = min(_AT_ONCE, max(1, pace.in_flight // 2))
            if self._held is not None:
                least, room = 1, min(room, _PROBES - self._sent)
            if allowance is not None:
                least, room = 1, min(room, allowance.available(time.monotonic()))
            if room < least or self._window.kept_bytes > _MOST_BYTES:
                await asyncio.sleep(_REST_SECONDS)
                continue
            chunk, size = list[Row](), 0
            for row in islice(rows, min(room, _AT_ONCE)):
                chunk.append(row)
                size += len(row.kept)
                if size > _BYTES_AT_ONCE:
                    break
            if not chunk:
                return
            if allowance is not None:
                allowance.take(len(chunk))
            await self._send_chunk(chunk, partition_of)

    async def _send_chunk(self, rows: list[Row], partition_of: Callable[[bytes], int]) -> None:
        at = time.time()
        lanes: dict[int, tuple[list[Slot], list[Event]]] = {}
        for row in rows:
            command = row.command
            if command is None:
                self._window.add(row, row.invalid())
                continue
            gtin, key = record_key(command.body), idempotency_key(command.body)
            content_type = CLOUD_EVENT[1] if command.is_cloud_event else None
            proof = self._credentials.headers(command.value, key, content_type, at)
            headers = [*proof, ("idempotency-key", key.encode("ascii"))]
            if command.is_cloud_event:
                headers.append(CLOUD_EVENT)
            slots, commands = lanes.setdefault(partition_of(gtin), ([], []))
            commands.append(Event(gtin, command.value, headers))
            self._sent += 1
            slots.append(self._window.add(row.without_content()))
        for partition, (slots, commands) in lanes.items():
            # Before the send: a result may come while `publish` still waits, and would count as another producer's.
            self._window.handed_over(partition, len(slots))
            waiting = iter(slots)
            for delivery in await self._batches.publish(partition, commands):
                self._begin(self._acknowledge(delivery, partition, list(islice(waiting, delivery.commands))))

    async def _acknowledge(self, delivery: Delivery, partition: int, slots: list[Slot]) -> None:
        first = (await delivery.acknowledged).offset
        if first < 0:  # after a retry: the broker has the commands already
            raise NoAnswers("the broker has forgotten the offsets of some commands, so their answers cannot be found")
        self._window.acknowledged(partition, first, slots)
