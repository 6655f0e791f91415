"""Writing what `lanes recover` has planned, without servers: not while a worker could decide the same commands anew."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker.settings import Settings
from worker.store.port import ExpectedPosition, FencingToken, LaneName, LostLane, Registered, StoreUnavailable
from worker.store.postgres import PostgresStore
from worker.tools.common.connected import Connected
from worker.tools.common.findings import Findings
from worker.tools.common.journal import Author
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.lanes import command_line
from worker.tools.lanes import recover as recover_module
from worker.tools.lanes import recovery_write as module
from worker.tools.lanes.lost_lanes import LaneWithLostCommits
from worker.tools.lanes.recovery_plan import LanePlan
from worker.tools.lanes.recovery_write import Writer
from worker.tools.lanes.report import RecoverReport
from worker.tools.lanes.taking_lanes import CannotWrite

SETTINGS = Settings()
TOKEN = FencingToken(LaneName(SETTINGS.group_id, SETTINGS.topic_commands, 0), 7, 3, "producer")


class _Store:
    """Notes where transactions would lead; the first ones find the lane in other hands."""

    def __init__(self, lost: int = 0) -> None:
        self.written: list[int] = []
        self._lost = lost

    @asynccontextmanager
    async def transaction(self, expected: Sequence[ExpectedPosition]) -> AsyncIterator[Any]:
        if self._lost:
            self._lost -= 1
            raise LostLane([one.token for one in expected])
        yield self

    async def reserve(self, *_: object) -> None:
        pass

    async def record(self, created: object, answers: object, positions: Sequence[int]) -> None:
        self.written += positions


class _Plan:
    """Two chunks, without a refusal."""

    refusals = Findings(5)

    async def chunks(self) -> AsyncIterator[tuple[int, list[Any]]]:
        for stop in (15, 20):
            yield stop, []


def _lost(published_end: int, emitted: int | None, lane_id: int | None) -> LaneWithLostCommits:
    since = datetime(2026, 11, 1, tzinfo=UTC)
    return LaneWithLostCommits(
        cast(Connected, SimpleNamespace(settings=SETTINGS)), 0, 10, emitted, published_end, since, lane_id
    )


async def _write(monkeypatch: pytest.MonkeyPatch, store: _Store, lost: LaneWithLostCommits, *has_members: bool) -> None:
    """`has_members` is the answer of the group, each time that somebody asks; the last one stays."""
    answers = [*has_members]

    async def members(*_: object) -> bool:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def take_over(*_: object) -> dict[int, Registered]:
        return {0: Registered(TOKEN, frozenset())}

    monkeypatch.setattr(module, "has_members", members)
    monkeypatch.setattr(module, "take_over", take_over)
    both = cast(Connected, SimpleNamespace(settings=SETTINGS, cluster=None))
    writer = Writer(both, cast(PostgresStore, store), {0: Registered(TOKEN, frozenset())})
    await writer.write(cast(LanePlan, _Plan()), lost, Progress())


@pytest.mark.parametrize("lane_id", [7, None], ids=["a lane of Postgres", "a lane that Postgres does not know"])
@pytest.mark.parametrize("emitted", [12, None], ids=["E below the results", "no E"])
async def test_nothing_is_written_where_a_worker_could_decide_anew(
    monkeypatch: pytest.MonkeyPatch, emitted: int | None, lane_id: int | None
) -> None:
    """Once A passes E, nothing looks wrong to that worker, and it would answer the published commands again."""
    store = _Store()
    with pytest.raises(CannotWrite, match="workers have started"):
        await _write(monkeypatch, store, _lost(20, emitted, lane_id), True)
    assert store.written == []


async def test_a_worker_that_starts_meanwhile_ends_the_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has registered the lane, so the transaction fails, and the group is asked again."""
    store = _Store(lost=1)
    with pytest.raises(CannotWrite, match="workers have started"):
        await _write(monkeypatch, store, _lost(20, 12, 7), False, True)
    assert store.written == []


@pytest.mark.parametrize(("emitted", "has_members"), [(20, True), (12, False)], ids=["workers halt", "no workers"])
async def test_where_nobody_can_decide_anew_all_is_written(
    monkeypatch: pytest.MonkeyPatch, emitted: int, has_members: bool
) -> None:
    """E at the end of the results halts every worker until the lane is recovered, so workers may go on running."""
    store = _Store(lost=1)
    lane = _lost(20, emitted, 7)
    await _write(monkeypatch, store, lane, has_members)
    assert (store.written, lane.has_written) == ([15, 20], True)


async def _recover(
    monkeypatch: pytest.MonkeyPatch, write: Callable[..., Awaitable[list[Problem]]], notes: list[RecoverReport]
) -> RecoverReport:
    """Recover a lane with this way to write."""
    lane = _lost(20, 20, 7)

    @asynccontextmanager
    async def open_servers(_: object) -> AsyncIterator[list[Connected]]:
        lane.channel = cast(Connected, SimpleNamespace(settings=SETTINGS, database=SimpleNamespace(connection=None)))
        yield [lane.channel]

    @asynccontextmanager
    async def keep(*_: object) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(progress={}, id="id")

    async def take_over(*_: object) -> dict[int, Registered]:
        return {}

    async def plan(*_: object) -> tuple[RecoverReport, list[LaneWithLostCommits]]:
        return RecoverReport(executed=False, operation=None, warnings=("of the plan",), lanes=()), [lane]

    fakes = {
        "connected_channels": open_servers,
        "operation": keep,
        "take_over": take_over,
        "_plan": plan,
        "_write": write,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(recover_module, name, fake)
    request = recover_module.RecoverRequest((), None, frozenset(), Author("a test", ""))
    return await recover_module.recover(cast(Any, None), request, Progress(), notes.append)


async def test_a_recovery_that_was_written_says_so_although_an_offset_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail: the report and the row of `operation` said that nothing was executed."""

    async def write(*_: object) -> list[Problem]:
        return [Problem(code="offset-moved", text="The group's offset has moved meanwhile.")]

    report = await _recover(monkeypatch, write, [])
    assert (report.executed, report.ok) == (True, False)


@pytest.mark.parametrize("has_written", [True, False])
@pytest.mark.parametrize(
    ("error", "code"), [(CannotWrite("others hold it"), "not-written"), (StoreUnavailable("away"), "postgres-away")]
)
def test_a_recovery_that_fails_in_the_middle_says_what_it_did(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: str,
    has_written: bool,
) -> None:
    """Seen to fail: the report said that nothing was executed, and did not name the row of `operation`."""

    async def write(_: object, lanes: Sequence[LaneWithLostCommits], *__: object) -> list[Problem]:
        lanes[0].has_written = has_written
        raise error

    async def recover(*arguments: Any) -> RecoverReport:
        notes = list[RecoverReport]()
        try:
            return await _recover(monkeypatch, write, notes)
        finally:
            arguments[-1](notes[-1])

    def ask_long(
        question: Callable[[Any, Any], Coroutine[Any, Any, RecoverReport]],
        failed: Callable[[Problem], RecoverReport],
        *_: object,
    ) -> RecoverReport:
        try:
            return asyncio.run(question(None, None))
        except StoreUnavailable as error:
            return failed(Problem(code="postgres-away", text=str(error)))

    monkeypatch.setattr(command_line, "recover", recover)
    monkeypatch.setattr(command_line, "ask_long", ask_long)
    with pytest.raises(SystemExit):
        command_line.recover_command(as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert (report["executed"], report["operation"], report["warnings"]) == (has_written, "id", ["of the plan"])
    assert [problem["code"] for problem in report["problems"]] == [code]
