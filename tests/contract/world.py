"""One small catalogue for both stores, and lanes that tests drive as a worker drives them."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import asyncpg

from tests.memory_store import MemoryStore
from tests.signing import signer_of
from tests.workbench import Tenant, gtin, tenant
from worker.batch.batch import Batch
from worker.batch.pipeline import Pipeline
from worker.batch.recovery import Processor
from worker.domain.command import AccessToken, Command
from worker.domain.timestamps import DAY_MS, format_ms
from worker.messages.envelope import Limits, Record, open_envelope
from worker.messages.events import Answer, Header
from worker.store.facts import key_id
from worker.store.port import ExpectedPosition, FencingToken, LaneName, Owner, Registered, Store
from worker.store.postgres import PostgresStore
from worker.store.sql import Connection
from worker.tools.catalogue.load import load_catalogue
from worker.tools.common.catalogue.file import parse_catalogue
from worker.tools.common.migrating import migrate

TOPIC = "dpp.passport.create.v1"
LINK_BASE = "https://id.tracepass.eu/p"
NOW_MS = 1_778_320_800_000
"""2026-05-09T10:00:00.000Z."""
MIDNIGHT_MS = NOW_MS - NOW_MS % DAY_MS + DAY_MS
"""The UTC midnight after it."""
LIMITS = Limits(value_bytes=1024 * 1024)

OPEN, RIVAL, GROWTH, HARD, PAST_DUE = TENANTS = tuple(tenant(number) for number in range(1, 6))
REVOKED_MS = NOW_MS + 60_000
REVOKED = replace(OPEN, api_key="tp_secret_revoked")
"""A key of `OPEN` that is valid for records appended before `REVOKED_MS`."""
FRACTION = replace(OPEN, api_key="tp_secret_fraction")
"""A key of `OPEN` that is revoked half a millisecond after `REVOKED_MS`."""
UNKNOWN = replace(OPEN, api_key="tp_secret_unknown")

_PLANS = {OPEN: "none", RIVAL: "none", GROWTH: "growth", HARD: "hard", PAST_DUE: "none"}
_FIELDS = [{"key": "colour", "dataType": "string", "defaultValue": "blue"}, {"key": "mass", "dataType": "number"}]


def _plan(name: str, *limits: int | None) -> dict[str, object]:
    return {"id": name, **dict(zip(("maxDpps", "overagePriceCents", "maxV1WritesPerDay"), limits, strict=True))}


def _company(one: Tenant) -> dict[str, object]:
    keys: list[dict[str, object]] = [{"key": one.api_key}]
    if one == OPEN:
        moment = format_ms(REVOKED_MS)
        keys.append({"key": REVOKED.api_key, "revokedAt": moment})
        keys.append({"key": FRACTION.api_key, "revokedAt": moment.replace("Z", "500Z")})
    subscription = "past_due" if one == PAST_DUE else "active"
    named = {"_id": one.company_id, "name": "Company", "plan": _PLANS[one], "subscription": subscription}
    signing_keys = [{"jwk": signer_of(one, TOPIC).jwk.members}]
    return {**named, "apiKeys": keys, "signingKeys": signing_keys, "prefill": {"mass": 4.5} if one == RIVAL else {}}


def _product(one: Tenant) -> dict[str, object]:
    ids = {"_id": one.product_id, "companyId": one.company_id, "templateId": OPEN.product_id}
    return {**ids, "name": "n", "model": "m", "defaultFieldValues": {"colour": "red"} if one == GROWTH else {}}


CATALOGUE = parse_catalogue(
    json.dumps(
        {
            "plans": [_plan("none", None, None, None), _plan("growth", 3, 75, 4), _plan("hard", 2, None, None)],
            "companies": [_company(one) for one in TENANTS],
            "templates": [{"_id": OPEN.product_id, "category": "battery", "version": 1, "fields": _FIELDS}],
            "products": [_product(one) for one in TENANTS],
        }
    ),
    ".json",
)
"""`growth` has 3 slots, overage at 75 cents and 4 writes a day; `hard` has 2 slots and sells no more."""


async def furnish(database_url: str) -> None:
    """Migrate an empty database and load the catalogue."""
    connection = await asyncpg.connect(database_url)
    try:
        await migrate(connection)
        await load_catalogue(connection, CATALOGUE)
    finally:
        await connection.close()


_KEPT = ("passport", "overage_charge", "idempotency_key", "daily_writes", "gtin_registration", "ledger", "dead_letter")


async def wipe(database_url: str) -> None:
    """Forget all but the catalogue; deleting a few rows is faster than truncating, and much faster than a database."""
    connection = await asyncpg.connect(database_url)
    try:
        deletions = "; ".join(f"DELETE FROM {table}" for table in (*_KEPT, "lane"))
        await connection.execute(f"{deletions}; UPDATE company_usage SET slots_used = 0 WHERE slots_used <> 0")
    finally:
        await connection.close()


async def now_ms_of(store: PostgresStore) -> int:
    """Now by the database's clock; a test that would cross midnight waits for it."""
    async with store.session() as connection:
        now_ms = await connection.fetchval("SELECT (extract(epoch FROM now()) * 1000)::bigint")
    assert isinstance(now_ms, int)
    if DAY_MS - now_ms % DAY_MS < 10_000:
        await asyncio.sleep(11)
        return await now_ms_of(store)
    return now_ms


