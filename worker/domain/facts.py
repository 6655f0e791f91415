"""Everything that a decision may look at. The store reads it once per turn, and each created passport updates it."""

from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from worker.domain.catalogue import ApiKeyGrant, Company, Product, SigningKey
from worker.domain.outcomes import Created


class Binding(NamedTuple):
    """The passport that an idempotency key created, the value of its created event, and when it was created (ms)."""

    fingerprint: bytes
    passport_id: str
    created_body: bytes
    created_ms: int


@dataclass(slots=True)
class Facts:
    """Facts for the commands of a turn. A key, company or product without an entry does not exist."""

    api_keys: dict[bytes, ApiKeyGrant] = field(default_factory=dict)
    signing_keys: dict[str, SigningKey] = field(default_factory=dict)
    """By key id."""
    proven: set[bytes] = field(default_factory=set)
    """Digests of signatures that were verified with these signing keys."""
    companies: dict[str, Company] = field(default_factory=dict)
    catalogue_version: UUID | None = None
    """The version that keys, companies and products were read at; None for a store that remembers none."""
    products: dict[str, Product] = field(default_factory=dict)
    slots_used: dict[str, int] = field(default_factory=dict)
    writes: dict[tuple[str, int], int] = field(default_factory=dict)
    """By company and UTC day."""
    bindings: dict[tuple[str, str], Binding] = field(default_factory=dict)
    """By company and idempotency key."""
    gtin_owners: dict[str, str] = field(default_factory=dict)
    serials: dict[tuple[str, str], str] = field(default_factory=dict)
    """Passport id by GTIN and serial number."""

    def absorb(self, created: Created, created_body: bytes) -> None:
        """Let later commands of the turn see a passport that was just created."""
        company_id = created.company_id
        self.slots_used[company_id] = self.slots_used.get(company_id, 0) + 1
        day = (company_id, created.utc_day)
        self.writes[day] = self.writes.get(day, 0) + 1
        self.gtin_owners[created.gtin] = company_id
        self.serials[created.gtin, created.serial] = created.passport_id
        if created.idempotency_key is not None and created.fingerprint is not None:
            self.bindings[company_id, created.idempotency_key] = Binding(
                created.fingerprint, created.passport_id, created_body, created.created_ms
            )
