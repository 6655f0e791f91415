"""Loads a catalogue into the database: all of it or nothing, safe to repeat, while workers run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Any

from worker.store import sql
from worker.store.sql import Connection
from worker.tools.catalogue.warnings import warnings_of
from worker.tools.common.catalogue.facts import fields_as_json
from worker.tools.common.catalogue.file import CatalogueError, missing_references
from worker.tools.common.catalogue.models import Catalogue, Company, Row, TemplateField
from worker.tools.common.companies import closed_companies


@dataclass(frozen=True, slots=True)
class Loaded:
    """Numbers of inserted and updated rows."""

    plans: int
    companies: int
    api_keys: int
    signing_keys: int
    templates: int
    products: int


async def load_catalogue(connection: Connection, catalogue: Catalogue) -> Loaded:
    """Insert or update every row of the catalogue in one transaction. Other rows stay as they were.

    The new rows apply to all later commands. Raises `CatalogueError`, with nothing changed, for
    references to rows that are neither in the file nor in the database, and for keys of another company.
    """
    companies = catalogue.companies
    api_keys = [key for company in companies for key in company.api_keys]
    signing_keys = [key for company in companies for key in company.signing_keys]

    async def upsert(query: str, *columns: Sequence[Any]) -> None:
        await connection.execute(sql.load(query, __package__), *columns)

    # With a snapshot from before the lock, a load that waited would not see the rows of the load before it.
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(sql.load("lock_catalogue", __package__))
        if problems := await problems_of_loading(connection, catalogue):
            raise CatalogueError(problems)
        plan_columns = ("id", "max_dpps", "overage_price_cents", "max_v1_writes_per_day")
        await upsert("upsert_plans", *(_column(catalogue.plans, name) for name in plan_columns))
        await upsert(
            "upsert_companies",
            *(_column(companies, name) for name in ("id", "name", "plan", "subscription")),
            [json.dumps(company.prefill) for company in companies],
            _column(companies, "signatures_required_from"),
            _lacking(companies, "signatures_required_from", "id"),
            [None if company.channels is None else json.dumps(company.channels) for company in companies],
            _column(companies, "closed_at"),
            _lacking(companies, "closed_at", "id"),
        )
        await upsert("create_usage", _column(companies, "id"))
        await upsert(
            "upsert_api_keys",
            _column(api_keys, "digest"),
            [company.id for company in companies for _ in company.api_keys],
            *(_column(api_keys, name) for name in ("label", "revoked_at")),
            _lacking(api_keys, "revoked_at", "digest"),
        )
        await upsert(
            "upsert_signing_keys",
            _column(signing_keys, "jwk.key_id"),
            [company.id for company in companies for _ in company.signing_keys],
            [json.dumps(key.jwk.members) for key in signing_keys],
            *(_column(signing_keys, name) for name in ("label", "not_before", "revoked_at")),
            *(_lacking(signing_keys, name, "jwk.key_id") for name in ("label", "not_before", "revoked_at")),
        )
        await upsert(
            "upsert_templates",
            *(_column(catalogue.templates, name) for name in ("id", "category", "version")),
            [fields_as_json(template) for template in catalogue.templates],
        )
        await upsert(
            "upsert_products",
            *(_column(catalogue.products, name) for name in ("id", "company_id", "template_id", "name", "model")),
            [json.dumps(product.default_field_values) for product in catalogue.products],
        )
    rows = (catalogue.plans, companies, api_keys, signing_keys, catalogue.templates, catalogue.products)
    return Loaded(*map(len, rows))


def _column(rows: Sequence[object], name: str) -> list[Any]:
    return list(map(attrgetter(name), rows))


def _lacking(rows: Sequence[Row], field: str, id: str) -> list[Any]:
    """The ids of rows for which the file leaves out a field: the database keeps its value."""
    return _column([row for row in rows if field not in row.model_fields_set], id)


async def problems_of_loading(connection: Connection, catalogue: Catalogue) -> list[str]:
    """References to rows that are in neither file nor database, and keys of other companies. Only reads."""
    companies = catalogue.companies
    known = await connection.fetchrow(
        sql.load("known_references", __package__),
        _column(companies, "plan"),
        _column(catalogue.products, "company_id"),
        _column(catalogue.products, "template_id"),
    )
    assert known is not None
    digests = [[key.digest for key in company.api_keys] for company in companies]
    key_ids = [[key.jwk.key_id for key in company.signing_keys] for company in companies]
    api_key_owners = await connection.fetch(sql.load("api_key_owners", __package__), list(chain(*digests)))
    signing_key_owners = await connection.fetch(sql.load("signing_key_owners", __package__), list(chain(*key_ids)))
    return [
        *missing_references(catalogue, **known),
        *_keys_of_others(companies, "apiKeys", digests, dict(map(tuple, api_key_owners))),
        *_keys_of_others(companies, "signingKeys", key_ids, dict(map(tuple, signing_key_owners))),
    ]


def _keys_of_others(
    companies: Sequence[Company], name: str, keys: Sequence[Sequence[object]], owners: Mapping[object, str]
) -> Iterator[str]:
    for at, (company, company_keys) in enumerate(zip(companies, keys, strict=True)):
        for number, key in enumerate(company_keys):
            if owners.get(key, company.id) != company.id:
                text = "Expected a key of this company, got one that belongs to another company"
                yield f"companies[{at}].{name}[{number}]: {text}"


async def warnings_of_loading(connection: Connection, catalogue: Catalogue) -> list[str]:
    """The `warnings_of` a catalogue, given the templates and closed companies of the database."""
    ids = list({product.template_id for product in catalogue.products})
    rows = await connection.fetch(sql.load("template_fields", __package__), ids)
    templates = {
        row["id"]: {
            field["key"]: TemplateField.model_construct(key=field["key"], data_type=field.get("dataType", ""))
            for field in json.loads(row["fields"])
        }
        for row in rows
    }
    closings = await closed_companies(connection, (company.id for company in catalogue.companies))
    return list(warnings_of(catalogue, templates, closings))
