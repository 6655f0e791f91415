"""Verbs over several channels: each shows, mends and repeats what is of its channel, and nothing of another."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.conftest import MakeBench
from tests.end_to_end.test_replay_and_members import commit_offset
from tests.infrastructure.forked import run_forked
from tests.invariants import check_invariants
from tests.operations.asking import Told, ask
from tests.operations.mixture import contents, copy_database, drop_database, limit_tenants, mixture
from tests.workbench import Result, Workbench, run_command, tenant, until

pytestmark = pytest.mark.real_kafka

EXECUTE = ("--execute", "--reason", "a test")
PARTITIONS = {"": 2, "acme": 3, "globex": 1}


async def _bench(make_bench: MakeBench, *names: str) -> Workbench:
    """A workbench with these channels beside the default one."""
    bench = await make_bench(partitions=PARTITIONS[""])
    for name in names:
        await bench.add_channel(name, PARTITIONS[name])
    return bench


def _publish(bench: Workbench, name: str, count: int, word: str = "u") -> None:
    """Commands to all partitions of a channel."""
    bench.publish(
        (
            bench.command(tenant(n % 3), n % 3, f"{name}-{word}{n}", key=f"{name}-{word}{n}", partition=n % partitions)
            for n in range(count)
            for partitions in [PARTITIONS[name]]
        ),
        name,
    )


async def _answered(bench: Workbench, log: Path, count: int) -> None:
    """Have commands answered until there are so many results, and stop the worker."""
    worker = bench.start_worker(log)
    await bench.wait_for_results(count)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0


def _lanes(told: Told) -> list[tuple[str | None, int, str]]:
    return [(lane["channel"], lane["partition"], lane["state"]) for lane in told.report["lanes"]]


async def test_lanes_of_all_channels_and_of_one_that_went(make_bench: MakeBench, tmp_path: Path) -> None:
    """A channel that nobody serves any more is shown, and is no error; it comes back with its positions."""
    bench = await _bench(make_bench, "acme", "globex")
    for name in PARTITIONS:
        _publish(bench, name, 6)
    await _answered(bench, tmp_path / "first.log", 18)
    told = await ask(bench, "lanes")
    served = [("", 0), ("", 1), ("acme", 0), ("acme", 1), ("acme", 2), ("globex", 0)]
    assert (told.code, _lanes(told)) == (0, [(*lane, "unowned") for lane in served])
    one = await ask(bench, "lanes", "--channel", "acme")
    assert _lanes(one) == [("acme", at, "unowned") for at in range(3)]
    table = (await asyncio.to_thread(run_command, "lanes", **bench.environment)).stdout
    assert table.splitlines()[0].split()[:3] == ["channel", "partition", "state"]
    assert [line.split()[0] for line in table.splitlines()[1:7]] == ["(default)"] * 2 + ["acme"] * 3 + ["globex"]

    without = {"PASSPORT_CHANNELS": "globex"}
    told = await ask(bench, "lanes", **without)
    assert (told.code, _lanes(told)[3:]) == (0, [("acme", at, "not-served") for at in range(3)])
    assert all(lane["applied"] == lane["emitted"] == 2 for lane in told.report["lanes"][3:])
    checks = {one["id"]: one for one in (await ask(bench, "doctor", **without)).report["checks"]}
    assert checks["lanes.unowned"]["finding"].startswith("lanes without a worker: 3 of 3")
    assert _lanes(await ask(bench, "lanes", "--channel", "acme", **without)) == [
        ("acme", at, "unowned") for at in range(3)
    ], "an operator's shell need not list the channel"

    _publish(bench, "acme", 6, "later")
    await _answered(bench, tmp_path / "again.log", 24)
    await check_invariants(bench)


async def test_commits_that_one_channel_lost_halt_the_lanes_of_all(make_bench: MakeBench, tmp_path: Path) -> None:
    """After a restore `recover` puts both back, over all channels at once: keys and serial numbers are a company's."""
    bench = await _bench(make_bench, "acme")
    await limit_tenants(bench)
    for name in ("", "acme"):
        bench.publish(mixture(3, 80), name)
    await _answered(bench, tmp_path / "first.log", 160)
    old = await copy_database(bench.settings.database_url, "old")
    whole = bench.settings.database_url
    try:
        for name in ("acme", ""):
            bench.publish(mixture(3, 150, 80), name)
        await _answered(bench, tmp_path / "second.log", 460)
        for count, name in ((461, ""), (462, "acme")):  # the second one repeats the event of the first
            bench.publish([bench.command(tenant(4), 4, "same", key="same", partition=0)], name)
            await _answered(bench, tmp_path / "second.log", count)
        lost = {"PASSPORT_DATABASE_URL": old}
        told = await ask(bench, "lanes", "--channel", "acme", **lost)
        assert (told.code, {state for *_, state in _lanes(told)}) == (1, {"halted"})
        default = bench.settings.topic_commands
        assert any(default in problem["text"] for problem in told.report["problems"]), "lanes of other channels"
        refused = await asyncio.to_thread(run_command, "lanes", "recover", "1", **{**bench.environment, **lost})
        assert refused.returncode == 2
        assert "partitions: expected --channel NAME with it" in refused.stderr
        before = await contents(old)
        planned = await ask(bench, "lanes recover", **lost)
        assert (planned.code, planned.report["executed"]) == (0, False)
        assert len(planned.report["lanes"]) == 5
        assert sum(lane["commands"] for lane in planned.report["lanes"]) == 302
        assert await contents(old) == before, "a dry run writes nothing"
        alone = await ask(bench, "lanes recover", "--channel", "acme", *EXECUTE, **lost)
        assert set(alone.codes) == {"original-missing"}, "the default channel has the originals of replays"
        assert await contents(old) == before
        halting = tmp_path / "third.log"
        bench.start_worker(halting, **lost)
        await until(lambda: halting.read_text().count('"lane_halted"') == 5, 30, "halted lanes")
        crash = {**os.environ, **bench.environment, **lost, "TEST_CRASH": "after COMMIT:2:kill"}
        command = ["lanes", "recover", *EXECUTE]
        killed = await asyncio.to_thread(run_forked, "tests.end_to_end.crashing_worker", command, crash)
        assert killed.returncode == -signal.SIGKILL, killed
        told = await ask(bench, "lanes", **lost)
        assert {state for *_, state in _lanes(told)} == {"halted"}, "no lane runs before all are recovered"
        planned = await ask(bench, "lanes recover", **lost)
        assert [lane["commands"] > 0 for lane in planned.report["lanes"][:4]] == [False, False, True, True]
        done = await ask(bench, "lanes recover", *EXECUTE, **lost)
        assert (done.code, done.report["executed"]) == (0, True)
        assert await contents(old) == await contents(whole)
        bench.environment["PASSPORT_DATABASE_URL"] = old
        bench.settings = bench.settings.model_copy(update={"database_url": old})
        for name in ("", "acme"):
            bench.publish(mixture(3, 50, 230), name)
        await bench.wait_for_results(562, 90)
        await check_invariants(bench)
    finally:
        await asyncio.to_thread(bench.kill_workers)
        await drop_database(old)


