"""Queries for single commands and passports. All use an index, except the one for answers under a key."""

from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import asyncpg

from worker.domain.command import ApiKey, Credentials, Signature
from worker.store import sql
from worker.store.facts import key_id
from worker.store.look_up import is_thumbprint
from worker.store.sql import Connection
from worker.tools.explain.report import ChargeReport


class CreatedPassport(NamedTuple):
    """A passport, and the append time of the command that created it."""

    passport_id: str
    created_ms: int


class LedgerRow(NamedTuple):
    """A row of the ledger: its offset, and when its command was appended."""

    offset: int
    appended_ms: int


async def passport_by_id(connection: Connection, passport_id: str) -> CreatedPassport | None:
    """The passport with this id; None if there is none."""
    row = await connection.fetchrow(sql.load("passport_by_id", __package__), passport_id)
    return None if row is None else CreatedPassport(*row)


async def passport_by_serial(connection: Connection, gtin: str, serial: str) -> CreatedPassport | None:
    """The passport of a unit; None if there is none."""
    row = await connection.fetchrow(sql.load("passport_by_serial", __package__), gtin, serial)
    return None if row is None else CreatedPassport(*row)


async def bindings_of(connection: Connection, company_id: str, key: str) -> list[CreatedPassport]:
    """The passports that a company's idempotency key is or was bound to, latest first."""
    rows = await connection.fetch(sql.load("key_bindings", __package__), key_id(company_id, key))
    return [CreatedPassport(*row) for row in rows]


async def charge_of(connection: Connection, passport_id: str, currency: str) -> ChargeReport | None:
    """The charge for a passport; None for a passport without one."""
    row = await connection.fetchrow(sql.load("charge", __package__), passport_id)
    return None if row is None else ChargeReport(**row, currency=currency)


async def key_label(connection: Connection, credentials: Credentials) -> str | None:
    """The label of an API key or a signing key; None if it is unknown, or our role may not see hashes of keys."""
    label: str | None = None
    with suppress(asyncpg.InsufficientPrivilegeError):
        if isinstance(credentials, ApiKey):
            label = await connection.fetchval(sql.load("api_key_label", __package__), credentials.digest)
        elif isinstance(credentials, Signature) and is_thumbprint(credentials.key_id):
            label = await connection.fetchval(sql.load("signing_key_label", __package__), credentials.key_id)
    return label


async def first_rows(connection: Connection, ranges: Mapping[int, tuple[int, int]]) -> dict[int, LedgerRow]:
    """The first ledger row in each range of offsets, by the id of the lane. The dict lacks lanes without such a row."""
    columns = ([*ranges], [start for start, _ in ranges.values()], [stop for _, stop in ranges.values()])
    rows = await connection.fetch(sql.load("ledger_rows_behind", __package__), *columns)
    return {row["lane_id"]: LedgerRow(row["offset"], row["appended_ms"]) for row in rows}


async def answered_under(  # noqa: PLR0913 - a lane, its offsets, and a key
    connection: Connection, lane_id: int, start: int, stop: int, company_id: str, key: str, most: int
) -> list[LedgerRow]:
    """Where a lane answered a company under a key, latest first. Reads every row of these offsets."""
    rows = await connection.fetch(
        sql.load("answers_under_key", __package__), lane_id, start, stop, company_id, key, most
    )
    return [LedgerRow(*row) for row in rows]
