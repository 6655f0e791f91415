"""`passport-worker lanes reset`: halted lanes go on, and each command has exactly one result all the same."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.structs import TopicPartition
from confluent_kafka import KafkaException

from tests.end_to_end.test_replay_and_members import commit_offset
from tests.integration.guards_helpers import expire
from tests.invariants import check_invariants
from tests.operations.asking import Told, answered, ask
from tests.operations.mixture import as_role
from tests.workbench import Workbench, tenant, until
from worker.settings import Settings
from worker.store.port import Position, TopicIdentity
from worker.stream.cluster.offset_fetch_v7 import Committed, UnstableOffset
from worker.stream.lane_positions import LanePositions
from worker.stream.positions import Log
from worker.tools.common.journal import Author
from worker.tools.common.progress import Progress
from worker.tools.common.rights import RUN
from worker.tools.common.servers import both_servers
from worker.tools.lanes import lost_lanes as module
from worker.tools.lanes.reset import EXPIRED, Target, _Resetting, reset, target_of, why_not

EXECUTE = ("--execute", "--reason", "somebody mistyped")
HERE = TopicIdentity("cluster-1", "topic-1")
APPLIED = Position(applied=100, emitted=90, ledger_from=50, topic=HERE)


@pytest.mark.parametrize(
    ("emitted", "published", "first", "wanted"),
    [
        (120, 0, 0, Target(100, 90)),
        (120, 95, 0, Target(100, 95)),
        (120, 100, 0, Target(100, 100)),
        (120, 101, 0, Target(100, 120, "commits-lost")),
        (49, 0, 0, Target(100, 90)),
        (49, 100, 0, Target(100, 100)),
        (95, 0, 110, Target(110, 95, EXPIRED)),
        (120, 97, 110, Target(110, 97, EXPIRED)),
        (90, 0, 201, Target(201, 90, EXPIRED)),
    ],
)
def test_where_a_lane_goes_on(emitted: int, published: int, first: int, wanted: Target) -> None:
    """Where results end, as Kafka shows or Postgres knows it; never beyond what was decided."""
    assert target_of(LanePositions(APPLIED, emitted, Log(HERE, first, 201), is_new=False), published) == wanted


@pytest.mark.parametrize(
    ("log", "lost", "code"),
    [
        (Log(TopicIdentity("cluster-1", "topic-2"), 0, 200), None, "other-topic"),
        (Log(HERE, 0, 99), None, "log-shorter"),
        (Log(HERE, 0, 200), "results were published that it does not know", "commits-lost"),
    ],
)
def test_where_no_position_is_right(log: Log, lost: str | None, code: str) -> None:
    """The lane stays where it is."""
    assert target_of(LanePositions(APPLIED, 120, log, is_new=False, lost_commits=lost), 0) == Target(100, 120, code)


@pytest.mark.parametrize(
    ("standing", "published", "told"),
    [
        (LanePositions(APPLIED, 120, Log(HERE, 110, 200), is_new=False), 100, "--allow commands-expired"),
        (LanePositions(APPLIED, 120, Log(HERE, 0, 90), is_new=False), 90, "Use a new topic name"),
        (LanePositions(APPLIED, 95, Log(HERE, 110, 200), is_new=False), 105, "`passport-worker lanes recover`"),
    ],
)
def test_what_is_told_fits_what_is_in_the_way(standing: LanePositions, published: int, told: str) -> None:
    """Never what was refused just now, nor what would have commands answered twice."""
    code = target_of(standing, published).obstacle
    assert code is not None
    text = why_not(code, standing, published)
    assert told in text
    assert ("--allow" in text) is (code == EXPIRED)
    assert "by hand" not in text


async def test_an_offset_that_a_fenced_transaction_may_still_move_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its marker is on its way. Seen to fail: the lane was taken for one that others had moved."""
    offsets = iter([UnstableOffset(), Committed(15, "")])

    async def committed(_group: str, partitions: list[TopicPartition]) -> dict[TopicPartition, object]:
        return {partition: next(offsets) for partition in partitions}

    monkeypatch.setattr(module, "LOOK_SECONDS", 0.0)
    both: Any = SimpleNamespace(settings=Settings(), cluster=SimpleNamespace(committed=committed))
    assert await module.offsets_once_stable(both, [0]) == {0: 15}


def _positions(told: Told) -> list[tuple[int, ...]]:
    names = ("applied", "emitted", "appliedAfter", "emittedAfter")
    return [tuple(lane[name] for name in names) for lane in told.report["lanes"]]


def _more(bench: Workbench, count: int) -> list[dict[str, Any]]:
    return [{**bench.command(tenant(0), 0, f"more{n}"), "partition": 0} for n in range(count)]


def _set_ahead(bench: Workbench) -> bool:
    try:
        commit_offset(bench, 0, 40)
    except KafkaException:
        return False
    return True


async def _all_answered(bench: Workbench, log: Path, count: int) -> None:
    worker = bench.start_worker(log)
    await bench.wait_for_results(count)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    assert len(await check_invariants(bench)) == count
    assert (await ask(bench, "audit")).code == 0


