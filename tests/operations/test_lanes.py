"""`passport-worker lanes`: each state made to happen, and each server away."""

import asyncio
import json
import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from aiokafka.structs import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.end_to_end.test_replay_and_members import commit_offset
from tests.operations.asking import Told, answered, ask
from tests.workbench import Workbench, run_command, tenant
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.log_reader import LogReader
from worker.tools.common import lanes as lanes_module
from worker.tools.common.group_view import PartitionView, group_view
from worker.tools.common.progress import Progress
from worker.tools.common.servers import Servers, both_servers
from worker.tools.lanes import reset as reset_module

pytestmark = pytest.mark.real_kafka


def _lanes(told: Told) -> list[dict[str, Any]]:
    lanes: list[dict[str, Any]] = told.report["lanes"]
    return lanes


async def test_lanes_that_never_ran(bench: Workbench) -> None:
    """Nothing is wrong while nothing waits; with commands and nobody to take them it is."""
    told = await ask(bench, "lanes")
    assert (told.code, [one["state"] for one in _lanes(told)]) == (0, ["never-run"] * 2)
    bench.publish([bench.command(tenant(0), 0, "u", partition=1)])
    told = await ask(bench, "lanes")
    assert (told.code, told.codes) == (1, ["lane-never-run"])
    assert told.report["problems"][0]["place"] == f"{bench.settings.topic_commands}/1"


async def test_lanes_in_step_name_their_member(bench: Workbench, tmp_path: Path) -> None:
    """With its host, A and E; and once the worker has stopped nobody has them, which is well while nothing waits."""
    worker = bench.start_worker(tmp_path / "worker.log")
    bench.publish({**bench.command(tenant(0), 0, f"u{n}"), "partition": 0} for n in range(5))
    await bench.wait_for_results(5)
    told = await ask(bench, "lanes")
    assert told.code == 0
    first, second = _lanes(told)
    assert [(one["state"], one["applied"], one["emitted"], one["logEnd"]) for one in (first, second)] == [
        ("in-step", 5, 5, 5),
        ("in-step", 0, 0, 0),
    ]
    assert first["member"].startswith("passport-worker-")
    assert (first["host"], first["lagRecords"], first["lagSeconds"]) == ("127.0.0.1", 0, 0)
    bench.stop_worker(worker)
    told = await ask(bench, "lanes")
    assert (told.code, {one["state"] for one in _lanes(told)}) == (0, {"unowned"})