async def test_commits_of_a_channel_that_went_are_not_forgotten(make_bench: MakeBench, tmp_path: Path) -> None:
    """After a restore from before it went. Seen to fail: nothing was said, and its units got second passports."""
    bench = await _bench(make_bench, "acme")
    without = {"PASSPORT_CHANNELS": ""}
    _publish(bench, "", 6)
    worker = bench.start_worker(tmp_path / "first.log", **without)
    await bench.wait_for_results(6)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    copies = [await copy_database(bench.settings.database_url, "before")]
    try:
        for count in (12, 18):
            _publish(bench, "acme", 6, f"{count}-")
            await _answered(bench, tmp_path / "second.log", count)
            copies.append(await copy_database(bench.settings.database_url, f"acme{count}"))
        before, between, whole = copies
        topic = bench.settings.of_channel("acme").topic_commands
        for old, states in ((before, {"unowned"}), (between, {"halted", "not-served"})):
            lost = {"PASSPORT_DATABASE_URL": old, **without}
            told = await ask(bench, "lanes", **lost)
            assert {state for *_, state in _lanes(told)} == states
            held = await contents(old)
            told = await ask(bench, "lanes recover", *EXECUTE, **lost)
            assert (set(told.codes), told.report["executed"]) == ({"channel-not-served"}, False)
            assert [problem["place"] for problem in told.report["problems"]] == [f"{topic}/{at}" for at in range(3)]
            assert await contents(old) == held
            passed_over = await ask(bench, "lanes recover", "--allow", "channel-not-served", **lost)
            assert passed_over.code == 0
            assert (await ask(bench, "lanes recover", "--channel", "acme", *EXECUTE, **lost)).code == 0
            assert await contents(old) == await contents(whole)
            assert (await ask(bench, "lanes recover", **lost)).code == 0
            assert (await ask(bench, "lanes", **lost)).code == 0
    finally:
        for copy in copies:
            await drop_database(copy)