def ask(
    one: Tenant,
    number: int = 1,
    serial: str = "s",
    *,
    at_ms: int = NOW_MS,
    key: str | None = None,
    headers: Sequence[Header] = (),
    **more: object,
) -> Record:
    """A record that asks for a passport with the GTIN of `number`; `more` is merged into the body."""
    body = {"productId": one.product_id, "gs1": {"gtin": gtin(number), "serialNumber": serial}, **more}
    sent: list[Header] = [("authorization", one.authorization), *headers]
    if key is not None:
        sent.append(("idempotency-key", key.encode()))
    return Record(TOPIC, 0, 0, at_ms, b"record-key", json.dumps(body).encode(), sent)


def with_token(record: Record, company_id: str, scope: str = "passports:write", expires_ms: int = NOW_MS + 1) -> Record:
    """The record with an access token, which `Lane` takes as verified, in place of its API key."""
    others = [header for header in record.headers if header[0] != "authorization"]
    token = f"Bearer {company_id}|{scope}|{expires_ms / 1000}".encode()
    return record._replace(headers=[("authorization", token), *others])


def signed(record: Record, one: Tenant) -> Record:
    """The record with a signature in place of its API key."""
    others = [header for header in record.headers if header[0] != "authorization"]
    key = dict(others).get("idempotency-key")
    signature = signer_of(one, TOPIC).headers(
        record.value or b"", None if key is None else key.decode(), None, record.timestamp_ms / 1000
    )
    return record._replace(headers=[*signature, *others])


def _opened(record: Record) -> Command:
    envelope = open_envelope(record, LIMITS)
    if envelope.token is None:
        return envelope.command
    company_id, scope, expires_at = envelope.token.split("|")
    token = AccessToken(company_id, frozenset([scope]), float(expires_at), 0.0)
    return envelope.command._replace(credentials=token)


def processor_of(store: Store) -> Processor:
    """A processor as a worker has it."""
    return Processor(Pipeline(store, LINK_BASE))


async def fence(
    store: Store,
    name: LaneName,
    generation: int = 1,
    member: str = "member",
    producer: str = "producer",
    *,
    force: bool = False,
) -> FencingToken:
    """Take a lane from whoever holds it."""
    registered = (await store.register([name], Owner(generation, member, producer), force=force))[name]
    assert isinstance(registered, Registered)
    return registered.token


class Lane:
    """A lane of a store: gives records their offsets, and processes them batch by batch."""

    def __init__(self, store: Store, token: FencingToken, applied: int, processor: Processor) -> None:
        self.store, self.token, self.applied, self.processor = store, token, applied, processor

    @classmethod
    async def open(cls, store: Store, partition: int = 0, processor: Processor | None = None) -> Self:
        """Fence whoever holds it, and go on where it stands; on a processor of its own, as in another process."""
        token = await fence(store, LaneName("group", TOPIC, partition))
        position = (await store.positions([token]))[token] or await store.start_lane(token, 0)
        return cls(store, token, position.applied, processor or processor_of(store))

    def batch(self, *asked: Record) -> Batch:
        """The records as the next batch, with their commands."""
        partition = self.token.name.partition
        records = [one._replace(partition=partition, offset=self.applied + at) for at, one in enumerate(asked)]
        commands = [_opened(record) for record in records]
        expected = ExpectedPosition(self.token, self.applied, 0)
        return Batch(expected, self.applied + len(records), records, commands=commands)

    async def process(self, *asked: Record) -> Sequence[Answer]:
        """The answers to the records as one batch."""
        batch = self.batch(*asked)
        await self.processor.process([batch])
        if batch.error is not None:
            raise batch.error
        self.applied = batch.stop
        return batch.answers

    @staticmethod
    async def process_together(asked: Sequence[tuple["Lane", Sequence[Record]]]) -> list[Sequence[Answer]]:
        """The answers to the records of several lanes of a store, in one transaction."""
        batches = [lane.batch(*records) for lane, records in asked]
        await Pipeline(asked[0][0].store, LINK_BASE).transaction(batches)
        for (lane, _), batch in zip(asked, batches, strict=True):
            lane.applied = batch.stop
        return [batch.answers for batch in batches]

    async def verdicts(self, *asked: Record) -> list[str]:
        """See `verdict`."""
        return [verdict(answer) for answer in await self.process(*asked)]

    async def answers(self) -> list[Answer]:
        """All that the ledger holds."""
        return await self.store.answers(self.token, 0, self.applied, 10_000)


