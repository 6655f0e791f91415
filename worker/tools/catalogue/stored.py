"""Rows of the catalogue in the database, as a catalogue file would write them."""

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import asyncpg

from worker.store import sql
from worker.store.sql import Connection
from worker.tools.common.catalogue.rows import CatalogueRow, RowKind, jwk_of, key_values, times_as_text

_ROWS_AT_ONCE = 100
"""Rows have up to 128 KiB of JSON."""

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
    match kind:
        case "plan":
            values = {
                "id": record["id"],
                "maxDpps": record["max_dpps"],
                "overagePriceCents": record["overage_price_cents"],
                "maxV1WritesPerDay": record["max_v1_writes_per_day"],
            }
            return CatalogueRow(kind, record["id"], None, values)
        case "company":
            values = {
                "_id": record["id"],
                "name": record["name"],
                "plan": record["plan_id"],
                "subscription": record["subscription"],
                "prefill": json.loads(record["prefill"]),
                "channels": record["channels"],
                **times_as_text(
                    signaturesRequiredFrom=record["signatures_required_from"], closedAt=record["closed_at"]
                ),
            }
            return CatalogueRow(kind, record["id"], None, values)
        case "api-key":
            digest: bytes = record["sha256"]
            values = key_values(digest, record["label"], record["revoked_at"])
            return CatalogueRow(kind, digest.hex(), record["company_id"], values)
        case "signing-key":
            values = {
                "jwk": jwk_of(record["kid"], json.loads(record["jwk"])),
                "label": record["label"],
                **times_as_text(notBefore=record["not_before"], revokedAt=record["revoked_at"]),
            }
            return CatalogueRow(kind, record["kid"], record["company_id"], values)
        case "template":
            fields = [_field(field) for field in json.loads(record["fields"])]
            values = {name: record[name] for name in ("category", "version")}
            return CatalogueRow(kind, record["id"], None, {"_id": record["id"], **values, "fields": fields})
        case "product":
            values = {
                "_id": record["id"],
                "companyId": record["company_id"],
                "templateId": record["template_id"],
                "name": record["name"],
                "model": record["model"],
                "defaultFieldValues": json.loads(record["default_field_values"]),
            }
            return CatalogueRow(kind, record["id"], record["company_id"], values)


def _field(field: Mapping[str, Any]) -> dict[str, Any]:
    """A template's field. Rows that were written by hand may lack some members."""
    return {"key": field["key"], "dataType": field.get("dataType", ""), "defaultValue": field.get("defaultValue")}
