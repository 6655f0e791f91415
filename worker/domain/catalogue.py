"""Reference data that a decision looks at: plan, company, API key, signing key, product."""

from dataclasses import dataclass

from worker.domain.seeding import SeededFields


@dataclass(frozen=True, slots=True)
class Plan:
    """What a company bought; None means no limit, or that overage is not sold."""

    id: str
    max_dpps: int | None
    overage_price_cents: int | None
    max_v1_writes_per_day: int | None


@dataclass(frozen=True, slots=True)
class Company:
    """A tenant. `subscription` is None where the plan needs none.

    Commands that were appended from `signatures_required_ms` on have to be signed (None: none has to be).
    """

    id: str
    plan: Plan
    subscription: str | None
    signatures_required_ms: int | None = None

    @property
    def may_write(self) -> bool:
        """Rule 7: active, trialing, or none needed."""
        return self.subscription in (None, "active", "trialing")


@dataclass(frozen=True, slots=True)
class ApiKeyGrant:
    """Whose API key it is, and the append time in ms from which it is no longer valid (None: never revoked)."""

    company_id: str
    revoked_ms: int | None


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Whose public key it is, its JWK (RFC 7517) as text, and the append times in ms between which it is good."""

    company_id: str
    jwk: str
    not_before_ms: int | None
    revoked_ms: int | None


@dataclass(frozen=True, slots=True)
class Product:
    """A product and the fields that each of its passports starts with."""

    id: str
    company_id: str
    template_id: str
    seeded: SeededFields
