"""Rows of a catalogue one by one, each as a file says it: what is compared, and what is exported."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from worker.catalogue.models import ApiKey, Catalogue

RowKind = Literal["plan", "company", "api-key", "template", "product"]

Values = Mapping[str, Any]
"""The fields of a row by their names in the file, as JSON has them; of a company without its keys."""


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """One row. `id` is an API key's hash in hexadecimal digits; `company_id` says whose a key or a product is."""

    kind: RowKind
    id: str
    company_id: str | None
    values: Values


def rows_of(catalogue: Catalogue) -> Iterator[CatalogueRow]:
    """All rows that a file brings, in the order in which they are loaded."""
    for plan in catalogue.plans:
        yield CatalogueRow("plan", plan.id, None, plan.model_dump(by_alias=True))
    for company in catalogue.companies:
        values = company.model_dump(by_alias=True, exclude={"api_keys"})
        yield CatalogueRow("company", company.id, None, values)
    for company in catalogue.companies:
        for key in company.api_keys:
            yield CatalogueRow("api-key", key.digest.hex(), company.id, _key_values(key))
    for template in catalogue.templates:
        yield CatalogueRow("template", template.id, None, template.model_dump(by_alias=True))
    for product in catalogue.products:
        yield CatalogueRow("product", product.id, product.company_id, product.model_dump(by_alias=True))


def _key_values(key: ApiKey) -> Values:
    """Without a revocation where the file does not speak of it: loading leaves it as it is."""
    is_told = "revoked_at" in key.model_fields_set
    return key_values(key.digest, key.label, key.revoked_at, with_null=is_told and key.revoked_at is None)


def key_values(digest: bytes, label: str, revoked_at: datetime | None, *, with_null: bool = False) -> dict[str, Any]:
    """A line of `apiKeys`. Without `with_null`, one that is valid has no `revokedAt`: null takes a revocation back."""
    values: dict[str, Any] = {"sha256": digest.hex(), "label": label}
    if revoked_at is not None:
        values["revokedAt"] = revoked_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    elif with_null:
        values["revokedAt"] = None
    return values
