"""Turns a catalogue into facts for decisions, as from a database with this catalogue alone and no passports."""

import json
from datetime import UTC, datetime, timedelta

from worker.domain.catalogue import ApiKeyGrant, Company, Plan, Product, SigningKey
from worker.domain.facts import Facts
from worker.domain.seeding import seed_fields
from worker.tools.common.catalogue.file import CatalogueError, missing_references
from worker.tools.common.catalogue.models import Catalogue, Template


def facts_of(catalogue: Catalogue) -> Facts:
    """Facts from a whole catalogue. Raises `CatalogueError` for references to rows that are not in it."""
    if problems := [*missing_references(catalogue)]:
        raise CatalogueError(problems)
    plans = {
        plan.id: Plan(plan.id, plan.max_dpps, plan.overage_price_cents, plan.max_v1_writes_per_day)
        for plan in catalogue.plans
    }
    return Facts(
        api_keys={
            key.digest: ApiKeyGrant(company.id, milliseconds(key.revoked_at))
            for company in catalogue.companies
            for key in company.api_keys
        },
        signing_keys=signing_keys_of(catalogue),
        companies={
            row.id: Company(
                row.id,
                plans[row.plan],
                row.subscription,
                milliseconds(row.signatures_required_from),
                None if row.channels is None else frozenset(row.channels),
                milliseconds(row.closed_at),
            )
            for row in catalogue.companies
        },
        products=_products(catalogue),
    )


def signing_keys_of(catalogue: Catalogue) -> dict[str, SigningKey]:
    """Signing keys by thumbprint."""
    return {
        key.jwk.key_id: SigningKey(
            company.id, json.dumps(key.jwk.members), milliseconds(key.not_before), milliseconds(key.revoked_at)
        )
        for company in catalogue.companies
        for key in company.signing_keys
    }


def _products(catalogue: Catalogue) -> dict[str, Product]:
    prefills = {company.id: json.dumps(company.prefill) for company in catalogue.companies}
    fields = {template.id: fields_as_json(template) for template in catalogue.templates}
    products = {}
    for row in catalogue.products:
        seeded = seed_fields(fields[row.template_id], json.dumps(row.default_field_values), prefills[row.company_id])
        products[row.id] = Product(row.id, row.company_id, row.template_id, seeded)
    return products


def fields_as_json(template: Template) -> str:
    """A template's fields for the seeding: an array of `{key, dataType, defaultValue}`."""
    return json.dumps([field.model_dump(by_alias=True) for field in template.fields])


def milliseconds(time: datetime | None) -> int | None:
    """Milliseconds since the epoch, rounded up, as the store has them."""
    return None if time is None else -((datetime(1970, 1, 1, tzinfo=UTC) - time) // timedelta(milliseconds=1))
