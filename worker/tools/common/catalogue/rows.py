"""Rows of a catalogue one by one, as a file writes them, to be compared and exported."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic.alias_generators import to_camel

from worker.tools.common.catalogue.models import Catalogue, Company, Row, SigningKey

RowKind = Literal["plan", "company", "api-key", "signing-key", "template", "product"]

Values = Mapping[str, Any]
"""The fields of a row as JSON, by their names in the file. A company's keys are separate rows."""


@dataclass(frozen=True, slots=True)
class CatalogueRow:
    """A row. The id of an API key is its hash in hexadecimal digits, that of a signing key its thumbprint.

    `company_id` is the owner of a key or a product.
    """

    kind: RowKind
    id: str
    company_id: str | None
    values: Values


def rows_of(catalogue: Catalogue) -> Iterator[CatalogueRow]:
    """All rows of a file, in the order of loading."""
    for plan in catalogue.plans:
        yield CatalogueRow("plan", plan.id, None, plan.model_dump(by_alias=True))
    for company in catalogue.companies:
        yield CatalogueRow("company", company.id, None, _company_values(company))
    for company in catalogue.companies:
        for key in company.api_keys:
            digest = key.digest.hex()
            values = {"sha256": digest, "label": key.label, **_times_of(key, "revoked_at")}
            yield CatalogueRow("api-key", digest, company.id, values)
    for company in catalogue.companies:
        for signing_key in company.signing_keys:
            yield CatalogueRow("signing-key", signing_key.jwk.key_id, company.id, _signing_key_values(signing_key))
    for template in catalogue.templates:
        yield CatalogueRow("template", template.id, None, template.model_dump(by_alias=True))
    for product in catalogue.products:
        yield CatalogueRow("product", product.id, product.company_id, product.model_dump(by_alias=True))


def _company_values(company: Company) -> Values:
    times = ("signatures_required_from", "closed_at")
    values = company.model_dump(by_alias=True, exclude={"api_keys", "signing_keys", *times})
    values["channels"] = None if company.channels is None else [*company.channels]
    return values | _times_of(company, *times)


def _signing_key_values(key: SigningKey) -> Values:
    """Only the fields that the file gives: loading leaves the others as they are."""
    label = {"label": key.label} if "label" in key.model_fields_set else {}
    return {"jwk": jwk_of(key.jwk.key_id, key.jwk.members), **label, **_times_of(key, "not_before", "revoked_at")}


def _times_of(row: Row, *fields: str) -> dict[str, str | None]:
    """The times that a row of the file gives. Loading a null takes an earlier time back; other times stay."""
    given = {field: getattr(row, field) for field in fields if field in row.model_fields_set}
    return {to_camel(field): None if time is None else time_text(time) for field, time in given.items()}


def jwk_of(key_id: str, members: Mapping[str, str]) -> dict[str, str]:
    """A public key as files write it, with its thumbprint."""
    return {**members, "kid": key_id}


def time_text(time: datetime) -> str:
    """A time as files write it, in UTC."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