@pytest.mark.real_kafka
async def test_an_offset_set_ahead_goes_back_to_where_results_end(bench: Workbench, tmp_path: Path) -> None:
    """What was decided and not published is published then: back to A, as one would by hand, it never would be."""
    await answered(bench, tmp_path / "first.log", 20)
    bench.publish(_more(bench, 6))
    worker = bench.start_worker(tmp_path / "second.log", crash="after COMMIT:1:kill")
    await until(lambda: worker.poll() is not None, 30, "a crash")
    await until(lambda: _set_ahead(bench), 30, "a group without the member that died")
    async with as_role(bench.settings.database_url, RUN) as url:
        told = await ask(bench, "lanes reset", PASSPORT_DATABASE_URL=url)
        first, second = _positions(told)
        assert (told.report["executed"], first[1:], second) == (False, (40, first[0], 10), (10, 10, 10, 10))
        assert first[0] > 10
        assert _positions(await ask(bench, "lanes reset", "0", *EXECUTE, PASSPORT_DATABASE_URL=url)) == [first]
    await _all_answered(bench, tmp_path / "third.log", 26)


@pytest.mark.real_kafka
async def test_an_offset_below_the_ledger_goes_to_where_results_end(bench: Workbench, tmp_path: Path) -> None:
    """Nothing comes twice."""
    await answered(bench, tmp_path / "first.log", 20)
    connection = await bench.connect()
    await connection.execute("UPDATE lane SET ledger_from = 5")
    await connection.close()
    commit_offset(bench, 0, 3)
    told = await ask(bench, "lanes reset", *EXECUTE)
    assert (told.report["executed"], _positions(told)) == (True, [(10, 3, 10, 10), (10, 10, 10, 10)])
    bench.publish(_more(bench, 1))
    await _all_answered(bench, tmp_path / "second.log", 21)


@pytest.mark.real_kafka
async def test_expired_commands_are_passed_over_where_that_is_allowed(bench: Workbench, tmp_path: Path) -> None:
    """Those that the log still has are answered."""
    await answered(bench, tmp_path / "first.log", 20)
    bench.publish(_more(bench, 6))
    await expire(bench, 13)
    told = await ask(bench, "lanes reset", *EXECUTE)
    assert (told.codes, told.report["executed"]) == ([EXPIRED], False)
    assert "Publish commands 10 to 12 again" in told.report["problems"][0]["text"]
    told = await ask(bench, "lanes reset", "--allow", EXPIRED, *EXECUTE)
    assert _positions(told) == [(10, 10, 13, 10), (10, 10, 10, 10)]
    worker = bench.start_worker(tmp_path / "second.log")
    results = await bench.wait_for_results(23)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    answers = sorted(one.cause for one in results if one.cause.startswith(f"{bench.settings.topic_commands}/0/1"))
    assert [cause.rpartition("/")[2] for cause in answers] == ["1", "13", "14", "15"]


@pytest.mark.real_kafka
async def test_lost_commits_and_running_workers_are_refused(bench: Workbench, tmp_path: Path) -> None:
    """Nothing is moved; and where nothing is halted there is nothing to move."""
    await answered(bench, tmp_path / "first.log", 20)
    assert _positions(await ask(bench, "lanes reset", *EXECUTE)) == [(10, 10, 10, 10)] * 2
    commit_offset(bench, 0, 15)
    worker = bench.start_worker(tmp_path / "second.log")
    await until(lambda: "lane_halted" in (tmp_path / "second.log").read_text(), 30, "a halted lane")
    told = await ask(bench, "lanes reset", *EXECUTE)
    assert (told.codes, told.report["executed"]) == (["group-active"], False)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    connection = await bench.connect()
    await connection.execute("UPDATE lane SET applied = 4, emitted = 4 WHERE partition = 1")
    await connection.close()
    told = await ask(bench, "lanes reset", *EXECUTE)
    assert (told.codes, told.report["executed"]) == (["commits-lost"] * 2, False)
    assert [(lane["applied"], lane["emitted"]) for lane in (await ask(bench, "lanes")).report["lanes"]] == [
        (10, 15),
        (4, 10),
    ]


@pytest.mark.real_kafka
async def test_a_reset_that_slept_before_it_writes_moves_nothing(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lane was taken by others meanwhile, or its offset was moved. Seen to fail: results came twice afterwards."""
    await answered(bench, tmp_path / "first.log", 20)
    commit_offset(bench, 0, 15)
    move, told = _Resetting.move, list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))

    async def codes_after(meanwhile: Callable[[], Awaitable[object]]) -> list[str]:
        async def slept(resetting: _Resetting, *arguments: Any) -> Any:
            monkeypatch.setattr(_Resetting, "move", move)
            await meanwhile()
            return await move(resetting, *arguments)

        monkeypatch.setattr(_Resetting, "move", slept)
        async with both_servers(bench.settings) as servers:
            report = await reset(servers, (0,), Progress(), allow=frozenset(), author=Author("test", "slept"))
        assert not report.executed
        return [one.code for one in report.problems]

    async def others_go_on() -> None:
        """Another reset, workers, and somebody who sets the offset to just where it was."""
        assert (await ask(bench, "lanes reset", *EXECUTE)).report["executed"]
        bench.publish(_more(bench, 6))
        await _all_answered(bench, tmp_path / "second.log", 26)
        commit_offset(bench, 0, 15)

    assert await codes_after(lambda: asyncio.to_thread(commit_offset, bench, 0, 12)) == ["offset-moved"]
    commit_offset(bench, 0, 15)
    assert await codes_after(others_go_on) == ["offset-moved"]
    lane, _ = (await ask(bench, "lanes")).report["lanes"]
    assert (lane["applied"] > 15, lane["emitted"]) == (True, 15)
    gc.collect()
    assert told == [], "an operator sees no errors of a client that is given up"