def verdict(answer: Answer) -> str:
    """`created`, `replayed`, or status and error of a refusal in short."""
    if answer.passport_id is not None:
        return "replayed" if answer.replayed else "created"
    body = json.loads(answer.value)
    return f"{body['status']} {body.get('conflict') or body['error'].split('.')[0].split(':')[0]}"


@dataclass(frozen=True)
class Books:
    """What a store keeps besides its lanes, in one form for both stores."""

    slots: dict[str, int]
    writes: dict[tuple[str, int], int]
    owners: dict[str, str]
    passports: dict[tuple[str, str], tuple[str, str, bytes]]
    """Company, id and created body, by GTIN and serial."""
    bindings: dict[bytes, tuple[bytes, str, int]]
    """Fingerprint, passport id and creation (ms), by key id."""
    charges: dict[str, int]


async def books_of(store: Store) -> Books:
    """Read all that a store keeps."""
    if isinstance(store, MemoryStore):
        return _books_in_memory(store)
    assert isinstance(store, PostgresStore)
    async with store.session() as connection:
        return await _books_in_postgres(connection)


def _books_in_memory(store: MemoryStore) -> Books:
    facts = store.facts
    bodies = {answer.passport_id: answer.value for lane in store._lanes.values() for answer in lane.ledger.values()}
    return Books(
        dict(facts.slots_used),
        dict(facts.writes),
        dict(facts.gtin_owners),
        {(one.gtin, one.serial): (one.company_id, one.passport_id, bodies[one.passport_id]) for one in store.passports},
        {key_id(*at): (one.fingerprint, one.passport_id, one.created_ms) for at, one in facts.bindings.items()},
        {one.passport_id: one.overage_price_cents for one in store.passports if one.overage_price_cents is not None},
    )


async def _books_in_postgres(connection: Connection) -> Books:
    async def fetch(query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await connection.fetch(query)]

    company = "JOIN company c ON c.number = company_number"
    created_ms = "round(extract(epoch FROM created_at) * 1000)::bigint"
    writes = await fetch(f"SELECT c.id, day - date '1970-01-01', writes FROM daily_writes {company}")
    passports = await fetch(f"SELECT gtin, serial, c.id, encode(p.id, 'hex'), p.created_body FROM passport p {company}")
    keys = f"SELECT id, fingerprint, encode(passport_id, 'hex'), {created_ms} FROM idempotency_key ORDER BY created_at"
    return Books(
        dict(await fetch(f"SELECT c.id, slots_used FROM company_usage {company} WHERE slots_used <> 0")),
        {(company, day): count for company, day, count in writes},
        dict(await fetch("SELECT gtin, company_id FROM gtin_registration")),
        {(gtin, serial): (company, passport, body) for gtin, serial, company, passport, body in passports},
        {key: (digest, passport, at_ms) for key, digest, passport, at_ms in await fetch(keys)},
        dict(await fetch("SELECT encode(passport_id, 'hex'), price_cents FROM overage_charge")),
    )


async def until_waiting(connection: Connection, sessions: int = 1) -> int:
    """Until that many sessions wait for a lock; the process id of one of them."""
    query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(10):
        while True:
            await connection.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction sees the first again
            waiting = await connection.fetch(query)
            if len(waiting) >= sessions:
                return int(waiting[0]["pid"])
            await asyncio.sleep(0.005)
