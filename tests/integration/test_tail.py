"""`tail` beside a real broker and a real worker: what comes, what came, and an end that is none of an error."""

import asyncio
import json
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.guards_helpers import publish_raw, raise_partitions
from tests.integration.submitting import kafka_alone, start
from tests.workbench import Workbench, gtin, run_command, tenant
from worker.tools.common import results

pytestmark = pytest.mark.real_kafka

NO_NAMES = "passport-worker: warning: names of companies are not shown: Postgres cannot be reached at 127.0.0.1:1/none"


@pytest.fixture
async def answering(bench: Workbench, tmp_path: Path) -> AsyncIterator[Workbench]:
    """A bench with a worker that has answered two commands of each of two tenants."""
    worker = bench.start_worker(tmp_path / "worker.log")
    bench.publish(_commands(bench, "before"))
    await bench.wait_for_results(4)
    yield bench
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0


def _commands(bench: Workbench, prefix: str) -> list[dict[str, object]]:
    """A good one and one for a product that is not there, of two tenants."""
    return [
        bench.command(tenant(who), who, f"{prefix}-{name}", key=f"{prefix}-{who}-{name}", **more)
        for who in (1, 2)
        for name, more in (("good", {}), ("bad", {"productId": "f" * 24}))
    ]


async def _lines(process: subprocess.Popen[str], count: int) -> list[str]:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return [await asyncio.to_thread(process.stdout.readline) for _ in range(count)]


async def _end(process: subprocess.Popen[str]) -> str:
    """Ctrl-C; what it said on stderr."""
    process.send_signal(signal.SIGINT)
    rest, told = await asyncio.to_thread(process.communicate, timeout=10)
    assert (process.returncode, rest) == (0, ""), told
    return told


async def test_what_comes_is_shown_as_it_comes(answering: Workbench) -> None:
    """Nothing of before; JSON for programs, one object a line, written at once. Ctrl-C is a clean end."""
    process = start(answering, "tail", "--json", "--outcome", "created", "--company", tenant(1).company_id)
    reading = asyncio.create_task(_lines(process, 1))
    for number in range(100):  # until it is ready, and one more is there
        answering.publish(_commands(answering, f"now{number}"))
        await asyncio.sleep(0.3)
        if reading.done():
            break
    found = json.loads((await reading)[0])
    process.send_signal(signal.SIGINT)
    await asyncio.to_thread(process.communicate, timeout=10)
    assert process.returncode == 0
    assert (found["outcome"], found["status"], found["company"]) == ("created", 201, tenant(1).company_id)
    assert found["key"].startswith("now")
    assert found["key"].endswith("-1-good")
    assert found["command"].startswith(f"{answering.settings.topic_commands}/")
    assert found["body"]["_id"] == found["passportId"]


async def test_what_came_is_shown_too(answering: Workbench) -> None:
    """`--since`; filters by key and outcomes; lines for people."""
    process = start(answering, "tail", "--since", "1h")
    heading, *lines = await _lines(process, 5)
    assert heading.split("  ")[0] == "time"
    assert len(set(lines)) == 4
    assert [line[:24] for line in lines] == sorted(line[:24] for line in lines), "in order of time"
    assert (await _end(process)).startswith(NO_NAMES)
    process = start(answering, "tail", "--since", "1h", "--outcome", "rejected,conflict", "--key", "before-2-bad")
    _, line = await _lines(process, 2)
    assert (await _end(process)).startswith(NO_NAMES)
    cells = line.rstrip().split("  ")
    assert cells[1].strip() == "rejected"
    assert line.rstrip().endswith(f"{gtin(2)}  before-bad  Product not found")
    assert f"  404  {tenant(2).company_id}  -  before-2-bad  " in line


