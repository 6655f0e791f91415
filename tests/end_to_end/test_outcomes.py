"""Every outcome of contract section 3 through a real worker, published and read by librdkafka clients."""

import json
from collections.abc import Mapping
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest

from tests.invariants import check_invariants
from tests.workbench import Result, Workbench, add_tenant, gtin, tenant

GOOD, OTHER, FULL, BLOCKED, LIMITED, UNPAID = (tenant(number) for number in range(6))
TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def _prepare(bench: Workbench) -> None:
    connection = await bench.connect()
    try:
        await add_tenant(connection, FULL, max_dpps=1, overage_price_cents=75)
        await add_tenant(connection, BLOCKED, max_dpps=1)
        await add_tenant(connection, LIMITED, max_writes=1)
        await add_tenant(connection, UNPAID, subscription="past_due")
    finally:
        await connection.close()


def _commands(bench: Workbench) -> list[dict[str, object]]:
    """In one partition, in this order; the index is the offset, plus markers that are not there."""
    body = json.loads(bench.command(GOOD, 1, "a")["value"])  # type: ignore[arg-type]
    structured = {
        "specversion": "1.0",
        "id": "1",
        "source": "/mes",
        "type": "create",
        "data": {**body, "gs1": {"gtin": gtin(1), "serialNumber": "structured"}},
    }
    auth = ("authorization", GOOD.authorization)
    return [
        bench.command(GOOD, 1, "a", key="k-created"),
        bench.command(GOOD, 1, "a", key="k-created"),
        bench.command(GOOD, 1, "b", key="k-created"),
        bench.command(GOOD, 1, "a", key="k-serial"),
        bench.command(OTHER, 1, "c"),
        bench.command(FULL, 2, "one"),
        bench.command(FULL, 2, "two", key="k-overage"),
        bench.command(FULL, 2, "two", key="k-overage", confirmOverage=True),
        bench.command(BLOCKED, 3, "one"),
        bench.command(BLOCKED, 3, "two"),
        bench.command(LIMITED, 4, "one"),
        bench.command(LIMITED, 4, "two"),
        bench.command(UNPAID, 5, "one"),
        {
            "value": b"{not json",
            "headers": [
                ("Idempotency-Key", b"k-unreadable"),
                ("Authorization", b"Bearer tp_secret_x"),
                ("x-raw", b"\xff\x00"),
                ("x-null", None),
            ],
            "key": b"\x00key",
        },
        {"value": None, "headers": [auth], "key": b"tombstone"},
        {"value": json.dumps(body).encode(), "headers": [("authorization", b"Bearer tp_secret_unknown")]},
        {
            "value": json.dumps({**body, "gs1": {"gtin": "04012345000017", "serialNumber": ""}}).encode(),
            "headers": [auth],
        },
        {"value": json.dumps({**body, "productId": OTHER.product_id}).encode(), "headers": [auth]},
        {"value": json.dumps(body).encode(), "headers": [auth, ("idempotency-key", b"\x01")]},
        {
            "value": json.dumps(structured).encode(),
            "headers": [
                auth,
                ("content-type", b"application/cloudevents+json"),
                ("traceparent", TRACEPARENT),
                ("tracestate", b"v=1"),
            ],
        },
    ]


EXPECTED: list[tuple[str, int | None, Mapping[str, object]]] = [
    ("created", None, {"status": "draft", "completionPercentage": 50}),
    ("created", None, {"status": "draft"}),
    (
        "rejected",
        422,
        {
            "error": "Idempotency-Key has already been used with a different request body. "
            "Use a new key for the new request, or reuse the original body."
        },
    ),
    ("conflict", 409, {"error": "Serial number already exists for this GTIN", "conflict": "serial_exists"}),
    (
        "conflict",
        409,
        {
            "error": "This GTIN is already registered by another company. Contact support if this is an error.",
            "conflict": "gtin_registered",
        },
    ),
    ("created", None, {}),
    (
        "overage-required",
        402,
        {
            "error": "overage_required",
            "planLimit": 1,
            "currentUsage": 1,
            "extraPriceCents": 75,
            "message": "DPP quota reached. Retry with { confirmOverage: true } to accept the per-passport charge.",
        },
    ),
    ("created", None, {"overage": {"priceCents": 75}}),
    ("created", None, {}),
    (
        "rejected",
        402,
        {
            "error": "dpp_hard_block",
            "planLimit": 1,
            "currentUsage": 1,
            "message": "DPP quota reached and this plan has no overage. Upgrade your plan.",
        },
    ),
    ("created", None, {}),
    (
        "rejected",
        429,
        {
            "error": "API rate limit: 1 writes/day via /api/v1. Currently 1 today; requested 1. "
            "Retry tomorrow (UTC) or upgrade your plan."
        },
    ),
    ("rejected", 402, {"error": "subscription_inactive", "details": {"status": "past_due"}}),
    ("rejected", 400, {"error": "Unreadable command"}),
    ("rejected", 400, {"error": "Unreadable command"}),
    ("rejected", 401, {"error": "Unauthorized"}),
    (
        "rejected",
        400,
        {
            "error": "Validation error",
            "details": {
                "fieldErrors": {
                    "gs1.gtin": ["GTIN check digit is invalid"],
                    "gs1.serialNumber": ["Expected 1 to 100 characters"],
                }
            },
        },
    ),
    ("rejected", 404, {"error": "Product not found"}),
    ("rejected", 400, {"error": "Validation error"}),
    ("created", None, {}),
]


@pytest.fixture
async def answered(bench: Workbench, tmp_path: Path) -> tuple[Workbench, list[Result]]:
    """The workbench after all commands were answered, and the results in input order."""
    await _prepare(bench)
    commands = [{**command, "partition": 0} for command in _commands(bench)]
    bench.publish(commands)
    worker = bench.start_worker(tmp_path / "worker.log")
    await bench.wait_for_results(len(commands))
    assert bench.stop_worker(worker) == 0
    results = await check_invariants(bench)
    return bench, sorted(results, key=lambda one: int(one.cause.rpartition("/")[2]))


async def test_all_outcomes(answered: tuple[Workbench, list[Result]]) -> None:
    """Topic, status and body of every outcome, as the contract says them."""
    bench, results = answered
    for result, (label, status, body) in zip(results, EXPECTED, strict=True):
        assert bench.label_of(result.topic) == label, result
        found = result.body
        if status is not None:
            assert found["status"] == status
        assert {name: found.get(name) for name in body} == dict(body), result.cause


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
    assert max(line["records"] for line in lines if line["event"] == "batch") < 170
