"""The table of outcomes: one row each, with its rule and its texts.

Events, schemas, metrics, `explain` and the README's table are made from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Generic, TypeVar, cast

from worker.domain import outcomes
from worker.domain.decide import REQUIRED_SCOPE
from worker.domain.outcomes import Outcome

CREATED, REPLAYED = "created", "replayed"


class Kind(IntEnum):
    """The result topics. The ledger stores the numbers."""

    CREATED = 1
    OVERAGE_REQUIRED = 2
    CONFLICT = 3
    REJECTED = 4

    @property
    def label(self) -> str:
        """As in `ce_type`: `created`, `overage-required`, `conflict`, `rejected`."""
        return _LABELS[self]


_LABELS = {kind: kind.name.lower().replace("_", "-") for kind in Kind}


SomeOutcome = TypeVar("SomeOutcome")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow(Generic[SomeOutcome]):
    """An outcome and the rule that gives it. Metrics and logs name the outcome by its `code`."""

    outcome: type[SomeOutcome]
    number: int
    name: str
    """What holds when the rule passes."""
    code: str
    kind: Kind = Kind.REJECTED
    status: int
    """The REST API's status code."""
    error: str = ""
    """The member `error` of the body. A gap `{0.x}` takes the outcome's attribute `x`."""
    conflict: str | None = None
    """The member `conflict` of the body."""
    members: Callable[[SomeOutcome], Mapping[str, object]] = lambda _: {}
    """Further members of the body, from the outcome's values."""
    message: str | None = None
    """The member `message` of the body."""
    explanation: str
    """For people who ask why. `worker.tools.common.why` fills its gaps from the body."""
    is_by_plan: bool = False
    """Whether a limit of the company's plan decided."""


_KEY_FREE = "the idempotency key is not bound yet"
_SLOT_FREE = "a slot is free, or the plan sells overage and it is confirmed"

# No path of a body has this name, so it tells rule 4 from rule 6 in published answers.
KEY_FIELD = "Idempotency-Key"

