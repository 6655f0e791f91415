"""A small world to decide in: one company, one product, one valid command, and ways to change each of them."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256

from worker.domain.catalogue import ApiKeyGrant, Company, Plan, Product
from worker.domain.command import ApiKey, Command, CreatePassport, Source, UnreadableRecord
from worker.domain.facts import Facts
from worker.domain.seeding import seed_fields
from worker.messages.envelope import Limits, Record, open_envelope
from worker.messages.events import Header
from worker.messages.json_value import fingerprint

TOPIC = "dpp.passport.create.v1"
COMPANY = "6650a0b1c2d3e4f5a6b7c8d9"
OTHER_COMPANY = "7750a0b1c2d3e4f5a6b7c8d9"
PRODUCT = "6650a1b2c3d4e5f6a7b8c9d0"
OTHER_PRODUCT = "7750a1b2c3d4e5f6a7b8c9d0"
TEMPLATE = "6650a1b2c3d4e5f6a7b8c9d1"
EARLIER = "69fefa90aaaaaaaaaaaaaaaa"
"""A passport that was there before."""
GTIN = "04012345000016"
SERIAL = "BP-48V-100-000001"
LINK_BASE = "https://id.tracepass.eu/p"
NOW_MS = 1_778_320_800_000
"""2026-05-09T10:00:00.000Z."""
API_KEY = "tp_live_0123456789"
DIGEST = sha256(API_KEY.encode()).digest()
BEARER: Header = ("authorization", b"Bearer " + API_KEY.encode())
LIMITS = Limits()

PLAN = Plan("growth", max_dpps=100, overage_price_cents=75, max_v1_writes_per_day=200)
UNLIMITED = Plan("enterprise", max_dpps=None, overage_price_cents=None, max_v1_writes_per_day=None)
NO_OVERAGE = PLAN._replace(overage_price_cents=None)
SEEDED = seed_fields('[{"key": "model", "dataType": "string"}, {"key": "colour"}]', '{"model": "48V"}', "{}")


def body(**changes: object) -> dict[str, object]:
    """The body of a valid command."""
    return {"productId": PRODUCT, "gs1": {"gtin": GTIN, "serialNumber": SERIAL}, **changes}


def as_json(value: object) -> bytes:
    """Compact JSON, as a producer writes it."""
    return json.dumps(value, separators=(",", ":")).encode()


def record(
    value: bytes | None = as_json(body()),
    headers: Sequence[Header] = (BEARER,),
    *,
    offset: int = 7,
    timestamp_ms: int = NOW_MS,
    key: bytes | None = b"k",
    unreadable: UnreadableRecord | None = None,
) -> Record:
    """A record of the command topic."""
    return Record(TOPIC, 3, offset, timestamp_ms, key, value, headers, unreadable)


def opened(value: bytes | None = as_json(body()), *headers: Header, limits: Limits = LIMITS) -> Command:
    """The command of a record with these headers after its credentials."""
    return open_envelope(record(value, (BEARER, *headers)), limits).command


def command(**changes: object) -> Command:
    """A valid command without an idempotency key; `serial` and `confirm_overage` change its body."""
    wanted = CreatePassport(PRODUCT, GTIN, SERIAL, None, False)
    names = {"product_id", "gtin", "serial", "parties", "confirm_overage"} & changes.keys()
    wanted = wanted._replace(**{name: changes.pop(name) for name in names})  # type: ignore[arg-type]  # test data
    plain = Command(Source(TOPIC, 3, 7, NOW_MS), f"{TOPIC}:3:7", None, False, None, ApiKey(DIGEST), wanted, None, None)
    return plain._replace(**changes)  # type: ignore[arg-type]  # test data


def keyed(key: str = "key-1", of: Mapping[str, object] | None = None, **changes: object) -> Command:
    """A valid command with an idempotency key, and the fingerprint of body `of`."""
    print_of_body = fingerprint(dict(body() if of is None else of))
    return command(key=key, idempotency_key=key, fingerprint=print_of_body, **changes)


def product(product_id: str = PRODUCT, company_id: str = COMPANY) -> Product:
    """A product with one field of two filled."""
    return Product(product_id, company_id, TEMPLATE, SEEDED)


def facts(
    plan: Plan = PLAN,
    subscription: str | None = "active",
    *,
    used: int = 0,
    writes: int = 0,
    revoked_ms: int | None = None,
) -> Facts:
    """What is known: the company, another one, and a product of each."""
    return Facts(
        api_keys={DIGEST: ApiKeyGrant(COMPANY, revoked_ms)},
        companies={
            COMPANY: Company(COMPANY, plan, subscription),
            OTHER_COMPANY: Company(OTHER_COMPANY, plan, "active"),
        },
        products={PRODUCT: product(), OTHER_PRODUCT: product(OTHER_PRODUCT, OTHER_COMPANY)},
        slots_used={COMPANY: used},
        writes={(COMPANY, NOW_MS // 86_400_000): writes},
    )
