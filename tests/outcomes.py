"""One command for every outcome, and what each is answered with."""

import json
from collections.abc import Mapping, Sequence

from tests.workbench import Result, Workbench, add_tenant, gtin, tenant

GOOD, OTHER, FULL, BLOCKED, LIMITED, UNPAID = (tenant(number) for number in range(6))
TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def prepare(bench: Workbench) -> None:
    """Give the tenants plans and subscriptions that lead to their outcomes."""
    connection = await bench.connect()
    try:
        await add_tenant(connection, FULL, max_dpps=1, overage_price_cents=75)
        await add_tenant(connection, BLOCKED, max_dpps=1)
        await add_tenant(connection, LIMITED, max_writes=1)
        await add_tenant(connection, UNPAID, subscription="past_due")
    finally:
        await connection.close()


def commands(bench: Workbench) -> list[dict[str, object]]:
    """To be published to one partition, in this order: the index is the offset."""
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
"""Topic, status and some of the body of each answer."""


async def answer_all(bench: Workbench) -> list[Result]:
    """Publish all commands while a worker runs, or before; the results in input order."""
    await prepare(bench)
    published = [{**command, "partition": 0} for command in commands(bench)]
    bench.publish(published)
    results = await bench.wait_for_results(len(published))
    return sorted(results, key=lambda one: int(one.cause.rpartition("/")[2]))


def check_outcomes(bench: Workbench, results: Sequence[Result]) -> None:
    """Results in input order are the expected ones."""
    for result, (label, status, body) in zip(results, EXPECTED, strict=True):
        assert bench.label_of(result.topic) == label, result
        found = result.body
        if status is not None:
            assert found["status"] == status
        assert {name: found.get(name) for name in body} == dict(body), result.cause
