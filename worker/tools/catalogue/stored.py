"""The catalogue as it is kept, row by row, as a file would say it."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import asyncpg

from worker.store import sql
from worker.store.sql import Connection
from worker.tools.common.catalogue.rows import CatalogueRow, RowKind, jwk_of, key_values, moments

_ROWS_AT_ONCE = 100
"""A row has at most 128 KiB of JSON."""

_PATIENCE_SECONDS = 30.0
"""For the next rows."""


async def stored_rows(connection: Connection, kind: RowKind, ids: Iterable[str]) -> dict[str, CatalogueRow]:
    """Those of these ids that there are, which are as `CatalogueRow` has them."""
    wanted = [bytes.fromhex(one) for one in ids] if kind == "api-key" else list(ids)
    rows = await connection.fetch(sql.load(_QUERIES[kind], __package__), wanted, None, timeout=_PATIENCE_SECONDS)
    return {made.id: made for made in (_MAKERS[kind](row) for row in rows)}


async def all_rows(connection: Connection, kind: RowKind, company_id: str | None) -> AsyncIterator[CatalogueRow]:
    """All of a kind, or what one company has and uses; within a transaction, never all in memory.

    Companies come by id, keys by the id of their company, in the same order.
    """
    query = sql.load(_QUERIES[kind], __package__)
    async for row in connection.cursor(query, None, company_id, prefetch=_ROWS_AT_ONCE, timeout=_PATIENCE_SECONDS):
        yield _MAKERS[kind](row)


def _plan(row: asyncpg.Record) -> CatalogueRow:
    values = {
        "id": row["id"],
        "maxDpps": row["max_dpps"],
        "overagePriceCents": row["overage_price_cents"],
        "maxV1WritesPerDay": row["max_v1_writes_per_day"],
    }
    return CatalogueRow("plan", row["id"], None, values)


def _company(row: asyncpg.Record) -> CatalogueRow:
    values = {
        "_id": row["id"],
        "name": row["name"],
        "plan": row["plan_id"],
        "subscription": row["subscription"],
        "prefill": json.loads(row["prefill"]),
        **moments(signaturesRequiredFrom=row["signatures_required_from"]),
    }
    return CatalogueRow("company", row["id"], None, values)


def _api_key(row: asyncpg.Record) -> CatalogueRow:
    digest: bytes = row["sha256"]
    values = key_values(digest, row["label"], row["revoked_at"])
    return CatalogueRow("api-key", digest.hex(), row["company_id"], values)


def _signing_key(row: asyncpg.Record) -> CatalogueRow:
    values = {
        "jwk": jwk_of(row["kid"], json.loads(row["jwk"])),
        "label": row["label"],
        **moments(notBefore=row["not_before"], revokedAt=row["revoked_at"]),
    }
    return CatalogueRow("signing-key", row["kid"], row["company_id"], values)


def _template(row: asyncpg.Record) -> CatalogueRow:
    fields = [_field(field) for field in json.loads(row["fields"])]
    values = {"_id": row["id"], "category": row["category"], "version": row["version"], "fields": fields}
    return CatalogueRow("template", row["id"], None, values)


def _field(field: Mapping[str, Any]) -> dict[str, Any]:
    """Whoever wrote it by hand may have left something out."""
    return {"key": field["key"], "dataType": field.get("dataType", ""), "defaultValue": field.get("defaultValue")}


def _product(row: asyncpg.Record) -> CatalogueRow:
    values = {
        "_id": row["id"],
        "companyId": row["company_id"],
        "templateId": row["template_id"],
        "name": row["name"],
        "model": row["model"],
        "defaultFieldValues": json.loads(row["default_field_values"]),
    }
    return CatalogueRow("product", row["id"], row["company_id"], values)


_QUERIES: Mapping[RowKind, str] = {
    "plan": "stored_plans",
    "company": "stored_companies",
    "api-key": "stored_api_keys",
    "signing-key": "stored_signing_keys",
    "template": "stored_templates",
    "product": "stored_products",
}
_MAKERS: Mapping[RowKind, Callable[[asyncpg.Record], CatalogueRow]] = {
    "plan": _plan,
    "company": _company,
    "api-key": _api_key,
    "signing-key": _signing_key,
    "template": _template,
    "product": _product,
}
