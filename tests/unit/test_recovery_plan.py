"""Planning what `lanes recover` writes, by logs in memory: results are found wherever a log has them."""

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.builders import NOW_MS, TOPIC, as_json, record
from worker.domain.command import DeadLetter
from worker.domain.outcomes import Unreadable
from worker.messages.envelope import Record
from worker.messages.events import Answer, Event, dead_letter_event, event_of
from worker.messages.rules import REFUSALS, Kind
from worker.settings import Settings
from worker.stream.log_reader import Bounds, LogReader
from worker.tools.common.connected import Connected
from worker.tools.common.history import LOOK_AHEAD, Topics
from worker.tools.lanes.recovery_plan import plan_from_kafka
from worker.tools.lanes.restored_command import source_of

SETTINGS = Settings()
SINCE = datetime(2026, 5, 9, tzinfo=UTC)
COMMANDS = [record(offset=offset) for offset in range(10 * LOOK_AHEAD)]
MISSING = (10, 11)
NO_JSON = 11
LETTER = DeadLetter(b"k", b"{", (), "unreadable")
AT_ONCE = 20


class _Logs(LogReader):
    """Logs in memory, each in records of partition 3."""

    def __init__(self, logs: dict[str, list[Record]]) -> None:
        self._logs = logs
        self.read_from: list[str] = []

    async def bounds(self, topic: str, partitions: Collection[int]) -> dict[int, Bounds]:
        return dict.fromkeys(partitions, Bounds(0, len(self._logs[topic])))

    async def first_since(self, _topic: str, partitions: Collection[int], _time: datetime) -> dict[int, int]:
        return dict.fromkeys(partitions, 0)

    async def record(self, topic: str, _partition: int, offset: int) -> Record | None:
        return self._logs[topic][offset]

    async def read(
        self, topic: str, _partition: int, start: int, stop: int, *, fetch_bytes: int = 0
    ) -> AsyncIterator[list[Record]]:
        self.read_from.append(topic)
        for at in range(start, stop, AT_ONCE):
            yield self._logs[topic][at : min(stop, at + AT_ONCE)]


def _result(offset: int) -> Event:
    error = REFUSALS[Unreadable].error if offset == NO_JSON else "Unauthorized"
    return event_of(Answer(offset, NOW_MS, Kind.REJECTED, f"{TOPIC}:3:{offset}", as_json({"error": error})), TOPIC, 3)


def _logs(causes: Sequence[int]) -> _Logs:
    """Results of these commands in this order, and a dead letter of the one that is no JSON."""
    events = {topic: list[Event]() for topic in SETTINGS.answer_topics}
    for at in causes:
        events[SETTINGS.topic_rejected].append(_result(at))
        if at == NO_JSON:
            letter = dead_letter_event(LETTER, source_of(COMMANDS[at]), SETTINGS.group_id)
            events[SETTINGS.dead_letter_topic].append(letter)
    logs = {
        topic: [Record(topic, 3, at, NOW_MS, *event) for at, event in enumerate(own)] for topic, own in events.items()
    }
    return _Logs({TOPIC: COMMANDS, **logs})


async def _planned(logs: _Logs) -> tuple[list[int], dict[str, int]]:
    """The offsets that would be restored, in order, and why not all are."""
    topics = Topics(SETTINGS, dict.fromkeys(SETTINGS.all_topics, 4))
    both = cast(Connected, SimpleNamespace(reader=logs, topics=topics, settings=SETTINGS))
    async with plan_from_kafka(both, 3, (0, len(COMMANDS)), SINCE) as plan:
        restored = [command.answer.offset async for _, chunk in plan.chunks() for command in chunk]
        return restored, dict(plan.refusals.counts)


@pytest.mark.parametrize("behind", [MISSING, MISSING[::-1]], ids=str)
async def test_results_that_were_missing_and_were_replayed_are_restored(behind: Sequence[int]) -> None:
    """They stand at the end of the log, once each. Seen to fail: all lanes stayed halted."""
    causes = [*(at for at in range(len(COMMANDS)) if at not in MISSING), *behind]
    assert await _planned(_logs(causes)) == ([*range(len(COMMANDS))], {})


async def test_a_result_that_no_log_has_is_missing() -> None:
    """Seen while those that were replayed were looked for."""
    causes = [at for at in range(len(COMMANDS)) if at not in MISSING]
    assert await _planned(_logs([*causes, NO_JSON])) == ([*causes[:10], NO_JSON, *causes[10:]], {"result-missing": 1})


async def test_logs_are_read_once_where_no_result_is_missing() -> None:
    """A second reading costs as much as the first."""
    logs = _logs(range(len(COMMANDS)))
    assert await _planned(logs) == ([*range(len(COMMANDS))], {})
    assert logs.read_from.count(SETTINGS.topic_rejected) == 1
