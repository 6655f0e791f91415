"""The audit of a lane over a history in memory: results out of order, and results that came again."""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import TopicAuthorizationFailedError

from tests.unit.builders import NOW_MS, TOPIC, record
from worker.messages.envelope import Record
from worker.messages.events import Answer, event_of
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.store.port import Position
from worker.tools.audit import lane_audit
from worker.tools.audit.audit import _judge_expiry, _LaneLedger, _note_doubled
from worker.tools.audit.command_line import _verdict
from worker.tools.audit.lane_audit import LaneAudit
from worker.tools.audit.report import AuditedLane, AuditReport
from worker.tools.audit.strays import Strays
from worker.tools.common.findings import Findings
from worker.tools.common.history import CommandWindow, History, Named, NamingLog, Topics
from worker.tools.common.inspection import Covered, Inspection, LaneRow
from worker.tools.common.report import Problem
from worker.tools.common.servers import Servers
from worker.tools.lanes.recovery_plan import MOST_PLACES

COMMANDS = 5
HOUR_MS = 3_600_000
ANSWERS = [Answer(offset, NOW_MS, Kind.REJECTED, f"key-{offset}", b"{}") for offset in range(COMMANDS)]


class _History(History):
    """Five commands of partition 3, and one log of results, which name these offsets in this order.

    The window of the commands ends before the `late` ones.
    """

    def __init__(self, causes: Sequence[int], late: Sequence[int] = (), dropped_ms: float = -inf) -> None:
        nothing: Any = SimpleNamespace(tell=lambda *_: None)
        log = NamingLog(("r", 3), 9, dropped_ms, nothing)
        super().__init__((TOPIC, 3), (0, COMMANDS), nothing, {Kind.REJECTED: log})
        named = [Named(cause, _result(at, cause)) for at, cause in enumerate([*causes, *late])]
        self._results = [named[: len(causes)], named[len(causes) :]]

    async def windows(self) -> AsyncIterator[CommandWindow]:
        """All at once."""
        yield CommandWindow(0, COMMANDS, [record(offset=offset) for offset in range(COMMANDS)])

    async def named(self, stop: int) -> AsyncIterator[tuple[Kind | None, list[Named]]]:
        """The results of the window, then the late ones."""
        if self._results:
            yield Kind.REJECTED, self._results.pop(0)


def _result(offset: int, cause: int) -> Record:
    key, value, headers = event_of(ANSWERS[cause], TOPIC, 3)
    return Record("rejected", 3, offset, NOW_MS, key, value, headers)


@dataclass
class _Ledger:
    """The rows of all commands. Those below `dropped` vanish with query number `since`."""

    dropped: int = 0
    since: int = 0
    queries: int = 0

    async def read(self, start: int, stop: int) -> Sequence[Answer]:
        self.queries += 1
        return ANSWERS[max(start, await self.begins()) : stop]

    async def begins(self) -> int:
        return self.dropped if self.queries >= self.since else 0


async def _audited(
    causes: Sequence[int], late: Sequence[int] = (), ledger: _Ledger | None = None, dropped_ms: float = -inf
) -> LaneAudit:
    ledger = ledger or _Ledger()

    async def advance(_done: int, _paced: int) -> None:
        """Nobody looks on."""

    async def decided() -> int:
        return COMMANDS

    strays = Strays(Topics(Settings(), {}), 3, decided, Findings(MOST_PLACES))
    lane = LaneAudit(_History(causes, late, dropped_ms), ledger.read, ledger.begins, "group", strays)
    await lane.run(advance)
    return lane


def _findings(lane: LaneAudit) -> list[tuple[str, int]]:
    return [(found.code, int(str(found.place).rpartition("/")[2])) for found in lane.findings.first]


@pytest.mark.parametrize(
    ("causes", "places"),
    [([0, 1, 2, 3, 4], []), ([0, 1, 3, 2, 4], [2]), ([1, 0, 2, 3, 4], [0]), ([0, 4, 1, 2, 3], [1, 2, 3])],
    ids=str,
)
async def test_a_result_behind_that_of_a_later_command_is_out_of_order(causes: list[int], places: list[int]) -> None:
    """The place in the log does not matter. A repeat behind all of them is no disorder."""
    lane = await _audited([*causes, *range(COMMANDS)])
    assert _findings(lane) == [("out-of-order", place) for place in places]


@pytest.mark.parametrize(
    ("partition", "start", "stop", "places"), [(3, 1, 4, []), (3, 1, 3, [3]), (3, 2, 4, [1]), (2, 1, 4, [1, 2, 3])]
)
async def test_what_comes_again_is_accounted_for_by_its_operation(
    partition: int, start: int, stop: int, places: list[int]
) -> None:
    """A range covers the offsets from its start to below its stop, of its partition alone."""
    lane = await _audited([*range(COMMANDS), 1, 2, 3])
    _note_doubled(lane, 3, [Covered(partition, start, stop)])
    assert _findings(lane) == [("doubled", place) for place in places]


