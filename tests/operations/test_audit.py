"""`passport-worker audit`: nothing on a whole system, and exactly what somebody has tampered with on another."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_END, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.end_to_end.test_replay_and_members import commit_offset
from tests.integration.guards_helpers import raise_partitions, set_topic
from tests.operations.asking import Told, answered, ask
from tests.operations.mixture import limit_tenants, mixture
from tests.operations.tampering import NAMES, Records, copied, records_of, with_value
from tests.workbench import Result, Workbench, run_command, tenant
from worker.tools.audit.audit import audit
from worker.tools.common.history import Topics, history, topics_of
from worker.tools.common.progress import Progress
from worker.tools.common.selection import Range
from worker.tools.common.servers import both_servers

pytestmark = pytest.mark.real_kafka

COUNT = 300


async def _answer(bench: Workbench, log: Path) -> None:
    """A mixture is answered; its worker was killed once on the way."""
    await limit_tenants(bench)
    worker = bench.start_worker(log)
    bench.publish(mixture(7, COUNT // 2))
    await bench.wait_for_results(1)
    worker.kill()
    worker.wait()
    bench.publish(mixture(7, COUNT // 2, COUNT // 2))
    worker = bench.start_worker(log)
    await bench.wait_for_results(COUNT)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0


async def test_results_that_the_broker_compresses_are_read(bench: Workbench, tmp_path: Path) -> None:
    """A topic or a broker may be set so. Seen to fail: `audit` said that Kafka was away."""
    for topic in bench.settings.result_topics:
        await set_topic(bench, topic, "compression.type", "zstd")
    await _answer(bench, tmp_path / "worker.log")
    assert (await ask(bench, "audit")).code == 0
    assert (await ask(bench, "explain", "0/0")).code == 0


async def test_clocks_of_producers_hide_no_result(bench: Workbench, tmp_path: Path) -> None:
    """A producer writes local time as UTC, so its commands seem to be from the future, and their results older.

    Seen to fail: no result was found, and each was told to be missing.
    """
    commands = bench.settings.topic_commands
    await set_topic(bench, commands, "message.timestamp.after.max.ms", str(10**12))
    await set_topic(bench, commands, "message.timestamp.type", "CreateTime")
    later = int(time.time() * 1000) + 2 * 3_600_000
    bench.publish({**bench.command(tenant(0), 1, f"{at}", partition=0), "timestamp": later} for at in range(3))
    worker = bench.start_worker(tmp_path / "worker.log", PASSPORT_ALLOW_PRODUCER_TIME="true")
    await bench.wait_for_results(3)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    told = await ask(bench, "audit", PASSPORT_ALLOW_PRODUCER_TIME="true")
    assert (told.code, _findings(told)) == (0, {})


def _findings(told: Told) -> dict[str, int]:
    """All findings, by code."""
    total: dict[str, int] = {}
    for lane in told.report["lanes"]:
        for code, count in lane["findings"].items():
            total[code] = total.get(code, 0) + count
    return total


async def test_a_whole_system_has_no_finding(bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its commands, a range of them, while more come, and after an operator had results emitted again."""
    await _answer(bench, tmp_path / "worker.log")
    told = await ask(bench, "audit")
    assert (told.code, sum(lane["commands"] for lane in told.report["lanes"])) == (0, COUNT)
    assert sum(lane["results"] for lane in told.report["lanes"]) == COUNT
    part = await ask(bench, "audit", "--partition", "1", "--from", "20", "--to", "50")
    (lane,) = part.report["lanes"]
    assert (lane["from"], lane["to"], lane["commands"], lane["results"]) == (20, 50, 30, 30)
    commit_offset(bench, 0, 10)
    worker = bench.start_worker(tmp_path / "again.log")
    stop = told.report["lanes"][0]["to"]
    await bench.wait_for_results(COUNT + stop - 10)
    await _audit_meanwhile(bench, COUNT + stop - 10, monkeypatch)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    told = await ask(bench, "audit")
    assert told.report["problems"] == []
    assert (told.code, told.report["lanes"][0]["repeats"] >= stop - 10) == (0, True), (
        "set back, and noted by its worker"
    )
    assert (await ask(bench, "audit", "--allow-repeats")).code == 0
    part = await ask(bench, "audit", "--partition", "0", "--from", "20", "--to", "40")
    assert (part.code, part.report["lanes"][0]["repeats"] >= 20) == (0, True), "they stand behind later results"


