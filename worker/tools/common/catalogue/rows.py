"""Rows of a catalogue one by one, as a file writes them, to be compared and exported."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from worker.tools.common.catalogue.models import Catalogue, Company, SigningKey

RowKind = Literal["plan", "company", "api-key", "signing-key", "template", "product"]

Values = Mapping[str, Any]
"""The fields of a row as JSON, by their names in the file. A company's keys are rows of their own."""


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
            # Loading leaves an earlier revocation as it is, unless the file gives `revokedAt`.
            given = "revoked_at" in key.model_fields_set
            values = key_values(key.digest, key.label, key.revoked_at, with_null=given)
            yield CatalogueRow("api-key", key.digest.hex(), company.id, values)
    for company in catalogue.companies:
        for signing_key in company.signing_keys:
            yield CatalogueRow("signing-key", signing_key.jwk.key_id, company.id, _signing_key_values(signing_key))
    for template in catalogue.templates:
        yield CatalogueRow("template", template.id, None, template.model_dump(by_alias=True))
    for product in catalogue.products:
        yield CatalogueRow("product", product.id, product.company_id, product.model_dump(by_alias=True))


def _company_values(company: Company) -> Values:
    given = company.model_fields_set
    times = {"signatures_required_from", "closed_at"}
    values = company.model_dump(by_alias=True, exclude={"api_keys", "signing_keys", *times})
    values["channels"] = None if company.channels is None else [*company.channels]
    required, closed = company.signatures_required_from, company.closed_at
    values |= times_as_text(with_null="signatures_required_from" in given, signaturesRequiredFrom=required)
    return values | times_as_text(with_null="closed_at" in given, closedAt=closed)


def _signing_key_values(key: SigningKey) -> Values:
    """Only the fields that the file gives: loading leaves the others as they are."""
    given = key.model_fields_set
    values: dict[str, Any] = {"jwk": jwk_of(key.jwk.key_id, key.jwk.members)}
    if "label" in given:
        values["label"] = key.label
    values |= times_as_text(with_null="not_before" in given, notBefore=key.not_before)
    return values | times_as_text(with_null="revoked_at" in given, revokedAt=key.revoked_at)


def jwk_of(key_id: str, members: Mapping[str, str]) -> dict[str, str]:
    """A public key as files write it, with its thumbprint."""
    return {**members, "kid": key_id}


def times_as_text(*, with_null: bool = False, **times: datetime | None) -> dict[str, str | None]:
    """Times by their names in the file. Loading a null takes an earlier time back, so nulls come only `with_null`."""
    return {
        name: None if time is None else time.astimezone(UTC).isoformat().replace("+00:00", "Z")
        for name, time in times.items()
        if time is not None or with_null
    }


def key_values(digest: bytes, label: str, revoked_at: datetime | None, *, with_null: bool = False) -> dict[str, Any]:
    """An entry of `apiKeys`. A valid key gets no `revokedAt` unless `with_null`: null takes a revocation back."""
    return {"sha256": digest.hex(), "label": label, **times_as_text(with_null=with_null, revokedAt=revoked_at)}