@pytest.mark.parametrize(("since", "expired"), [(1, 2), (2, 0)], ids=["before the commands", "before the repeats"])
async def test_rows_that_are_dropped_meanwhile_are_no_finding(since: int, expired: int) -> None:
    """Housekeeping drops a day while other lanes are audited. Seen to fail: each command of that day was a finding."""
    lane = await _audited(range(COMMANDS), [0, 1, 2], _Ledger(2, since))
    assert (_findings(lane), lane.expired, lane.results) == ([], expired, COMMANDS + 3)


async def test_where_the_ledger_begins_is_asked_anew() -> None:
    """The row of the lane that the audit began with tells where it began then."""
    row = LaneRow(1, 1, Position(9, 9, 0))

    async def lanes(*_: object) -> dict[int, LaneRow]:
        return {3: replace(row, position=Position(9, 9, 2))}

    ledger = _LaneLedger(cast(Inspection, SimpleNamespace(lanes=lanes)), Settings(), 3, row)
    assert (await ledger.begins(), await ledger.decided(5)) == (2, 9)


@pytest.mark.parametrize(
    ("causes", "dropped_ms", "counts"),
    [
        ([3, 4], NOW_MS - HOUR_MS, (0, 3, 0)),
        ([3, 4], NOW_MS - HOUR_MS - 1, (3, 0, 0)),
        ([0, 1, 4], NOW_MS, (2, 0, 0)),
        ([3, 4], inf, (0, 0, 3)),
        ([], inf, (0, 0, COMMANDS)),
        ([0, 4], inf, (3, 0, 0)),
    ],
    ids=["old", "new", "behind the first", "nobody knows", "nobody knows of any", "nobody knows, behind the first"],
)
async def test_a_result_has_expired_if_its_command_is_older_than_the_log(
    monkeypatch: pytest.MonkeyPatch, causes: list[int], dropped_ms: float, counts: tuple[int, int, int]
) -> None:
    """Clocks differ by up to an hour. Seen to fail: any missing result had expired once a log had dropped a record."""
    monkeypatch.setattr(lane_audit, "LOOK_AGAIN_SECONDS", 0)
    lane = await _audited(causes, dropped_ms=dropped_ms)
    assert (lane.findings.counts["missing"], lane.expired, lane.unchecked) == counts


@pytest.mark.parametrize(
    ("dropped_ms", "retention", "producer_time", "expected"),
    [
        (-inf, "1", True, -inf),
        (NOW_MS, "1", False, NOW_MS),
        (NOW_MS, "1", True, inf),
        (inf, "86400000", False, None),
        (inf, "86400000", True, inf),
        (inf, "-1", False, -inf),
        (inf, None, False, inf),
    ],
)
async def test_an_empty_log_may_have_dropped_what_its_retention_drops(
    dropped_ms: float, retention: str | None, producer_time: bool, expected: float | None
) -> None:
    """A broker may not tell the retention, and times of producers mean nothing. None stands for a day ago."""

    async def topic_settings(_topic: str) -> dict[str, str]:
        if retention is None:
            raise TopicAuthorizationFailedError
        return {"retention.ms": retention}

    cluster = SimpleNamespace(topic_settings=topic_settings)
    servers = SimpleNamespace(cluster=cluster, settings=Settings(allow_producer_time=producer_time))
    logs = _History([], dropped_ms=dropped_ms)
    await _judge_expiry(cast(Servers, servers), logs)
    day_ago = pytest.approx((time.time() - 86_400) * 1000, abs=60_000)
    assert [log.dropped_ms for log in logs.logs.values()] == [day_ago if expected is None else expected]


@pytest.mark.parametrize(
    ("unchecked", "text"),
    [
        (0, "Promise kept: 300 commands, one result each."),
        (1700, "300 commands, no finding; 1,700 results could not be checked."),
    ],
)
def test_the_last_line_promises_no_more_than_was_checked(unchecked: int, text: str) -> None:
    """Seen to fail: the promise was kept, although each conflict was missing."""
    counts = dict.fromkeys(("results", "repeats", "expired"), 0) | {"commands": 300, "unchecked": unchecked}
    lane = AuditedLane(topic=TOPIC, partition=3, start=0, stop=300, findings={}, **counts)
    assert str(_verdict(AuditReport(lanes=(lane,)))) == text


def test_strays_where_no_lane_answers_are_counted() -> None:
    """Seen to fail before: `5 commands, 0 findings`, with exit code 1 and the finding above it."""
    lane = AuditedLane(
        topic="t", partition=0, start=0, stop=5, commands=5, results=5, repeats=0, expired=0, unchecked=0, findings={}
    )
    stray = Problem(code="foreign", place="created/7/0", text="it names no command")
    verdict = _verdict(AuditReport(problems=(stray,), lanes=(lane,), elsewhere={"foreign": 1}))
    assert verdict is not None
    assert verdict.plain == "5 commands, 1 finding"