async def test_reset_of_a_channel(make_bench: MakeBench, tmp_path: Path) -> None:
    """Only its lane goes on from another offset; the partition of the same number of another channel stays."""
    bench = await _bench(make_bench, "acme")
    for name in ("", "acme"):
        _publish(bench, name, 6)
    await _answered(bench, tmp_path / "first.log", 12)
    commit_offset(_of(bench, "acme"), 1, 1_000)
    told = await ask(bench, "lanes")
    assert [(channel, at) for channel, at, state in _lanes(told) if state == "halted"] == [("acme", 1)]
    well = await ask(bench, "lanes reset")
    assert (well.report["lanes"][1]["emittedAfter"], well.report["haltedElsewhere"]) == (3, ["acme"])
    said = (await asyncio.to_thread(run_command, "lanes", "reset", **bench.environment)).stdout
    assert said.splitlines()[-1].endswith("halted, too: passport-worker lanes reset --channel acme")
    done = await ask(bench, "lanes reset", "--channel", "acme", "1", *EXECUTE)
    (lane,) = done.report["lanes"]
    topic = bench.settings.of_channel("acme").topic_commands
    assert (done.code, lane["topic"], lane["emitted"], lane["emittedAfter"]) == (0, topic, 1_000, 2)
    for name in ("", "acme"):
        _publish(bench, name, 6, "later")
    await _answered(bench, tmp_path / "second.log", 24)
    await check_invariants(bench)


async def test_replay_and_dead_letters_of_a_channel(make_bench: MakeBench, tmp_path: Path) -> None:
    """They repeat what is of the channel, on the topics of the channel. Others keep their records."""
    bench = await _bench(make_bench, "acme")
    strict = {"PASSPORT_LIMIT_HEADERS": "2"}
    for name in ("", "acme"):
        _publish(bench, name, 4)
        long: dict[str, Any] = bench.command(tenant(0), 0, f"{name}-long", partition=0)
        bench.publish([{**long, "headers": [*long["headers"], ("x", b"1"), ("y", b"2")]}], name)
    worker = bench.start_worker(tmp_path / "first.log", **strict)
    await bench.wait_for_results(10)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    default, acme = bench.settings.of_channel(""), bench.settings.of_channel("acme")
    before = {own.topic_commands: _records(bench, own.answer_topics) for own in (default, acme)}

    done = await ask(bench, "replay", "--channel", "acme", "--rate", "0", *EXECUTE)
    assert (done.code, sum(lane["records"] for lane in done.report["lanes"])) == (0, 6)
    assert _records(bench, default.answer_topics) == before[default.topic_commands]
    assert _records(bench, acme.answer_topics) == sorted(before[acme.topic_commands] * 2)
    other = await asyncio.to_thread(run_command, "replay", "--resume", done.report["id"], **bench.environment)
    assert (other.returncode, "choose another --channel" in other.stderr) == (2, True), other.stderr

    listed = await ask(bench, "dead-letters list", "--channel", "acme")
    (letter,) = listed.report["deadLetters"]
    assert letter["place"] == f"{acme.topic_commands}/0/2"
    everywhere = {one["place"] for one in (await ask(bench, "dead-letters list")).report["deadLetters"]}
    assert everywhere == {letter["place"], f"{default.topic_commands}/0/2"}
    refused = await asyncio.to_thread(run_command, "dead-letters", "list", "--partition", "0", **bench.environment)
    assert (refused.returncode, "--partition: expected --channel NAME" in refused.stderr) == (2, True)
    shown = await ask(bench, "dead-letters show", "0/2", "--channel", "acme")
    assert shown.report["deadLetter"]["place"] == letter["place"]
    wrong = await asyncio.to_thread(run_command, "dead-letters", "redrive", letter["place"], **bench.environment)
    assert (wrong.returncode, "choose its channel with --channel" in wrong.stderr) == (2, True)
    connection = await bench.connect()
    await connection.execute("UPDATE company SET channels = '{\"\"}'")
    warned = await ask(bench, "dead-letters redrive", "0/2", "--channel", "acme")
    assert "wrong-channel: the company may not use the channel" in warned.report["warnings"][0]
    await connection.execute("UPDATE company SET channels = NULL")
    await connection.close()
    redriven = await ask(bench, "dead-letters redrive", "0/2", "--channel", "acme", *EXECUTE)
    (new,) = redriven.report["redrives"]
    assert (redriven.code, new["newPlace"].rpartition("/")[0]) == (0, f"{acme.topic_commands}/0")
    assert len(bench.read([default.topic_commands])) == 5
    await _answered(bench, tmp_path / "second.log", 16)
    assert (await ask(bench, "audit")).code == 0


