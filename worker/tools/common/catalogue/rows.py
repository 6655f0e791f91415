"""Rows of a catalogue one by one, each as a file says it: what is compared, and what is exported."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from worker.tools.common.catalogue.models import ApiKey, Catalogue, Company, SigningKey

RowKind = Literal["plan", "company", "api-key", "signing-key", "template", "product"]

Values = Mapping[str, Any]
"""The fields of a row by their names in the file, as JSON has them; of a company without its keys."""


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One row. `id` is an API key's hash in hexadecimal digits, or a signing key's thumbprint.

    `company_id` says whose a key or a product is.
    """

    kind: RowKind
    id: str
    company_id: str | None
    values: Values


def rows_of(catalogue: Catalogue) -> Iterator[CatalogueRow]:
    """All rows that a file brings, in the order in which they are loaded."""
    for plan in catalogue.plans:
        yield CatalogueRow("plan", plan.id, None, plan.model_dump(by_alias=True))
    for company in catalogue.companies:
        yield CatalogueRow("company", company.id, None, _company_values(company))
    for company in catalogue.companies:
        for key in company.api_keys:
            yield CatalogueRow("api-key", key.digest.hex(), company.id, _key_values(key))
    for company in catalogue.companies:
        for signing_key in company.signing_keys:
            yield CatalogueRow("signing-key", signing_key.jwk.key_id, company.id, _signing_key_values(signing_key))
    for template in catalogue.templates:
        yield CatalogueRow("template", template.id, None, template.model_dump(by_alias=True))
    for product in catalogue.products:
        yield CatalogueRow("product", product.id, product.company_id, product.model_dump(by_alias=True))


def _company_values(company: Company) -> Values:
    values = company.model_dump(by_alias=True, exclude={"api_keys", "signing_keys", "signatures_required_from"})
    is_told = "signatures_required_from" in company.model_fields_set
    return values | moments(with_null=is_told, signaturesRequiredFrom=company.signatures_required_from)


def _signing_key_values(key: SigningKey) -> Values:
    """Without what the file does not speak of: loading leaves it as it is."""
    told = key.model_fields_set
    values: dict[str, Any] = {"jwk": jwk_of(key.jwk.key_id, key.jwk.members)}
    if "label" in told:
        values["label"] = key.label
    values |= moments(with_null="not_before" in told, notBefore=key.not_before)
    return values | moments(with_null="revoked_at" in told, revokedAt=key.revoked_at)


def jwk_of(key_id: str, members: Mapping[str, str]) -> dict[str, str]:
    """A public key as files have it: with its thumbprint."""
    return {**members, "kid": key_id}


def moments(*, with_null: bool = False, **told: datetime | None) -> dict[str, str | None]:
    """Moments by their names in the file; one that is null only `with_null`, which takes back what was said before."""
    return {name: None if at is None else _text(at) for name, at in told.items() if at is not None or with_null}


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _key_values(key: ApiKey) -> Values:
    """Without a revocation where the file does not speak of it: loading leaves it as it is."""
    is_told = "revoked_at" in key.model_fields_set
    return key_values(key.digest, key.label, key.revoked_at, with_null=is_told and key.revoked_at is None)


def key_values(digest: bytes, label: str, revoked_at: datetime | None, *, with_null: bool = False) -> dict[str, Any]:
    """A line of `apiKeys`. Without `with_null`, one that is valid has no `revokedAt`: null takes a revocation back."""
    return {"sha256": digest.hex(), "label": label, **moments(with_null=with_null, revokedAt=revoked_at)}
