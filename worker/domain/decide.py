"""The thirteen rules, in their order. The first one that fails answers."""

from worker.domain.catalogue import Company, Product
from worker.domain.command import AccessToken, Command, CreatePassport, InvalidBody, UnreadableRecord
from worker.domain.credentials import authenticate
from worker.domain.facts import Facts
from worker.domain.outcomes import (
    Asked,
    Created,
    DailyWritesSpent,
    Forbidden,
    GtinRegistered,
    HardBlock,
    IdempotencyKeyReused,
    Invalid,
    MalformedIdempotencyKey,
    Outcome,
    OverageRequired,
    ProductNotFound,
    Replayed,
    SerialExists,
    SubscriptionInactive,
    Unauthorized,
    Unreadable,
)
from worker.domain.timestamps import DAY_MS, utc_day

REQUIRED_SCOPE = "passports:write"
IDEMPOTENCY_WINDOW_MS = DAY_MS


def decide(command: Command, facts: Facts) -> Outcome:
    """The outcome of a command, given the facts. The same arguments always give the same outcome."""
    body = command.body
    if isinstance(body, UnreadableRecord):  # rule 1
        return Unreadable(body.reason)
    company = authenticate(command, facts)  # rule 2
    if isinstance(company, Unauthorized):
        return company
    credentials = command.credentials
    if isinstance(credentials, AccessToken) and REQUIRED_SCOPE not in credentials.scopes:  # rule 3
        return Forbidden(company.id)
    if command.key_is_malformed:  # rule 4
        return MalformedIdempotencyKey(company.id)
    # Before rule 6: an invalid body has a fingerprint, too, and under a bound key it is a reused key.
    bound = _judge_idempotency_key(command, company.id, facts)  # rule 5
    if bound is not None:
        return bound
    if isinstance(body, InvalidBody):  # rule 6
        return Invalid(company.id, body.field_errors, body.omitted)
    return _judge_request(command, body, company, facts)


def _judge_idempotency_key(command: Command, company_id: str, facts: Facts) -> Outcome | None:
    """Rule 5. A key is bound for 24 hours from the creation, and a replay does not extend them."""
    if command.idempotency_key is None:
        return None
    binding = facts.bindings.get((company_id, command.idempotency_key))
    if binding is None or command.source.appended_ms - binding.created_ms >= IDEMPOTENCY_WINDOW_MS:
        return None
    if binding.fingerprint != command.fingerprint:
        return IdempotencyKeyReused(company_id)
    return Replayed(company_id, binding.passport_id, binding.created_body)


def _judge_request(command: Command, body: CreatePassport, company: Company, facts: Facts) -> Outcome:
    """Rules 7 to 13, for a valid body."""
    if not company.may_write:  # rule 7
        return SubscriptionInactive(_asked(company, body), company.subscription or "")
    product = facts.products.get(body.product_id)
    if product is None or product.company_id != company.id:  # rule 8: one answer for both hides others' products
        return ProductNotFound(_asked(company, body))
    writes_per_day = company.plan.max_v1_writes_per_day
    if writes_per_day is not None:  # rule 9
        writes_today = facts.writes.get((company.id, utc_day(command.source.appended_ms)), 0)
        if writes_today >= writes_per_day:
            return DailyWritesSpent(_asked(company, body), writes_per_day, writes_today)
    if facts.gtin_owners.get(body.gtin, company.id) != company.id:  # rule 10
        return GtinRegistered(_asked(company, body))
    existing = facts.serials.get((body.gtin, body.serial))
    if existing is not None:  # rule 11
        return SerialExists(_asked(company, body), existing)
    return _take_slot(command, body, company, product, facts)


def _asked(company: Company, body: CreatePassport) -> Asked:
    return Asked(company.id, body.product_id, body.gtin, body.serial, body.parties)


def _take_slot(command: Command, body: CreatePassport, company: Company, product: Product, facts: Facts) -> Outcome:
    """Rules 12 and 13. Used slots never come back, and overage is charged only when confirmed."""
    plan, used = company.plan, facts.slots_used.get(company.id, 0)
    overage_price_cents = None
    if plan.max_dpps is not None and used >= plan.max_dpps:  # rule 12
        if plan.overage_price_cents is None:
            return HardBlock(_asked(company, body), plan.max_dpps, used)
        if not body.confirm_overage:
            return OverageRequired(_asked(company, body), plan.max_dpps, used, plan.overage_price_cents)
        overage_price_cents = plan.overage_price_cents
    appended_ms = command.source.appended_ms
    return Created(  # rule 13
        command.source.passport_id,
        company.id,
        product,
        body.gtin,
        body.serial,
        body.parties,
        overage_price_cents,
        appended_ms,
        utc_day(appended_ms),
        command.idempotency_key,
        command.fingerprint,
    )
