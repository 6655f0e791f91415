"""Every outcome through a real worker, published and read by librdkafka clients."""

import json
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest

from tests.invariants import check_invariants
from tests.outcomes import GOOD, TRACEPARENT, answer_all, check_outcomes
from tests.workbench import Result, Workbench


@pytest.fixture
async def answered(bench: Workbench, tmp_path: Path) -> tuple[Workbench, list[Result]]:
    """The workbench after all commands were answered, and the results in input order."""
    worker = bench.start_worker(tmp_path / "worker.log")
    results = await answer_all(bench)
    assert bench.stop_worker(worker) == 0
    await check_invariants(bench)
    return bench, results


async def test_all_outcomes(answered: tuple[Workbench, list[Result]]) -> None:
    """Topic, status and body of every outcome, as the contract says them."""
    check_outcomes(*answered)


async def test_headers_keys_and_replays(answered: tuple[Workbench, list[Result]]) -> None:
    """CloudEvents headers, result keys, the replayed event's bytes, and the trace context."""
    bench, results = answered
    first, replay, structured = results[0], results[1], results[19]
    assert replay.value == first.value
    assert (first.header("idempotency-replayed"), replay.header("idempotency-replayed")) == (None, "true")
    assert replay.header("ce_subject") == first.body["_id"]
    assert (first.key, results[5].key) == (b"k-created", f"{bench.settings.topic_commands}:0:5".encode())
    assert results[13].key == b"k-unreadable"
    assert structured.header("traceparent") == TRACEPARENT.decode()
    assert structured.header("tracestate") == "v=1"
    for result in results:
        assert result.header("ce_id") == str(uuid5(NAMESPACE_URL, result.cause))
        assert result.header("ce_type") == f"eu.tracepass.passport.{bench.label_of(result.topic)}.v1"
        assert result.header("ce_specversion") == "1.0"
    assert results[13].header("ce_companyid") is None
    assert results[16].header("ce_companyid") == GOOD.company_id


async def test_dead_letters(answered: tuple[Workbench, list[Result]]) -> None:
    """Copies byte for byte, without credentials, and where they came from."""
    bench, _ = answered
    garbage, tombstone = bench.read([bench.dead_letters])
    assert (garbage.key, garbage.value) == (b"\x00key", b"{not json")
    assert [header for header in garbage.headers if not header[0].startswith("dlq-")] == [
        ("Idempotency-Key", b"k-unreadable"),
        ("x-raw", b"\xff\x00"),
        ("x-null", None),
    ]
    assert [name for name, _ in garbage.headers[3:]] == [
        "dlq-original-topic",
        "dlq-original-partition",
        "dlq-original-offset",
        "dlq-original-timestamp",
        "dlq-consumer-group",
        "dlq-reason",
    ]
    assert garbage.header("dlq-original-offset") == "13"
    assert (tombstone.key, tombstone.value, tombstone.header("dlq-reason")) == (b"tombstone", None, "tombstone")


async def test_large_passports_come_in_smaller_batches(bench: Workbench, tmp_path: Path) -> None:
    """300 created events of 100 KB are too much for one batch; they are answered all the same, in order."""
    connection = await bench.connect()
    fields = json.dumps([{"key": "picture", "dataType": "string", "defaultValue": "x" * 100_000}])
    await connection.execute("UPDATE template SET fields = $1 WHERE id = $2", fields, GOOD.product_id)
    await connection.close()
    bench.publish(bench.command(GOOD, 1, f"large-{n}", partition=0) for n in range(300))
    bench.start_worker(tmp_path / "worker.log")
    results = await bench.wait_for_results(300)
    assert {bench.label_of(result.topic) for result in results} == {"created"}
    await check_invariants(bench)
    lines = [json.loads(line) for line in (tmp_path / "worker.log").read_text().splitlines()]
    assert max(line["records"] for line in lines if line["event"] == "turn") < 170
