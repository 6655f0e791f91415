"""The rows and events of commands, made by hand and without rules: what the floors and the peer have to write."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any

from tests.benchmark.catalogue import BenchProduct, fields_json, product
from worker.store.facts import key_id
from worker.store.frames import Frame, frame_of, own_values
from worker.store.sql import Connection

_TYPE = b"eu.tracepass.passport.created.v1"


@dataclass(frozen=True, slots=True)
class Deed:
    """A passport to write, and the event to publish."""

    partition: int
    offset: int
    passport_id: str
    product: BenchProduct
    serial: str
    appended_at: datetime
    body: bytes
    frame: Frame
    key: str
    fingerprint: bytes
    headers: list[tuple[str, bytes]]


def deed(topic: str, partition: int, offset: int, appended_ms: int, value: bytes, headers: Mapping[str, bytes]) -> Deed:
    """Parse a command and make what has to be written, with as many bytes as the worker's."""
    asked = json.loads(value)
    one, fields = _known(asked["productId"])
    serial = asked["gs1"]["serialNumber"]
    path = f"{topic}/{partition}/{offset}"
    digest = sha256(value).digest()
    passport_id = f"{appended_ms // 1000:08x}{sha256(path.encode()).hexdigest()[:16]}"
    appended_at = datetime.fromtimestamp(appended_ms / 1000, UTC)
    created_at = f"{appended_at:%Y-%m-%dT%H:%M:%S}.{appended_ms % 1000:03d}Z"
    parties = f'"parties":{json.dumps(asked["parties"])},' if "parties" in asked else ""
    body = (
        f'{{"_id":"{passport_id}","companyId":"{one.company_id}","productId":"{one.product_id}",'
        f'"templateId":"{one.template_id}","gs1":{{"gtin":"{one.gtin}","serialNumber":"{serial}",'
        f'"digitalLinkUri":"https://id.tracepass.eu/p/01/{one.gtin}/21/{serial}","conformant":true}},"status":"draft",'
        f'"completionPercentage":75,"fieldCounts":{{"total":12,"empty":3,"approved":9,"pendingReview":0,"flagged":0}},'
        f'"fields":{fields},{parties}"createdAt":"{created_at}"}}'
    ).encode()
    return Deed(
        partition,
        offset,
        passport_id,
        one,
        serial,
        appended_at,
        body,
        _frame(one.product_id, body, passport_id, serial, appended_ms),
        headers["idempotency-key"].decode(),
        digest,
        _headers(path, passport_id, one, created_at, digest),
    )


@cache
def _known(product_id: str) -> tuple[BenchProduct, str]:
    """The product, and its passports' fields as JSON; a pipeline without rules would hold them in memory."""
    company, number = divmod(int(product_id, 16) & 0xFFFF_FFFF_FFFF, 256)
    return product(company, number), fields_json(company, number)


_frames: dict[str, Frame] = {}


def _frame(product_id: str, body: bytes, passport_id: str, serial: str, appended_ms: int) -> Frame:
    """What passports of the product share, made once; a pipeline without rules would hold it in memory."""
    found = _frames.get(product_id)
    if found is None:
        own = own_values(passport_id, _known(product_id)[0].gtin, serial, appended_ms)
        found = _frames[product_id] = frame_of(body, own)
    return found


def _headers(path: str, passport_id: str, one: BenchProduct, created_at: str, digest: bytes) -> list[tuple[str, bytes]]:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_id", digest.hex()[:36].encode()),
        ("ce_source", b"/passport-worker"),
        ("ce_type", _TYPE),
        ("ce_time", created_at.encode()),
        ("ce_subject", passport_id.encode()),
        ("ce_companyid", one.company_id.encode()),
        ("ce_causationid", path.encode()),
        ("content-type", b"application/json"),
    ]


_WRITE = """
WITH made AS (
    SELECT made.*, decode(hex_id, 'hex') AS id, c.number AS company_number
      FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
                         $8::bytea[], $9::text[], $10::bytea[], $11::int[], $12::bigint[], $13::bytea[])
        AS made (hex_id, company_id, product_id, template_id, gtin, serial, at, frame_id, key, fingerprint, lane_id,
                 "offset", key_id)
      JOIN company c ON c.id = made.company_id
), passports AS (
    INSERT INTO passport (id, company_number, gtin, serial, created_at, frame_id)
    SELECT id, company_number, gtin, serial, at, frame_id FROM made
), keys AS (
    INSERT INTO idempotency_key (id, day, fingerprint, passport_id, created_at, company_number)
    SELECT key_id, (at AT TIME ZONE 'UTC')::date, fingerprint, id, at, company_number FROM made
), slots AS (
    UPDATE company_usage u SET slots_used = u.slots_used + n
      FROM (SELECT company_number, count(*) AS n FROM made GROUP BY 1) AS taken
     WHERE u.company_number = taken.company_number
), days AS (
    INSERT INTO daily_writes AS w SELECT company_number, (at AT TIME ZONE 'UTC')::date, count(*) FROM made GROUP BY 1, 2
        ON CONFLICT (company_number, day) DO UPDATE SET writes = w.writes + excluded.writes
), answers AS (
    INSERT INTO ledger (lane_id, "offset", appended_at, kind, replayed, key, company_id, passport_id)
    SELECT lane_id, "offset", at, 1, false, key, company_id, id FROM made
)
UPDATE lane SET applied = top FROM (SELECT lane_id, max("offset") + 1 AS top FROM made GROUP BY 1) AS moved
 WHERE id = lane_id
"""


async def write_set(connection: Connection, deeds: Sequence[Deed], lanes: Mapping[int, int]) -> None:
    """All rows of many deeds in one transaction: one statement. `lanes` are lane ids by partition."""
    columns: list[list[Any]] = [
        [one.passport_id for one in deeds],
        [one.product.company_id for one in deeds],
        [one.product.product_id for one in deeds],
        [one.product.template_id for one in deeds],
        [one.product.gtin for one in deeds],
        [one.serial for one in deeds],
        [one.appended_at for one in deeds],
        [one.frame.id for one in deeds],
        [one.key for one in deeds],
        [one.fingerprint for one in deeds],
        [lanes[one.partition] for one in deeds],
        [one.offset for one in deeds],
        [key_id(one.product.company_id, one.key) for one in deeds],
    ]
    await write_frames(connection, deeds)
    await connection.execute(_WRITE, *columns)


async def numbers_of_companies(connection: Connection) -> dict[str, int]:
    """What large tables know them by."""
    return {row["id"]: row["number"] for row in await connection.fetch("SELECT id, number FROM company")}


async def write_frames(connection: Connection, deeds: Sequence[Deed]) -> None:
    """Those that nobody has written yet, as far as this process knows."""
    new = {one.frame.id: one for one in deeds if one.frame.id not in _written}
    if new:
        rows = [
            (id, one.product.product_id, one.product.template_id, one.frame.text.decode()) for id, one in new.items()
        ]
        await connection.executemany("INSERT INTO passport_frame VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING", rows)
        _written.update(new)


_written: set[bytes] = set()


async def make_lanes(connection: Connection, group_id: str, topic: str, partitions: int) -> dict[int, int]:
    """A lane row a partition; their ids."""
    rows = await connection.fetch(
        "INSERT INTO lane (group_id, topic, partition, applied, emitted, ledger_from) "
        "SELECT $1, $2, one, 0, 0, 0 FROM generate_series(0, $3 - 1) AS one RETURNING partition, id",
        group_id,
        topic,
        partitions,
    )
    return {row["partition"]: row["id"] for row in rows}
