"""`passport-worker replay`: chosen answers once more, byte for byte, and nothing else, however often it is killed."""

import asyncio
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.infrastructure.forked import ForkedProcess, run_forked
from tests.operations.asking import Told, ask
from tests.operations.mixture import as_role, contents, limit_tenants, mixture
from tests.operations.tampering import copied
from tests.workbench import Result, Workbench, until
from worker.tools.common.rights import READER, RUN

pytestmark = pytest.mark.real_kafka

COUNT = 300
EXECUTE = ("--execute", "--reason", "their consumer lost a day")
STEPS = ("begin", "k-th send", "acks", "offsets", "EndTxn sent", "EndTxn answered")


async def _answered(bench: Workbench, log: Path) -> None:
    await limit_tenants(bench)
    bench.start_worker(log)
    bench.publish(mixture(11, COUNT))
    await bench.wait_for_results(COUNT)


async def _effects(bench: Workbench) -> dict[str, list[tuple[object, ...]]]:
    """Every table, but for the notes that the worker makes of E."""
    found = await contents(bench.settings.database_url)
    return {name: rows for name, rows in found.items() if name != "lane"}


def _everything(bench: Workbench) -> list[Result]:
    return bench.read([*bench.settings.result_topics, bench.dead_letters])


def _bytes(one: Result) -> tuple[object, ...]:
    return one.topic, one.partition, one.key, one.value, one.headers


def _again(before: list[Result], after: list[Result]) -> Counter[tuple[object, ...]]:
    """What came in addition, by its bytes; all of it was there before."""
    more = Counter(map(_bytes, after)) - Counter(map(_bytes, before))
    assert set(more) <= set(map(_bytes, before)), "nothing but what was published before"
    return more


async def _replay(bench: Workbench, *arguments: str) -> Told:
    return await ask(bench, "replay", "--rate", "0", *arguments)


async def test_all_answers_once_more_beside_a_running_worker(bench: Workbench, tmp_path: Path) -> None:
    """While it goes on: every byte of results and dead letters, and no passport, charge or count changes."""
    await _answered(bench, tmp_path / "worker.log")
    tables, before = await _effects(bench), _everything(bench)
    async with as_role(bench.settings.database_url, READER) as reader:
        planned = await ask(bench, "replay", PASSPORT_DATABASE_URL=reader)
    assert (planned.code, planned.report["executed"], planned.report["id"]) == (0, False, None)
    assert _again(before, _everything(bench)) == Counter(), "it only said what it would do"
    async with as_role(bench.settings.database_url, RUN) as run:
        done = await ask(bench, "replay", "--rate", "0", *EXECUTE, PASSPORT_DATABASE_URL=run)
    assert (done.code, [lane["next"] == lane["to"] for lane in done.report["lanes"]]) == (0, [True] * 2)
    again = _again(before, _everything(bench))
    assert again == Counter(map(_bytes, before))
    assert sum(lane["records"] for lane in done.report["lanes"]) == len(before)
    assert await _effects(bench) == tables
    bench.publish(mixture(11, 40, COUNT))
    await bench.wait_for_results(2 * COUNT + 40)
    audited = await ask(bench, "audit")
    assert audited.code == 0, "the audit knows of the replay"


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        (("--outcome", "replayed"), lambda one: one.header("idempotency-replayed") == "true"),
        (
            ("--outcome", "serial-exists", "--outcome", "invalid,forbidden"),
            lambda one: _code(one) in ("serial-exists", "invalid"),
        ),
        (("--company", f"{1:024x}"), lambda one: one.header("ce_companyid") == f"{1:024x}"),
        (("--partition", "1", "--from", "20", "--to", "40"), lambda one: 20 <= _offset(one, 1) < 40),
    ],
    ids=["replayed", "two codes", "company", "range"],
)
async def test_only_what_was_chosen_comes_again(
    bench: Workbench, tmp_path: Path, arguments: tuple[str, ...], fits: object
) -> None:
    """Results with their dead letters."""
    await _answered(bench, tmp_path / "worker.log")
    before = _everything(bench)
    assert (await _replay(bench, *arguments, *EXECUTE)).code == 0
    again = _again(before, _everything(bench))
    results = [one for one in before if one.cause and fits(one)]  # type: ignore[operator]
    assert results
    assert Counter({one: times for one, times in again.items() if one[0] != bench.dead_letters}) == Counter(
        map(_bytes, results)
    )


def _code(one: Result) -> str:
    body = one.body
    if body.get("conflict") == "serial_exists":
        return "serial-exists"
    details = body.get("details")
    is_invalid = body.get("error") == "Validation error" and "Idempotency-Key" not in str(details)
    return "invalid" if is_invalid else ""


