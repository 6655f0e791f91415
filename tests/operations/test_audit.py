"""`passport-worker audit`: nothing on a whole system, and exactly what somebody has tampered with on another."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.test_replay_and_members import commit_offset
from tests.operations.asking import Told, ask
from tests.operations.mixture import limit_tenants, mixture
from tests.operations.tampering import NAMES, Records, copied, records_of, with_value
from tests.workbench import Result, Workbench

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


def _findings(told: Told) -> dict[str, int]:
    """All findings, by code."""
    total: dict[str, int] = {}
    for lane in told.report["lanes"]:
        for code, count in lane["findings"].items():
            total[code] = total.get(code, 0) + count
    return total


async def test_a_whole_system_has_no_finding(bench: Workbench, tmp_path: Path) -> None:
    """All of its commands, a range of them, and also after an operator had results emitted again."""
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
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    told = await ask(bench, "audit")
    assert told.report["problems"] == []
    assert (told.code, told.report["lanes"][0]["repeats"] >= stop - 10) == (0, True), (
        "set back, and noted by its worker"
    )
    assert (await ask(bench, "audit", "--allow-repeats")).code == 0
    part = await ask(bench, "audit", "--partition", "0", "--from", "20", "--to", "40")
    assert (part.code, part.report["lanes"][0]["repeats"] >= 20) == (0, True), "they stand behind later results"


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


async def test_a_result_that_nobody_asked_for_and_a_row_that_is_gone(bench: Workbench, tmp_path: Path) -> None:
    """A command whose ledger row is missing was not decided here; its result has nothing to be compared with."""
    await _answer(bench, tmp_path / "worker.log")
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
    assert _findings(told) == {"ledger-missing": 1}, "what names a command behind E is not there yet"


async def test_lanes_without_commands(bench: Workbench) -> None:
    """Nothing is there to be proved, and nothing is wrong."""
    assert (await ask(bench, "lanes")).code == 0  # the broker may have to make the groups' topic first
    told = await ask(bench, "audit")
    assert (told.report["problems"], [lane["commands"] for lane in told.report["lanes"]]) == ([], [0, 0])