async def test_a_lane_that_goes_on_while_it_is_looked_at_is_not_halted(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka is asked first: by the time that Postgres answers, A may be behind the end that the log had."""
    bench.start_worker(tmp_path / "worker.log")
    numbers = count()

    async def answer_some() -> None:
        first = next(numbers) * 10
        bench.publish(bench.command(tenant(0), 0, f"u{n}", partition=n % 2) for n in range(first, first + 10))
        await bench.wait_for_results(first + 10)

    async def view_and_more(settings: Settings, cluster: Cluster) -> dict[int, PartitionView]:
        found = await group_view(settings, cluster)
        await answer_some()
        return found

    await answer_some()
    monkeypatch.setattr(lanes_module, "group_view", view_and_more)
    async with both_servers(bench.settings) as servers:
        report = await lanes_module.lanes(servers)
        assert (report.problems, {one.state for one in report.lanes}) == ((), {"behind"})
        planned = await reset_module.reset(servers, (), Progress(), allow=frozenset(), author=None)
    assert planned.problems == ()


async def test_a_first_turn_while_lanes_are_looked_at_is_no_loss_of_commits(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka had no offset yet, so the results tell how far the lane is: they are read in front of A.

    Seen to fail before: results that came between both were taken for those of lost commits, and the lanes for halted.
    Seen to fail, too: the lag counted from the beginning of the log, so that `--until-answered` waited for nothing.
    """
    bench.publish(bench.command(tenant(0), 0, f"u{n}", partition=n % 2) for n in range(4))
    published = lanes_module.published_without_offset

    async def answered_first(servers: Servers, seen: lanes_module.Views) -> dict[TopicPartition, int]:
        worker = bench.start_worker(tmp_path / "worker.log")
        await bench.wait_for_results(4)
        await asyncio.to_thread(bench.stop_worker, worker)
        return await published(servers, seen)

    monkeypatch.setattr(lanes_module, "published_without_offset", answered_first)
    async with both_servers(bench.settings) as servers:
        report = await lanes_module.lanes(servers)
    assert (report.problems, {(one.applied, one.emitted, one.lag_records, one.state) for one in report.lanes}) == (
        (),
        {(2, 2, 0, "unowned")},
    )


async def test_what_waits_has_an_age(bench: Workbench, tmp_path: Path) -> None:
    """Of the record at E; nobody takes it, and that is wrong."""
    await answered(bench, tmp_path / "worker.log", 4)
    bench.publish([{**bench.command(tenant(0), 0, "later"), "partition": 0}])
    await asyncio.sleep(1.1)
    told = await ask(bench, "lanes")
    waiting, other = _lanes(told)
    assert (told.code, told.codes, waiting["state"], other["state"]) == (1, ["lane-unowned"], "unowned", "unowned")
    assert (waiting["lagRecords"], other["lagSeconds"]) == (1, 0)
    assert 1 <= waiting["lagSeconds"] < 60


async def test_an_age_that_nobody_could_read_is_not_zero(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader told where the log ends, and hung when it was asked for the record at E; the problem says so.

    Seen to fail before: commands that had waited for hours were 0.0 s old, and the console said that all lanes move.
    """
    await answered(bench, tmp_path / "worker.log", 4)
    bench.publish([{**bench.command(tenant(0), 0, "later"), "partition": 0}])

    async def hanging(*_: object) -> dict[int, int]:
        raise TimeoutError

    monkeypatch.setattr(LogReader, "appended_at", hanging)
    async with both_servers(bench.settings) as servers:
        report = await lanes_module.lanes(servers)
    assert [(lane.lag_records, lane.lag_seconds) for lane in report.lanes] == [(1, None), (0, 0.0)]
    assert [problem.code for problem in report.problems] == ["kafka-away", "lane-unowned"]


async def test_a_lane_that_is_behind(bench: Workbench, tmp_path: Path) -> None:
    """It has a worker, whose way to Postgres is blocked."""
    bench.start_worker(tmp_path / "worker.log")
    bench.publish([{**bench.command(tenant(0), 0, "first"), "partition": 0}])
    await bench.wait_for_results(1)
    connection = await bench.connect()
    async with connection.transaction():
        await connection.execute("LOCK TABLE company_usage IN EXCLUSIVE MODE")
        bench.publish([{**bench.command(tenant(0), 0, "second"), "partition": 0}])
        told = await ask(bench, "lanes")
    await connection.close()
    assert (told.code, [one["state"] for one in _lanes(told)]) == (0, ["behind", "in-step"])


async def test_a_halted_lane_says_why(bench: Workbench, tmp_path: Path) -> None:
    """As the worker's own log does, which it needs no access to."""
    await answered(bench, tmp_path / "worker.log", 4)
    commit_offset(bench, 0, 90)
    told = await ask(bench, "lanes")
    assert (told.code, told.codes, _lanes(told)[0]["state"]) == (1, ["lane-halted"], "halted")
    assert "E=90 (committed in Kafka), A=2 (applied in Postgres)" in _lanes(told)[0]["advice"]


async def test_one_server_away_leaves_what_the_other_knows(bench: Workbench, tmp_path: Path) -> None:
    """And one line names the one that is away."""
    await answered(bench, tmp_path / "worker.log", 4)
    away = await ask(bench, "lanes", PASSPORT_DATABASE_URL="postgresql://localhost:1/x")
    assert (away.code, away.codes) == (1, ["postgres-away"])
    assert [(one["applied"], one["emitted"], one["state"]) for one in _lanes(away)] == [(None, 2, "unknown")] * 2
    away = await ask(bench, "lanes", PASSPORT_KAFKA_BOOTSTRAP_SERVERS="localhost:1")
    assert (away.code, away.codes) == (1, ["kafka-away"])
    assert [(one["applied"], one["logEnd"], one["state"]) for one in _lanes(away)] == [(2, None, "unknown")] * 2


async def test_people_get_a_table(bench: Workbench, tmp_path: Path) -> None:
    """One line a lane, and what is wrong below."""
    await answered(bench, tmp_path / "worker.log", 4)
    commit_offset(bench, 1, 90)
    done = await asyncio.to_thread(run_command, "lanes", COLUMNS="200", **bench.environment)
    assert done.returncode == 1
    assert "partition" in done.stdout
    assert f"lane-halted {bench.settings.topic_commands}/1: E=90" in done.stdout


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
async def test_watching_ends_cleanly(bench: Workbench, name: signal.Signals) -> None:
    """A document a line, every two seconds; a signal ends it with 0, whatever the lanes' states."""
    watching = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "lanes", "--watch", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **bench.environment},
    )
    assert watching.stdout is not None
    reports = [json.loads(await asyncio.wait_for(watching.stdout.readline(), 30)) for _ in range(2)]
    assert [len(report["lanes"]) for report in reports] == [2, 2]
    watching.send_signal(name)
    assert (await watching.communicate(), watching.returncode) == ((b"", b""), 0)