async def _audit_meanwhile(bench: Workbench, results: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands are answered after E was asked for, and before the logs are looked at: their results are not unasked."""

    async def then_more(*arguments: Any) -> Topics:
        bench.publish(mixture(8, 100, COUNT))
        await bench.wait_for_results(results + 100)
        return await topics_of(*arguments)

    monkeypatch.setattr("worker.tools.audit.audit.topics_of", then_more)
    async with both_servers(bench.settings) as servers:
        report = await audit(servers, Range(), Progress(), allow_repeats=False)
    assert (report.problems, sum(lane.commands for lane in report.lanes)) == ((), COUNT)


async def test_a_replay_that_begins_during_an_audit_doubles_nothing(
    bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail before: the audit had read the ranges of replays before, and told that results are doubled."""
    await _answer(bench, tmp_path / "worker.log")
    begun = asyncio.Lock()
    replayed: list[int] = []

    async def after_a_replay(*arguments: Any) -> Any:
        async with begun:
            if not replayed:
                replayed.append((await ask(bench, "replay", "--rate", "0", "--execute", "--reason", "a test")).code)
        return await history(*arguments)

    monkeypatch.setattr("worker.tools.audit.audit.history", after_a_replay)
    async with both_servers(bench.settings) as servers:
        report = await audit(servers, Range(), Progress(), allow_repeats=False)
    assert (replayed, report.problems) == ([0], ())


def _drop(records: Records, name: str) -> Result:
    return records[name].pop(len(records[name]) // 2)


def _double(records: Records, name: str) -> Result:
    one = records[name][len(records[name]) // 2]
    records[name].append(one)
    return one


def _change(records: Records, name: str) -> Result:
    at = len(records[name]) // 2
    one = records[name][at]
    value = bytearray(one.value or b"x")
    value[-1] ^= 1
    records[name][at] = with_value(one, bytes(value))
    return one


def _move(records: Records, name: str) -> Result:
    """One behind the next of its partition."""
    found = records[name]
    first = next(at for at, one in enumerate(found) if one.partition == found[at + 1].partition)
    found[first], found[first + 1] = found[first + 1], found[first]
    return found[first + 1]


@pytest.mark.parametrize(
    ("tamper", "code"), [(_drop, "missing"), (_double, "doubled"), (_change, "different"), (_move, "out-of-order")]
)
async def test_what_was_tampered_with_is_found_and_nothing_else(
    bench: Workbench, tmp_path: Path, tamper: Callable[[Records, str], Result], code: str
) -> None:
    """One record of each topic, dead letters too."""
    await _answer(bench, tmp_path / "worker.log")
    records = records_of(bench)
    sizes = {name: len(found) for name, found in records.items()}
    assert min(sizes.values()) >= 3, f"every outcome is among them: {sizes}"
    places = sorted(_place(tamper(records, name)) for name in NAMES)
    told = await ask(bench, "audit", **await copied(bench, records, "tampered"))
    assert _findings(told) == {code: 4, f"dead-letter-{code}": 1}
    assert sorted(problem["place"] for problem in told.report["problems"]) == places
    if code == "doubled":
        allowed = await ask(bench, "audit", "--allow-repeats", **await copied(bench, {}, "tampered"))
        assert allowed.code == 0


def _place(one: Result) -> str:
    """Of the command that a result or a dead letter names."""
    return one.cause or "/".join(one.header(f"dlq-original-{name}") or "" for name in ("topic", "partition", "offset"))


async def test_results_of_an_emptied_log(bench: Workbench, tmp_path: Path) -> None:
    """They are missing, unless the topic keeps records for less time. Seen to fail: all had expired."""
    await _answer(bench, tmp_path / "worker.log")
    topic = bench.settings.topic_conflict
    conflicts = len(bench.read([topic]))
    admin = AdminClient({"bootstrap.servers": bench.settings.kafka_bootstrap_servers})
    for emptied in admin.delete_records([TopicPartition(topic, at, OFFSET_END) for at in range(2)]).values():
        emptied.result(20)
    told = await ask(bench, "audit")
    assert (told.code, _findings(told), _total(told, "expired")) == (1, {"missing": conflicts}, 0)
    told = await ask(bench, "audit", PASSPORT_ALLOW_PRODUCER_TIME="true")
    assert (told.code, _findings(told), _total(told, "unchecked")) == (0, {}, conflicts)
    await set_topic(bench, topic, "retention.ms", "1")
    told = await ask(bench, "audit")
    assert (told.code, _findings(told), _total(told, "expired")) == (0, {}, conflicts)


def _total(told: Told, count: str) -> int:
    return sum(lane[count] for lane in told.report["lanes"])


async def test_results_that_nobody_asked_for_and_a_row_that_is_gone(bench: Workbench, tmp_path: Path) -> None:
    """A command whose ledger row is missing was not decided here; its result has nothing to be compared with."""
    await _answer(bench, tmp_path / "worker.log")
    await _forge_and_audit(bench)
    connection = await bench.connect()
    await connection.execute(
        'DELETE FROM ledger WHERE "offset" = 7 AND lane_id = (SELECT id FROM lane WHERE partition = 0)'
    )
    await connection.close()
    records = records_of(bench)
    one = records["REJECTED"][3]
    headers = tuple(
        (name, value.replace(b"/0/", b"/1/").replace(b"/1/", b"/1/99") if name == "ce_causationid" and value else value)
        for name, value in one.headers
    )
    records["REJECTED"].append(Result(one.topic, 1, 0, one.key, one.value, headers))
    told = await ask(bench, "audit", **await copied(bench, records, "more"))
    assert _findings(told) == {"ledger-missing": 1, "unasked": 1}


async def _forge_and_audit(bench: Workbench) -> None:
    """Each stands in the middle of its log, and a result behind it is changed. Seen to fail: nothing was said."""
    records, topic = records_of(bench), bench.settings.topic_commands
    at, changed = next((at, one) for at, one in reversed([*enumerate(records["CREATED"])]) if one.partition == 0)
    records["CREATED"][at] = with_value(changed, b"{}")
    last = next(one.cause for one in reversed(records["CREATED"]) if one.partition == 1)
    forged = {
        "CREATED": [_naming(f"{topic}/0/99999999"), _naming(last, 1), _naming("no place")],
        "CONFLICT": [_naming(f"{topic}/1/5", 0), _naming(f"{topic}/7/5"), _naming("other/0/5")],
        "REJECTED": [Result("", 0, 0, b"key", b"{}", ())],
        "DEAD_LETTERS": [Result("", 1, 0, b"key", b"{}", (("dlq-consumer-group", b"g"),))],
    }
    for name, found in forged.items():
        middle = len(records[name]) // 2
        records[name][middle:middle] = found
    told = await ask(bench, "audit", **await copied(bench, records, "forged"))
    wanted = {"unasked": 3, "foreign": 2, "dead-letter-foreign": 1, "different": 2, "doubled": 1}
    assert _findings(told) == wanted
    places = {problem["place"] for problem in told.report["problems"]}
    assert {f"{topic}/0/99999999", f"{topic}/7/5", f"{topic}/1/5", changed.cause, last} <= places
    assert sum(".forged/" in place for place in places) == 3, "of what names no command its own place is told"


def _naming(cause: str, partition: int = 0) -> Result:
    return Result("", partition, 0, b"key", b"{}", (("ce_causationid", cause.encode()),))


async def test_a_partition_that_no_lane_answers_into(bench: Workbench) -> None:
    """A result topic may have more partitions than there are commands'."""
    settings = bench.settings
    await raise_partitions(bench, settings.topic_created, 3)
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for cause in (f"{settings.topic_commands}/0/0", "none"):
        producer.produce(settings.topic_created, b"{}", b"key", 2, headers=[("ce_causationid", cause.encode())])
    assert producer.flush(30) == 0
    told = await ask(bench, "audit")
    assert sorted(told.codes) == ["foreign", "unasked"]


async def test_lanes_without_commands(bench: Workbench) -> None:
    """Nothing is there to be proved, and nothing is wrong."""
    assert (await ask(bench, "lanes")).code == 0  # the broker may have to make the groups' topic first
    told = await ask(bench, "audit")
    assert (told.report["problems"], [lane["commands"] for lane in told.report["lanes"]]) == ([], [0, 0])


@pytest.mark.parametrize("verb", ["audit", "lanes recover", "replay"])
async def test_a_result_topic_that_is_missing_is_named(bench: Workbench, tmp_path: Path, verb: str) -> None:
    """Seen to fail before: `KeyError: 'not.there'` and no document; `replay` planned what it could not publish."""
    await answered(bench, tmp_path / "worker.log", 2)
    environment = {**bench.environment, "PASSPORT_TOPIC_CREATED": "not.there"}
    done = await asyncio.to_thread(run_command, *verb.split(), "--json", **environment)
    assert done.returncode != 0
    assert "KeyError" not in done.stderr
    assert "not.there" in done.stdout + done.stderr


async def test_a_time_before_1970_is_a_time(bench: Workbench, tmp_path: Path) -> None:
    """Seen to fail before: `kafka-away`, or 0 commands where it is the time that Kafka takes for the end of a log."""
    await answered(bench, tmp_path / "worker.log", 2)
    for moment in ("0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999Z"):
        told = await ask(bench, "audit", "--from", moment)
        assert sum(lane["commands"] for lane in told.report["lanes"]) == 2
