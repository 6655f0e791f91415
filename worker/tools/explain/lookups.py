"""What operators look up of single commands and passports: by primary key or passport_gtin_serial_key, but for one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import asyncpg

from worker.domain.command import ApiKey, Credentials, Signature
from worker.store import sql
from worker.store.facts import is_thumbprint, key_id
from worker.store.sql import Connection


class Made(NamedTuple):
    """A passport and when it was created, in the record's time."""

    passport_id: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Charge:
    """What a passport cost as overage."""

    price_cents: int
    charged_at: datetime


class KeyOwner(NamedTuple):
    """Whose a key is, and its label."""

    company_id: str
    label: str


class RowPlace(NamedTuple):
    """A row of the ledger: its offset, and when its command was appended."""

    offset: int
    appended_ms: int


async def passport_of_id(connection: Connection, passport_id: str) -> Made | None:
    """None where there is none."""
    row = await connection.fetchrow(sql.load("passport_by_id", __package__), passport_id)
    return None if row is None else Made(*row)


async def passport_of_serial(connection: Connection, gtin: str, serial: str) -> Made | None:
    """None where there is none."""
    row = await connection.fetchrow(sql.load("passport_by_serial", __package__), gtin, serial)
    return None if row is None else Made(*row)


async def bindings_of(connection: Connection, company_id: str, key: str) -> list[Made]:
    """The passports that a company's idempotency key is bound to or was bound to, the latest first."""
    return [
        Made(*row) for row in await connection.fetch(sql.load("key_bindings", __package__), key_id(company_id, key))
    ]


async def charge_of(connection: Connection, passport_id: str) -> Charge | None:
    """None for a passport that cost nothing."""
    row = await connection.fetchrow(sql.load("charge", __package__), passport_id)
    return None if row is None else Charge(**row)


async def owner_of(connection: Connection, credentials: Credentials) -> KeyOwner | None:
    """Of an API key or a signing key; None where there is none, and for a role that may not see hashes of API keys."""
    try:
        if isinstance(credentials, ApiKey):
            row = await connection.fetchrow(sql.load("api_key_owner", __package__), credentials.digest)
        elif isinstance(credentials, Signature) and is_thumbprint(credentials.key_id):
            row = await connection.fetchrow(sql.load("signing_key_owner", __package__), credentials.key_id)
        else:
            return None
    except asyncpg.InsufficientPrivilegeError:
        return None
    return None if row is None else KeyOwner(*row)


async def rows_behind(connection: Connection, ranges: Mapping[int, tuple[int, int]]) -> dict[int, RowPlace]:
    """The first row of each lane at offsets from a start to below a stop, by the lane's id; not where there is none."""
    columns = ([*ranges], [start for start, _ in ranges.values()], [stop for _, stop in ranges.values()])
    rows = await connection.fetch(sql.load("ledger_rows_behind", __package__), *columns)
    return {row["lane_id"]: RowPlace(row["offset"], row["appended_ms"]) for row in rows}


async def answered_under(  # noqa: PLR0913 - a lane, its offsets, and a key
    connection: Connection, lane_id: int, start: int, stop: int, company_id: str, key: str, most: int
) -> list[RowPlace]:
    """Where a lane has answered a company under a key, the last first. Reads every row of these offsets."""
    rows = await connection.fetch(
        sql.load("answers_under_key", __package__), lane_id, start, stop, company_id, key, most
    )
    return [RowPlace(*row) for row in rows]