async def test_audit_of_channels_with_different_partitions(make_bench: MakeBench, tmp_path: Path) -> None:
    """A result that went to the topics of another channel is found, since others may read it there."""
    bench = await _bench(make_bench, "acme", "globex")
    for name in PARTITIONS:
        _publish(bench, name, 12)
    await _answered(bench, tmp_path / "worker.log", 36)
    told = await ask(bench, "audit")
    lanes = [(lane["topic"], lane["partition"], lane["commands"]) for lane in told.report["lanes"]]
    topics = [bench.settings.of_channel(name).topic_commands for name in PARTITIONS]
    assert (told.code, lanes) == (
        0,
        [(topic, at, 12 // count) for topic, count in zip(topics, (2, 3, 1), strict=True) for at in range(count)],
    )
    assert [lane["topic"] for lane in (await ask(bench, "audit", "--channel", "globex")).report["lanes"]] == topics[2:]
    refused = await asyncio.to_thread(run_command, "audit", "--partition", "2", **bench.environment)
    assert (refused.returncode, refused.stderr) == (
        2,
        "passport-worker: --partition: expected --channel NAME with it, since several channels are served\n",
    )
    globex, acme = (bench.settings.of_channel(name) for name in ("globex", "acme"))
    leaked = bench.read([acme.topic_created])[0]
    _copy(bench, leaked, globex.topic_created)
    told = await ask(bench, "audit")
    (problem,) = told.report["problems"]
    assert (problem["code"], problem["place"]) == ("unasked", leaked.cause)
    assert problem["text"] == f"{globex.topic_created}/0/{_end(bench, globex.topic_created)} answers it, but is on " + (
        "another channel"
    )


async def test_a_place_tells_its_channel_and_everything_else_is_searched_in_all(
    make_bench: MakeBench, tmp_path: Path
) -> None:
    """`explain` finds a passport, a unit and a key of any channel, also of one that nobody serves any more."""
    bench = await _bench(make_bench, "acme")
    for name in ("", "acme"):
        _publish(bench, name, 3)
    bench.publish([{"value": b"{", "partition": 2}], "acme")
    await _answered(bench, tmp_path / "worker.log", 7)
    acme = bench.settings.of_channel("acme")
    created = next(one for one in bench.read([acme.topic_created]) if one.partition == 1)
    unit = created.body["gs1"]
    assert isinstance(unit, dict)
    company, key = created.header("ce_companyid") or "", (created.key or b"").decode()
    questions = (
        ("--passport", str(created.body["_id"])),
        ("--gtin", unit["gtin"], "--serial", unit["serialNumber"]),
        ("--company", company, "--key", key),
        ("--company", company, "--key", key, "--scan"),
        (created.cause,),
        ("1/0", "--channel", "acme"),
    )
    for question in questions:
        told = await ask(bench, "explain", *question)
        assert (told.code, told.report["state"]) == (0, "answered"), told
        place = told.report["place"]
        assert f"{place['topic']}/{place['partition']}/{place['offset']}" == created.cause
        assert told.report["outcome"]["emitted"] is True
    for question in questions[:2]:
        told = await ask(bench, "explain", *question, PASSPORT_CHANNELS="")
        assert (told.code, told.report["place"]["topic"]) == (0, acme.topic_commands)
    told = await ask(bench, "explain", created.cause, PASSPORT_CHANNELS="")
    assert (told.code, told.report["outcome"]["emitted"]) == (0, True), "its topics are named by its place"

    refused = await ask(bench, "refusals", "--channel", "acme")
    (row,) = refused.report["refusals"]
    assert row["command"] == f"{acme.topic_commands}/2/1"
    assert [one["command"] for one in (await ask(bench, "refusals")).report["refusals"]] == [row["command"]]
    assert (await ask(bench, "refusals", "--channel", "")).report["refusals"] == []
    said = await asyncio.to_thread(run_command, "refusals", "--channel", "acme", **bench.environment)
    assert f"passport-worker explain {acme.topic_commands}/2/1" in said.stdout


async def test_topics_and_doctor_of_channels(bench: Workbench) -> None:
    """A channel can be made with partitions of its own, before any worker lists it."""
    environment = {**bench.environment, "PASSPORT_TOPIC_PARTITIONS": "3"}
    made = await asyncio.to_thread(run_command, "topics", "create", "--channel", "acme", **environment)
    acme = bench.settings.of_channel("acme")
    assert set(made.stdout.splitlines()) == {f"created {topic}" for topic in acme.all_topics}
    both = {"PASSPORT_CHANNELS": "acme"}
    checked = await asyncio.to_thread(run_command, "topics", "create", "--check", **{**bench.environment, **both})
    assert (checked.returncode, checked.stdout) == (0, "all topics exist, as expected\n")
    checks = {one["id"]: one for one in (await ask(bench, "doctor", **both)).report["checks"]}
    assert checks["topics.exist"]["finding"] == "12 topics exist, as expected"
    assert checks["topics.partitions"]["finding"] == (
        "(default): commands: 2, results and dead letters: 2 or more, expected at least as many as commands; "
        "acme: commands: 3, results and dead letters: 3 or more, expected at least as many as commands"
    )
    more = {"PASSPORT_CHANNELS": "acme,globex"}
    checks = {one["id"]: one for one in (await ask(bench, "doctor", **more)).report["checks"]}
    globex = bench.settings.of_channel("globex")
    assert checks["topics.exist"]["finding"] == f"missing topics: {', '.join(globex.all_topics)}"
    told = await ask(bench, "lanes", **more)
    assert [(one["code"], one["text"]) for one in told.report["problems"]] == [
        (
            "topics-missing",
            f"Kafka has no topic {globex.topic_commands}. Correct --channel or PASSPORT_CHANNELS, or run "
            "`passport-worker topics create`.",
        )
    ]
    assert (told.code, [channel for channel, *_ in _lanes(told)]) == (1, ["", "", "acme", "acme", "acme"])
    checks = {one["id"]: one for one in (await ask(bench, "doctor", "--channel", "acme")).report["checks"]}
    assert checks["topics.exist"]["finding"] == "6 topics exist, as expected"
    assert checks["lanes.halted"]["finding"].startswith("halted lanes: 0 of 3")


def _of(bench: Workbench, name: str) -> Workbench:
    """The bench as a tool of one channel sees it."""
    return Workbench(bench.environment, bench.settings.of_channel(name))


def _records(bench: Workbench, topics: tuple[str, ...]) -> list[tuple[object, ...]]:
    """Results and dead letters, by their bytes."""
    return sorted(
        (one.topic, one.partition, str(one.key), str(one.value), str(one.headers)) for one in bench.read(topics)
    )


def _copy(bench: Workbench, record: Result, topic: str) -> None:
    producer = Producer({"bootstrap.servers": bench.settings.kafka_bootstrap_servers})
    producer.produce(topic, record.value, record.key, partition=0, headers=list(record.headers))
    assert producer.flush(30) == 0


def _end(bench: Workbench, topic: str) -> int:
    """The offset of the last record of a topic of one partition."""
    return bench.read([topic])[-1].offset


async def test_results_of_a_channel_get_its_partitions(make_bench: MakeBench) -> None:
    """Seen to fail before: with fewer, no worker starts, and partitions can never be lowered again."""
    bench = await make_bench(partitions=1)
    await bench.add_channel("acme", 3)
    environment = {
        **bench.environment,
        "PASSPORT_TOPIC_CONFLICT": f"{bench.settings.topic_conflict}.new",
        "PASSPORT_TOPIC_PARTITIONS": "1",
    }
    assert (await asyncio.to_thread(run_command, "topics", "create", **environment)).returncode == 0
    checked = await asyncio.to_thread(run_command, "topics", "create", "--check", **environment)
    assert (checked.returncode, checked.stdout) == (0, "all topics exist, as expected\n")
