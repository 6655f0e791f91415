"""Reads rows of the catalogue from the database, as a catalogue file would have them."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping

import asyncpg

from worker.store import sql
from worker.store.sql import Connection
from worker.tools.common.catalogue.rows import CatalogueRow, RowKind, jwk_of, time_text

_ROWS_AT_ONCE = 100
"""Few, since rows have up to 128 KiB of JSON."""

_PATIENCE_SECONDS = 30.0
"""Time for the next rows."""

_QUERIES: Mapping[RowKind, str] = {
    "plan": "stored_plans",
    "company": "stored_companies",
    "api-key": "stored_api_keys",
    "signing-key": "stored_signing_keys",
    "template": "stored_templates",
    "product": "stored_products",
}
_JSON = ("prefill", "jwk", "fields", "defaultFieldValues")
_TIMES = ("signaturesRequiredFrom", "closedAt", "notBefore", "revokedAt")


async def stored_rows(connection: Connection, kind: RowKind, ids: Iterable[str]) -> dict[str, CatalogueRow]:
    """Rows with these ids (see `CatalogueRow`), as far as they exist, by id."""
    wanted = [bytes.fromhex(digest) for digest in ids] if kind == "api-key" else list(ids)
    records = await connection.fetch(sql.load(_QUERIES[kind], __package__), wanted, None, timeout=_PATIENCE_SECONDS)
    return {row.id: row for row in (_row(kind, record) for record in records)}


async def all_rows(connection: Connection, kind: RowKind, company_id: str | None) -> AsyncIterator[CatalogueRow]:
    """All rows of a kind, or those that one company has and uses. Needs a transaction; memory stays bounded.

    Companies come by id, and keys by the id of their company, in the same order.
    """
    query = sql.load(_QUERIES[kind], __package__)
    async for record in connection.cursor(query, None, company_id, prefetch=_ROWS_AT_ONCE, timeout=_PATIENCE_SECONDS):
        yield _row(kind, record)


def _row(kind: RowKind, record: asyncpg.Record) -> CatalogueRow:
    """The row of a record. Queries name columns as the file does, after the ids of the row and of its company."""
    columns = dict(record)
    id, company_id = columns.pop("row_id"), columns.pop("row_company")
    times = {name: time_text(time) for name in _TIMES if (time := columns.pop(name, None)) is not None}
    values = {name: json.loads(value) if name in _JSON else value for name, value in columns.items()} | times
    if kind == "signing-key":
        values["jwk"] = jwk_of(id, values["jwk"])
    if kind == "template":  # fields that were written by hand may lack some members
        values["fields"] = [
            {"key": field["key"], "dataType": field.get("dataType", ""), "defaultValue": field.get("defaultValue")}
            for field in values["fields"]
        ]
    return CatalogueRow(kind, id, company_id, values)
