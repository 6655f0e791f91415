"""Loading a catalogue into the database: all of it or nothing, again and again, while workers run."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from worker.store import sql
from worker.store.sql import Connection
from worker.tools.catalogue.warnings import Fields
from worker.tools.common.catalogue.facts import fields_as_json
from worker.tools.common.catalogue.file import CatalogueError
from worker.tools.common.catalogue.models import (
    ApiKey,
    Catalogue,
    Company,
    Plan,
    Product,
    SigningKey,
    Template,
    TemplateField,
)
from worker.tools.common.catalogue.references import Known, missing_references


@dataclass(frozen=True, slots=True)
class Loaded:
    """How many rows of each kind were inserted or updated."""

    plans: int
    companies: int
    api_keys: int
    signing_keys: int
    templates: int
    products: int


async def load_catalogue(connection: Connection, catalogue: Catalogue) -> Loaded:
    """Insert or update every row of the catalogue in one transaction; what it does not name stays as it was.

    It holds for all commands that come after it. Raises `CatalogueError`, with nothing changed, for references to rows
    that are neither in the file nor in the database, and for keys that already belong to another company.
    """
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(sql.load("lock_catalogue", __package__))
        if problems := await problems_of_loading(connection, catalogue):
            raise CatalogueError(problems)
        return Loaded(
            plans=await _plans(connection, catalogue.plans),
            companies=await _companies(connection, catalogue.companies),
            api_keys=await _api_keys(connection, catalogue.companies),
            signing_keys=await _signing_keys(connection, catalogue.companies),
            templates=await _templates(connection, catalogue.templates),
            products=await _products(connection, catalogue.products),
        )


async def problems_of_loading(connection: Connection, catalogue: Catalogue) -> list[str]:
    """References to rows that are neither in file nor database, and keys of other companies. Read only."""
    return [*await _missing_references(connection, catalogue), *await _taken_keys(connection, catalogue)]


async def templates_of(connection: Connection, catalogue: Catalogue) -> dict[str, Fields]:
    """The templates that the catalogue's products name, as far as they are in the database, by id."""
    ids = list({product.template_id for product in catalogue.products})
    rows = await connection.fetch(sql.load("template_fields", __package__), ids)
    return {row["id"]: {field.key: field for field in _stored_fields(row["fields"])} for row in rows}


def _stored_fields(fields: str) -> Iterator[TemplateField]:
    for field in json.loads(fields):
        yield TemplateField.model_construct(key=field["key"], data_type=field.get("dataType", ""))


async def _missing_references(connection: Connection, catalogue: Catalogue) -> list[str]:
    known = await connection.fetchrow(
        sql.load("known_references", __package__),
        [company.plan for company in catalogue.companies],
        [product.company_id for product in catalogue.products],
        [product.template_id for product in catalogue.products],
    )
    assert known is not None
    found = Known(known["plans"] or (), known["companies"] or (), known["templates"] or ())
    return [*missing_references(catalogue, found)]


async def _taken_keys(connection: Connection, catalogue: Catalogue) -> list[str]:
    """API keys and signing keys that are another company's."""
    companies = catalogue.companies
    digests = [[key.digest for key in company.api_keys] for company in companies]
    key_ids = [[key.jwk.key_id for key in company.signing_keys] for company in companies]
    api_keys = await connection.fetch(sql.load("api_key_owners", __package__), list(chain(*digests)))
    signing_keys = await connection.fetch(sql.load("signing_key_owners", __package__), list(chain(*key_ids)))
    return [
        *_others_keys(companies, "apiKeys", digests, dict(map(tuple, api_keys))),
        *_others_keys(companies, "signingKeys", key_ids, dict(map(tuple, signing_keys))),
    ]


def _others_keys(
    companies: Sequence[Company], name: str, keys: Sequence[Sequence[object]], owners: Mapping[object, str]
) -> Iterator[str]:
    for at, (company, own) in enumerate(zip(companies, keys, strict=True)):
        for number, key in enumerate(own):
            if owners.get(key, company.id) != company.id:
                text = "Expected a key of this company, got one that belongs to another company"
                yield f"companies[{at}].{name}[{number}]: {text}"


def _signing_keys_of(companies: Iterable[Company]) -> list[tuple[str, SigningKey]]:
    return [(company.id, key) for company in companies for key in company.signing_keys]


def _keys_of(companies: Iterable[Company]) -> list[tuple[str, ApiKey]]:
    return [(company.id, api_key) for company in companies for api_key in company.api_keys]


async def _plans(connection: Connection, plans: tuple[Plan, ...]) -> int:
    await connection.execute(
        sql.load("upsert_plans", __package__),
        [plan.id for plan in plans],
        [plan.max_dpps for plan in plans],
        [plan.overage_price_cents for plan in plans],
        [plan.max_v1_writes_per_day for plan in plans],
    )
    return len(plans)


async def _companies(connection: Connection, companies: tuple[Company, ...]) -> int:
    ids = [company.id for company in companies]
    await connection.execute(
        sql.load("upsert_companies", __package__),
        ids,
        [company.name for company in companies],
        [company.plan for company in companies],
        [company.subscription for company in companies],
        [json.dumps(company.prefill) for company in companies],
        [company.signatures_required_from for company in companies],
        [company.id for company in companies if "signatures_required_from" not in company.model_fields_set],
    )
    await connection.execute(sql.load("create_usage", __package__), ids)
    return len(companies)


async def _api_keys(connection: Connection, companies: tuple[Company, ...]) -> int:
    keys = _keys_of(companies)
    await connection.execute(
        sql.load("upsert_api_keys", __package__),
        [api_key.digest for _, api_key in keys],
        [company_id for company_id, _ in keys],
        [api_key.label for _, api_key in keys],
        [api_key.revoked_at for _, api_key in keys],
        [api_key.digest for _, api_key in keys if "revoked_at" not in api_key.model_fields_set],
    )
    return len(keys)


async def _signing_keys(connection: Connection, companies: tuple[Company, ...]) -> int:
    keys = _signing_keys_of(companies)

    def untold(field: str) -> list[str]:
        return [key.jwk.key_id for _, key in keys if field not in key.model_fields_set]

    await connection.execute(
        sql.load("upsert_signing_keys", __package__),
        [key.jwk.key_id for _, key in keys],
        [company_id for company_id, _ in keys],
        [json.dumps(key.jwk.members) for _, key in keys],
        [key.label for _, key in keys],
        [key.not_before for _, key in keys],
        [key.revoked_at for _, key in keys],
        untold("label"),
        untold("not_before"),
        untold("revoked_at"),
    )
    return len(keys)


async def _templates(connection: Connection, templates: tuple[Template, ...]) -> int:
    await connection.execute(
        sql.load("upsert_templates", __package__),
        [template.id for template in templates],
        [template.category for template in templates],
        [template.version for template in templates],
        [fields_as_json(template) for template in templates],
    )
    return len(templates)


async def _products(connection: Connection, products: tuple[Product, ...]) -> int:
    await connection.execute(
        sql.load("upsert_products", __package__),
        [product.id for product in products],
        [product.company_id for product in products],
        [product.template_id for product in products],
        [product.name for product in products],
        [product.model for product in products],
        [json.dumps(product.default_field_values) for product in products],
    )
    return len(products)
