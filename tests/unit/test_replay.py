"""`passport-worker replay` without servers: a gap in the ledger ends it, and is never passed over in silence."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.store.port import Position
from worker.tools.cli.output import Page
from worker.tools.common.inspection import Inspection, LaneRow
from worker.tools.common.journal import Operation
from worker.tools.common.progress import Progress, paced
from worker.tools.common.servers import Servers
from worker.tools.replay import replay as module
from worker.tools.replay.command_line import _draw
from worker.tools.replay.destination import Destination
from worker.tools.replay.replay import AnswerFilter, CannotReplay
from worker.tools.replay.report import ReplayedLane, ReplayReport

STOP, WINDOW = 10, 4


class _Database:
    """A lane whose first days are dropped between two windows."""

    def __init__(self, dropped: dict[int, int]) -> None:
        """`dropped` is the new start of the ledger, by the number of the window that is read next."""
        self._dropped, self._windows, self._begins = dropped, 0, 0

    async def lanes(self, group_id: str, topic: str) -> dict[int, LaneRow]:
        return {0: LaneRow(7, 1, Position(STOP, STOP, self._begins))}

    async def ledger(self, lane_id: int, start: int, stop: int) -> list[Answer]:
        self._begins = self._dropped.get(self._windows, self._begins)
        self._windows += 1
        offsets = range(max(start, self._begins), stop)[:WINDOW]
        return [Answer(at, 0, Kind.CREATED, "k", b"{}") for at in offsets]


class _Replayer:
    """Notes the offsets that are published."""

    sent: list[int]

    def __init__(self, *_: object) -> None:
        pass

    async def start(self, cluster: object) -> int:
        return 0

    async def send(self, answers: Sequence[Answer], stop: int) -> None:
        self.sent.extend(answer.offset for answer in answers)

    async def close(self) -> None:
        pass


def _replay(monkeypatch: pytest.MonkeyPatch, dropped: dict[int, int]) -> Any:
    monkeypatch.setattr(_Replayer, "sent", [], raising=False)
    monkeypatch.setattr(module, "Replayer", _Replayer)
    servers = cast(Servers, SimpleNamespace(settings=Settings(), cluster=None))
    return module._Replay(
        servers, cast(Inspection, _Database(dropped)), AnswerFilter(), Destination(), paced(Progress(), 0.0)
    )


@pytest.mark.parametrize(("window", "published"), [(0, 0), (1, 4), (2, 8)])
async def test_days_that_are_dropped_meanwhile_end_it(
    monkeypatch: pytest.MonkeyPatch, window: int, published: int
) -> None:
    """Answers in front of the gap are out; those behind it are not, and the operator reads where the ledger begins."""
    with pytest.raises(CannotReplay, match="The ledger of partition 0 now begins at 9"):
        await _replay(monkeypatch, {window: 9}).run({0: (0, STOP)}, Operation(uuid4(), {}))
    assert _Replayer.sent == [*range(published)]


async def test_days_in_front_of_what_is_left_are_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their answers have been read already."""
    await _replay(monkeypatch, {1: 3, 2: 8}).run({0: (0, STOP)}, Operation(uuid4(), {}))
    assert _Replayer.sent == [*range(STOP)]


def test_a_resumed_replay_that_had_nothing_left(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C came behind the last transaction. Seen to fail before: it said that no answer fits."""
    lane = ReplayedLane(topic="t", partition=0, start=0, stop=5, next=5, records=0, bytes=0, outcomes={})
    _draw(Page(), ReplayReport(id="x", executed=True, lanes=(lane,)))
    assert capsys.readouterr().out.splitlines()[-1] == "Nothing was left to publish; the replay's id is x."