async def test_repairs_of_lanes_without_a_fault_say_that_nothing_is_to_do(bench: Workbench, tmp_path: Path) -> None:
    """And a replay says how many answers of each outcome it would publish; `--execute` is not offered in vain."""
    await answered(bench, tmp_path / "worker.log", 4)
    for arguments, lines in (
        (("lanes", "recover"), ["No lane lacks commits: there is nothing to recover."]),
        (
            ("lanes", "recover", "--execute", "--reason", "a test"),
            ["No lane lacks commits: there is nothing to recover."],
        ),
        (("lanes", "reset"), ["No lane is halted by its position: there is nothing to move."]),
        (("replay",), ["4 created", "Nothing was published. To do it, add --execute --reason TEXT."]),
        (("replay", "--outcome", "forbidden"), ["No answer matches."]),
    ):
        done = await asyncio.to_thread(run_command, *arguments, **bench.environment)
        assert (done.returncode, done.stdout.splitlines()[-len(lines) :]) == (0, lines)


async def test_waiting_until_all_is_answered(bench: Workbench, tmp_path: Path) -> None:
    """While commands wait it stays, whoever has them; a halted lane would wait for ever, so it ends."""
    bench.publish(bench.command(tenant(0), 0, f"u{n}", partition=n % 2) for n in range(10))
    waiting = asyncio.ensure_future(ask(bench, "lanes", "--until-answered", schema="lanes"))
    await asyncio.sleep(3)
    assert not waiting.done()
    worker = bench.start_worker(tmp_path / "worker.log")
    told = await waiting
    assert (told.code, [lane["emitted"] for lane in _lanes(told)]) == (0, [5, 5])
    bench.stop_worker(worker)
    commit_offset(bench, 0, 99)
    told = await ask(bench, "lanes", "--until-answered", schema="lanes")
    assert (told.code, [lane["state"] for lane in _lanes(told)]) == (1, ["halted", "unowned"])
    both = await asyncio.to_thread(run_command, "lanes", "--until-answered", "--watch", **bench.environment)
    assert (both.returncode, both.stderr) == (2, "passport-worker: --watch: expected without --until-answered\n")


async def test_a_command_that_waits_behind_dropped_ones_has_an_age(bench: Workbench) -> None:
    """The log starts behind E. Seen to fail before: what waited was 0 seconds old."""
    bench.publish({**bench.command(tenant(0), 0, f"unit-{n}"), "partition": 0} for n in range(4))
    settings = bench.settings
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap_servers})
    behind = confluent_kafka.TopicPartition(settings.topic_commands, 0, 2)
    admin.delete_records([behind])[behind].result(20)
    connection = await bench.connect()
    lane = "INSERT INTO lane (group_id, topic, partition, applied, emitted, ledger_from) VALUES ($1, $2, 0, 0, 0, 0)"
    await connection.execute(lane, settings.group_id, settings.topic_commands)
    await connection.close()
    told = await ask(bench, "lanes")
    assert [(row["lagRecords"], row["lagSeconds"] > 0) for row in told.report["lanes"] if row["partition"] == 0] == [
        (4, True)
    ]