# Without an annotation, so that mypy checks each row's `members` against the attributes of its own outcome.
_TABLE = (
    OutcomeRow(
        outcome=outcomes.Unreadable,
        number=1,
        name="the record is readable",
        code="unreadable",
        status=400,
        error="Unreadable command",
        members=lambda outcome: {"details": {"reason": outcome.reason}},
        explanation="The record is not a command: {reason}. A copy is on the dead-letter topic.",
    ),
    OutcomeRow(
        outcome=outcomes.Unauthorized,
        number=2,
        name="the credentials are known and valid at the append time; a signature fits its record",
        code="unauthorized",
        status=401,
        error="Unauthorized",
        members=lambda outcome: {"details": {"reason": outcome.reason}} if outcome.reason else {},
        explanation="{credentials}",
    ),
    OutcomeRow(
        outcome=outcomes.Forbidden,
        number=3,
        name="the credentials carry the scope passports:write",
        code="forbidden",
        status=403,
        error="Forbidden",
        members=lambda _: {"details": {"requiredScope": REQUIRED_SCOPE}},
        explanation="The access token does not carry the scope {scope}.",
    ),
    OutcomeRow(
        outcome=outcomes.MalformedIdempotencyKey,
        number=4,
        name="the idempotency key is well formed",
        code="malformed-idempotency-key",
        status=400,
        error="Validation error",
        members=lambda _: {
            "details": {
                "fieldErrors": {
                    KEY_FIELD: ["Expected one UTF-8 value of 1 to 255 characters without control characters"]
                }
            }
        },
        explanation="The idempotency-key header is not one UTF-8 value of 1 to 255 characters without control "
        "characters, so the place of the record is the key of the result.",
    ),
    OutcomeRow(
        outcome=outcomes.Replayed,
        number=5,
        name=_KEY_FREE,
        code=REPLAYED,
        kind=Kind.CREATED,
        status=201,
        explanation="The idempotency key had created passport {id} from the same body at {createdAt}. That created "
        "event was published again, and nothing was created.",
    ),
    OutcomeRow(
        outcome=outcomes.IdempotencyKeyReused,
        number=5,
        name=_KEY_FREE,
        code="idempotency-key-reused",
        status=422,
        error="Idempotency-Key has already been used with a different request body. "
        "Use a new key for the new request, or reuse the original body.",
        explanation="The idempotency key had created a passport from another body less than 24 hours before.",
    ),
    OutcomeRow(
        outcome=outcomes.Invalid,
        number=6,
        name="the body is valid",
        code="invalid",
        status=400,
        error="Validation error",
        members=lambda outcome: {
            "details": {
                "fieldErrors": outcome.field_errors,
                **({"omitted": outcome.omitted} if outcome.omitted else {}),
            }
        },
        explanation="The body is not valid. {fields}.",
    ),
    OutcomeRow(
        outcome=outcomes.SubscriptionInactive,
        number=7,
        name="the subscription is active or trialing, or the plan needs none",
        code="subscription-inactive",
        status=402,
        error="subscription_inactive",
        members=lambda outcome: {"details": {"status": outcome.subscription}},
        explanation="The company's subscription was {subscription}, and its plan needs one that is active or trialing.",
    ),
    OutcomeRow(
        outcome=outcomes.ProductNotFound,
        number=8,
        name="the product exists and belongs to the company",
        code="product-not-found",
        status=404,
        error="Product not found",
        explanation="The company has no product {product}. The result does not say whether another company has it.",
    ),
    OutcomeRow(
        outcome=outcomes.DailyWritesSpent,
        number=9,
        name="the plan's write budget of the UTC day is not spent",
        code="daily-writes-spent",
        status=429,
        error="API rate limit: {0.writes_per_day} writes/day via /api/v1. Currently {0.writes_today} today; "
        "requested 1. Retry tomorrow (UTC) or upgrade your plan.",
        explanation="The plan's writes for the UTC day of the record's append time were spent. {error}",
        is_by_plan=True,
    ),
    OutcomeRow(
        outcome=outcomes.GtinRegistered,
        number=10,
        name="the GTIN is not registered to another company",
        code="gtin-registered",
        kind=Kind.CONFLICT,
        status=409,
        error="This GTIN is already registered by another company. Contact support if this is an error.",
        conflict="gtin_registered",
        explanation="Another company registered GTIN {gtin} before. The result does not name it.",
    ),
    OutcomeRow(
        outcome=outcomes.SerialExists,
        number=11,
        name="the serial number is new within the GTIN",
        code="serial-exists",
        kind=Kind.CONFLICT,
        status=409,
        error="Serial number already exists for this GTIN",
        conflict="serial_exists",
        members=lambda outcome: {"passportId": outcome.passport_id},
        explanation="The company's passport {passport} already has serial number {serial} of GTIN {gtin}.",
    ),
    OutcomeRow(
        outcome=outcomes.OverageRequired,
        number=12,
        name=_SLOT_FREE,
        code="overage-required",
        kind=Kind.OVERAGE_REQUIRED,
        status=402,
        error="overage_required",
        members=lambda outcome: {
            "planLimit": outcome.plan_limit,
            "currentUsage": outcome.current_usage,
            "extraPriceCents": outcome.price_cents,
        },
        message="DPP quota reached. Retry with { confirmOverage: true } to accept the per-passport charge.",
        explanation="No slot was free: {usage} of the plan's {limit} were used. The plan sells more, for {price} "
        "each, but the command did not say confirmOverage: true.",
        is_by_plan=True,
    ),
    OutcomeRow(
        outcome=outcomes.HardBlock,
        number=12,
        name=_SLOT_FREE,
        code="dpp-hard-block",
        status=402,
        error="dpp_hard_block",
        members=lambda outcome: {"planLimit": outcome.plan_limit, "currentUsage": outcome.current_usage},
        message="DPP quota reached and this plan has no overage. Upgrade your plan.",
        explanation="No slot was free: {usage} of the plan's {limit} were used. The plan sells no more.",
        is_by_plan=True,
    ),
    OutcomeRow(
        outcome=outcomes.Created,
        number=13,
        name="create the passport",
        code=CREATED,
        kind=Kind.CREATED,
        status=201,
        explanation="All rules passed, and passport {id} was created.{charge}",
    ),
)

ROWS: Mapping[type[Outcome], OutcomeRow[Any]] = {
    row.outcome: row for row in cast("tuple[OutcomeRow[Any], ...]", _TABLE)
}
"""The row of each outcome."""
REFUSALS: Mapping[type[Outcome], OutcomeRow[Any]] = {outcome: row for outcome, row in ROWS.items() if row.error}
"""The rows of all outcomes but created and replayed passports."""
ALL_RULES = tuple({row.number: row for row in ROWS.values()}.values())
"""One row for each of the thirteen rules, in order."""
CODES = (CREATED, REPLAYED, *(row.code for row in REFUSALS.values()))
OUTCOMES = (CREATED, REPLAYED, *(kind.label for kind in Kind if kind is not Kind.CREATED))
"""Outcomes as metrics, `submit` and `tail` name them. They name refusals by their result topic."""
