"""What is told of each refusal: the one source of topics, statuses, exact sentences and codes.

Events, the models of the schemas, metrics and the table of the README take them from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from worker.domain import outcomes
from worker.domain.outcomes import Outcome


class Kind(IntEnum):
    """The result topics; the numbers are stored in the ledger."""

    CREATED = 1
    OVERAGE_REQUIRED = 2
    CONFLICT = 3
    REJECTED = 4

    @property
    def label(self) -> str:
        """As in `ce_type`: `created`, `overage-required`, `conflict`, `rejected`."""
        return _LABELS[self]


_LABELS = {
    Kind.CREATED: "created",
    Kind.OVERAGE_REQUIRED: "overage-required",
    Kind.CONFLICT: "conflict",
    Kind.REJECTED: "rejected",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """`code` is the metrics' and the logs', `status` that of the REST call, `error` the body's, as `message` is.

    `conflict` is the code that the bodies of conflicts have.
    """

    code: str
    kind: Kind
    status: int
    error: str
    conflict: str | None = None
    message: str | None = None


REFUSALS: Mapping[type[Outcome], Refusal] = {
    outcomes.Unreadable: Refusal("unreadable", Kind.REJECTED, 400, "Unreadable command"),
    outcomes.Unauthorized: Refusal("unauthorized", Kind.REJECTED, 401, "Unauthorized"),
    outcomes.Forbidden: Refusal("forbidden", Kind.REJECTED, 403, "Forbidden"),
    outcomes.MalformedIdempotencyKey: Refusal("malformed-idempotency-key", Kind.REJECTED, 400, "Validation error"),
    outcomes.IdempotencyKeyReused: Refusal(
        "idempotency-key-reused",
        Kind.REJECTED,
        422,
        "Idempotency-Key has already been used with a different request body. "
        "Use a new key for the new request, or reuse the original body.",
    ),
    outcomes.Invalid: Refusal("invalid", Kind.REJECTED, 400, "Validation error"),
    outcomes.SubscriptionInactive: Refusal("subscription-inactive", Kind.REJECTED, 402, "subscription_inactive"),
    outcomes.ProductNotFound: Refusal("product-not-found", Kind.REJECTED, 404, "Product not found"),
    outcomes.DailyWritesSpent: Refusal(
        "daily-writes-spent",
        Kind.REJECTED,
        429,
        "API rate limit: {per_day} writes/day via /api/v1. Currently {today} today; requested 1. "
        "Retry tomorrow (UTC) or upgrade your plan.",
    ),
    outcomes.GtinRegistered: Refusal(
        "gtin-registered",
        Kind.CONFLICT,
        409,
        "This GTIN is already registered by another company. Contact support if this is an error.",
        conflict="gtin_registered",
    ),
    outcomes.SerialExists: Refusal(
        "serial-exists",
        Kind.CONFLICT,
        409,
        "Serial number already exists for this GTIN",
        conflict="serial_exists",
    ),
    outcomes.OverageRequired: Refusal(
        "overage-required",
        Kind.OVERAGE_REQUIRED,
        402,
        "overage_required",
        message="DPP quota reached. Retry with { confirmOverage: true } to accept the per-passport charge.",
    ),
    outcomes.HardBlock: Refusal(
        "dpp-hard-block",
        Kind.REJECTED,
        402,
        "dpp_hard_block",
        message="DPP quota reached and this plan has no overage. Upgrade your plan.",
    ),
}
"""By outcome; created and replayed are none. The error of spent daily writes is a format of `per_day` and `today`."""