def _offset(one: Result, partition: int) -> int:
    _, at, offset = one.cause.rsplit("/", 2)
    return int(offset) if int(at) == partition else -1


@pytest.mark.parametrize("step", STEPS)
async def test_killed_and_resumed_each_answer_comes_once_more(bench: Workbench, tmp_path: Path, step: str) -> None:
    """At each of its steps, several times; who resumes goes on where Kafka says it was."""
    await _answered(bench, tmp_path / "worker.log")
    before = _everything(bench)
    environment = {**os.environ, **bench.environment}
    first = ["--rate", "0", *EXECUTE, "--json"]
    await asyncio.to_thread(_crash, environment, step, 2, first)
    connection = await bench.connect()
    (replay_id,) = [str(row["id"]) for row in await connection.fetch("SELECT id FROM operation WHERE verb = 'replay'")]
    await connection.close()
    for number in (2, 3):
        await asyncio.to_thread(_crash, environment, step, number, ["--rate", "0", "--resume", replay_id, "--json"])
    done = await _replay(bench, "--resume", replay_id)
    assert done.code == 0
    assert _again(before, _everything(bench)) == Counter(map(_bytes, before))


def _crash(environment: dict[str, str], step: str, number: int, arguments: list[str]) -> None:
    """Run the verb in a process that kills itself at the n-th time that it reaches a step."""
    environment = {**environment, "TEST_CRASH": f"{step}:{number}:kill"}
    done = run_forked("tests.end_to_end.crashing_worker", ["replay", *arguments], environment)
    assert done.returncode in (-9, 0), done


async def test_to_other_topics_and_what_it_refuses(bench: Workbench, tmp_path: Path) -> None:
    """The result topics stay as they are; what lies before the ledger, and replays that nobody began, are refused."""
    await _answered(bench, tmp_path / "worker.log")
    before = _everything(bench)
    names = await copied(bench, {}, "copy")
    assert (await _replay(bench, "--topic-suffix", ".copy", *EXECUTE)).code == 0
    assert _again(before, _everything(bench)) == Counter()
    there = bench.read(list(names.values()))
    assert Counter((one.key, one.value, one.headers) for one in there) == Counter(
        (one.key, one.value, one.headers) for one in before
    )
    connection = await bench.connect()
    await connection.execute("UPDATE lane SET ledger_from = 5 WHERE partition = 0")
    await connection.close()
    done = await asyncio.to_thread(_run, bench, "replay", "--partition", "0", "--from", "2")
    assert (done.returncode, "begins at 5: expected --from at or after it" in done.stderr) == (2, True), done
    unknown = await asyncio.to_thread(_run, bench, "replay", "--resume", "00000000-0000-0000-0000-000000000000")
    assert (unknown.returncode, "no replay has the id" in unknown.stderr) == (2, True)


async def test_into_another_channel_is_for_a_channel_that_is_lost(bench: Workbench, tmp_path: Path) -> None:
    """Not while its topic is here, since its workers may yet publish these answers, and not to topics that are not."""
    await _answered(bench, tmp_path / "worker.log")
    for arguments, text in (
        (("--into", "other"), "expected a topic other."),
        (("--into", ""), "is still on this cluster: expected no --into"),
        (("--channel", "never", "--into", ""), "the database has no lane of never."),
        (("--into", "", "--topic-suffix", ".copy"), "--into: expected without --topic-suffix"),
    ):
        done = await asyncio.to_thread(_run, bench, "replay", *arguments)
        assert (done.returncode, text in done.stderr) == (2, True), done


def _run(bench: Workbench, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_forked("worker", arguments, {**os.environ, **bench.environment})


async def test_a_signal_ends_it_after_the_transaction_in_flight(bench: Workbench, tmp_path: Path) -> None:
    """It says so, and which replay to go on with; resumed, each answer has come once more."""
    await _answered(bench, tmp_path / "worker.log")
    before = _everything(bench)
    process = _begin(bench, "replay", "--rate", "60", *EXECUTE)
    assert process.stderr is not None
    line = await asyncio.to_thread(process.stderr.readline)
    await until(lambda: len(_everything(bench)) > len(before), 20, "it has begun")
    process.terminate()
    _, rest = await asyncio.to_thread(process.communicate, None, 20)
    assert (process.returncode, "interrupted" in rest) == (1, True), rest
    replay_id = line.removeprefix("replay ").partition(":")[0]
    connection = await bench.connect()
    (outcome,) = [row["outcome"] for row in await connection.fetch("SELECT outcome FROM operation")]
    await connection.close()
    assert outcome == "interrupted"
    assert (await _replay(bench, "--resume", replay_id)).code == 0
    assert _again(before, _everything(bench)) == Counter(map(_bytes, before))


def _begin(bench: Workbench, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, **bench.environment}
    return ForkedProcess("worker", arguments, environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
