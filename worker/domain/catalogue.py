"""Reference data that decisions look at: plans, companies, API keys, signing keys, products."""

from typing import NamedTuple

from worker.domain.seeding import SeededFields


class Plan(NamedTuple):
    """The limits that a company bought. None means no limit; `overage_price_cents` is None if no overage is sold."""

    id: str
    max_dpps: int | None
    overage_price_cents: int | None
    max_v1_writes_per_day: int | None


class Company(NamedTuple):
    """A tenant. `subscription` is None if the plan needs none.

    Commands that were appended at `signatures_required_ms` or later have to be signed; None requires no signature.
    Commands have to come on one of `channels`; None allows all of them. Commands that were appended at `closed_ms` or
    later are refused; None is an open company. Large tables hold the `number` in place of the id.
    """

    id: str
    plan: Plan
    subscription: str | None
    signatures_required_ms: int | None = None
    channels: frozenset[str] | None = None
    closed_ms: int | None = None
    number: int = 0

    @property
    def may_write(self) -> bool:
        """Rule 7: active, trialing, or none needed."""
        return self.subscription in (None, "active", "trialing")


class ApiKeyGrant(NamedTuple):
    """The company of an API key. Commands that were appended at `revoked_ms` or later may not use it."""

    company_id: str
    revoked_ms: int | None


class SigningKey(NamedTuple):
    """A company's public key as a JWK (RFC 7517), and the append times in ms from and before which it is valid."""

    company_id: str
    jwk: str
    not_before_ms: int | None
    revoked_ms: int | None


class Product(NamedTuple):
    """A product and the fields that each of its passports starts with."""

    id: str
    company_id: str
    template_id: str
    seeded: SeededFields