async def test_newest_results_and_names(answering: Workbench) -> None:
    """`-n` chooses of those that fit; with the database, companies have names, by which they can be chosen."""
    url = answering.settings.database_url
    connection = await answering.connect()
    await connection.execute("UPDATE company SET name = 'EuroBat' WHERE id = $1", tenant(1).company_id)
    await connection.close()
    process = start(answering, "tail", "-n", "3", "--json", PASSPORT_DATABASE_URL=url)
    found = [json.loads(line) for line in await _lines(process, 3)]
    assert await _end(process) == ""
    assert [one["time"] for one in found] == sorted(one["time"] for one in found)
    assert {one["companyName"] for one in found} == {"EuroBat", "Company"}
    unit = ("--gtin", gtin(1), "--serial", "before-good")
    process = start(answering, "tail", "-n", "20", "--company", "EUROBAT", *unit, PASSPORT_DATABASE_URL=url)
    _, line = await _lines(process, 2)
    assert f"{tenant(1).company_id}  EuroBat  before-1-good  {gtin(1)}  before-good  " in line
    assert await _end(process) == ""
    unknown = run_command("tail", "--company", "Nobody", **{**kafka_alone(answering), "PASSPORT_DATABASE_URL": url})
    assert unknown.returncode == 1
    assert 'The catalogue has no company named "Nobody".' in unknown.stderr


async def test_whatever_stands_in_a_result_topic_is_shown(answering: Workbench) -> None:
    """Between records that are read well, some that the client library fails at, on each of the topics."""
    bad = [("QQ-name", b"x"), ("ce_causationid", b"commands/0/" + b"9" * 5_000)]
    values = (b'{"error":"one"}', b'{"error":"two"}', b"[" * 200_000, b'{"error":NaN}')
    for topic in answering.settings.result_topics:
        records = [(value, bad if at == 1 else []) for at, value in enumerate(values)]
        await publish_raw(answering, records, (b"QQ-name", b"\xff\xfe-name"), topic=topic)
    process = start(answering, "tail", "--since", "1h", "--json")
    found = [json.loads(line) for line in await _lines(process, 20)]
    assert (await _end(process)).startswith(NO_NAMES)
    assert len({one["result"] for one in found}) == 20
    errors = Counter(one["error"] for one in found if one["outcome"] == "conflict")
    assert errors == {"one": 1, "two": 1, None: 2}


async def test_a_pipe_that_is_closed_ends_it(answering: Workbench) -> None:
    """`tail --json | head -1`: no complaint, and exit 0."""
    process = start(answering, "tail", "--since", "1h", "--json")
    await _lines(process, 1)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    for number in range(50):
        answering.publish(_commands(answering, f"more{number}"))
        await asyncio.sleep(0.2)
        if process.poll() is not None:
            break
    assert process.poll() == 0
    assert len(process.stderr.read().splitlines()) == 1, "names of companies are not shown"
    process.stderr.close()


async def test_what_is_missing_or_wrong_is_told(bench: Workbench) -> None:
    """Topics, the broker, and options."""
    settings = kafka_alone(bench)
    for arguments, environment, code, told in (
        ((), {"PASSPORT_TOPIC_REJECTED": "not-there"}, 1, "missing topics: not-there"),
        ((), {"PASSPORT_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, 1, "Kafka cannot be reached"),
        (("--outcome", "crated"), {}, 2, "--outcome: expected one of created, replayed"),
        (("--company", "x"), {}, 1, "Postgres cannot be reached at 127.0.0.1:1/none"),
        (("-n", "0"), {}, 2, "-n: expected a number from 1 to 10,000, got 0"),
        (("--gtin", "123"), {}, 2, "--gtin: GTIN must be 14 digits"),
        (("--since", "yesterday"), {}, 2, "--since: expected a time such as"),
    ):
        done = await asyncio.to_thread(run_command, "tail", *arguments, **{**settings, **environment})
        assert (done.returncode, told in done.stderr) == (code, True), done


async def test_a_partition_that_is_added_is_read_too(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its first record on, beside the partitions of before, of which nothing is read twice or left out."""
    monkeypatch.setattr(results, "_METADATA_MS", 200)
    topic, count = bench.settings.topic_created, bench.settings.topic_partitions
    watcher = results.ResultWatcher(bench.settings)
    await watcher.start()
    try:
        await publish_raw(bench, [(b"before", [])], topic=topic)
        read = await watcher.poll()
        await raise_partitions(bench, topic, count + 1)
        for partition in (0, count):
            await publish_raw(bench, [(b"after", [])], topic=topic, partition=partition)
        async with asyncio.timeout(20):
            while len(read) < 3:
                read += await watcher.poll()
    finally:
        await watcher.close()
    found = sorted((record.partition, record.offset, record.value) for record in read)
    assert found == [(0, 0, b"before"), (0, 1, b"after"), (count, 0, b"after")]
