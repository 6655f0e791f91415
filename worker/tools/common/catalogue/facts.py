"""A catalogue as the facts of decisions: what a database would answer that holds this file alone, and no passport."""

import json
from datetime import UTC, datetime, timedelta

from worker.domain.catalogue import ApiKeyGrant, Company, Plan, Product, SigningKey
from worker.domain.facts import Facts
from worker.domain.seeding import seed_fields
from worker.tools.common.catalogue.file import CatalogueError
from worker.tools.common.catalogue.models import Catalogue, Template
from worker.tools.common.catalogue.references import Known, missing_references


def facts_of(catalogue: Catalogue) -> Facts:
    """All of it. Raises `CatalogueError` for references to rows that are not in the file."""
    if problems := [*missing_references(catalogue, Known())]:
        raise CatalogueError(problems)
    plans = {
        one.id: Plan(one.id, one.max_dpps, one.overage_price_cents, one.max_v1_writes_per_day)
        for one in catalogue.plans
    }
    return Facts(
        api_keys={
            key.digest: ApiKeyGrant(one.id, milliseconds(key.revoked_at))
            for one in catalogue.companies
            for key in one.api_keys
        },
        signing_keys=signing_keys_of(catalogue),
        companies={
            one.id: Company(one.id, plans[one.plan], one.subscription, milliseconds(one.signatures_required_from))
            for one in catalogue.companies
        },
        products=_products(catalogue),
    )


def signing_keys_of(catalogue: Catalogue) -> dict[str, SigningKey]:
    """By the key's thumbprint."""
    return {
        key.jwk.key_id: SigningKey(
            one.id, json.dumps(key.jwk.members), milliseconds(key.not_before), milliseconds(key.revoked_at)
        )
        for one in catalogue.companies
        for key in one.signing_keys
    }


def _products(catalogue: Catalogue) -> dict[str, Product]:
    prefills = {one.id: json.dumps(one.prefill) for one in catalogue.companies}
    fields = {one.id: fields_as_json(one) for one in catalogue.templates}
    products = {}
    for one in catalogue.products:
        seeded = seed_fields(fields[one.template_id], json.dumps(one.default_field_values), prefills[one.company_id])
        products[one.id] = Product(one.id, one.company_id, one.template_id, seeded)
    return products


def fields_as_json(template: Template) -> str:
    """As the seeding reads them: an array of `{key, dataType, defaultValue}`."""
    return json.dumps([field.model_dump(by_alias=True) for field in template.fields])


def milliseconds(moment: datetime | None) -> int | None:
    """Since the epoch, a fraction of one rounded up, as the store has them."""
    return None if moment is None else -((datetime(1970, 1, 1, tzinfo=UTC) - moment) // timedelta(milliseconds=1))
