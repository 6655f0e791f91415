"""Which rule gives which outcome, and back from a published answer to its outcome: from its kind and body alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.domain import outcomes
from worker.domain.outcomes import Outcome
from worker.messages.json_value import read_object
from worker.messages.refusals import REFUSALS, Kind

_DEPTH = 240
"""Of a result that is looked into: settings allow commands 200 levels, and pydantic's documents have 255."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One of the rules, which are asked in the order of their numbers; the first that fails answers."""

    number: int
    name: str


READABLE = Rule(1, "the record is readable")
CREDENTIALS = Rule(2, "the credentials are known and valid at the append time; a signature fits its record")
SCOPE = Rule(3, "the credentials carry the scope passports:write")
KEY_WELL_FORMED = Rule(4, "the idempotency key is well formed")
KEY_FREE = Rule(5, "the idempotency key is not bound yet")
BODY_VALID = Rule(6, "the body is valid")
SUBSCRIBED = Rule(7, "the subscription is active or trialing, or the plan needs none")
PRODUCT = Rule(8, "the product exists and belongs to the company")
DAILY_WRITES = Rule(9, "the plan's write budget of the UTC day is not spent")
GTIN_FREE = Rule(10, "the GTIN is not registered to another company")
SERIAL_NEW = Rule(11, "the serial number is new within the GTIN")
SLOT = Rule(12, "a slot is free, or the plan sells overage and it is confirmed")
CREATE = Rule(13, "create the passport")

RULES: Mapping[type[Outcome], Rule] = {
    outcomes.Unreadable: READABLE,
    outcomes.Unauthorized: CREDENTIALS,
    outcomes.Forbidden: SCOPE,
    outcomes.MalformedIdempotencyKey: KEY_WELL_FORMED,
    outcomes.Replayed: KEY_FREE,
    outcomes.IdempotencyKeyReused: KEY_FREE,
    outcomes.Invalid: BODY_VALID,
    outcomes.SubscriptionInactive: SUBSCRIBED,
    outcomes.ProductNotFound: PRODUCT,
    outcomes.DailyWritesSpent: DAILY_WRITES,
    outcomes.GtinRegistered: GTIN_FREE,
    outcomes.SerialExists: SERIAL_NEW,
    outcomes.OverageRequired: SLOT,
    outcomes.HardBlock: SLOT,
    outcomes.Created: CREATE,
}
"""By outcome: every outcome has one."""
ALL_RULES = tuple(sorted({*RULES.values()}, key=lambda one: one.number))

KEY_FIELD = "Idempotency-Key"
"""The one field that rule 4 reports; no path of a body is called so."""


def outcome_class(kind: Kind, body: Mapping[str, Any], *, replayed: bool = False) -> type[Outcome] | None:
    """Which outcome an answer tells; None for a body that no worker of this version writes."""
    if kind is Kind.CREATED:
        return outcomes.Replayed if replayed else outcomes.Created
    found = [
        outcome
        for outcome, one in REFUSALS.items()
        if (one.kind, one.status) == (kind, body.get("status")) and _says(one.error, body.get("error"))
    ]
    if outcomes.MalformedIdempotencyKey in found:
        about_key = set(field_errors(body)) == {KEY_FIELD}
        return outcomes.MalformedIdempotencyKey if about_key else outcomes.Invalid
    return found[0] if found else None


def _says(error: str, told: object) -> bool:
    """Whether a body's error is this one, which may be a format."""
    return isinstance(told, str) and told.startswith(error.partition("{")[0])


def field_errors(body: Mapping[str, Any]) -> dict[str, list[str]]:
    """Messages by path, of a body that has some; a stranger's may have anything in their place, which is left out."""
    details = body.get("details")
    found = details.get("fieldErrors") if isinstance(details, dict) else None
    if not isinstance(found, dict):
        return {}
    return {path: [*map(str, texts)] for path, texts in found.items() if isinstance(texts, list)}


def body_of_value(value: bytes) -> dict[str, Any]:
    """The value of a result as an object; an empty one where it is none that a command could be. Never raises."""
    body = read_object(value, _DEPTH)
    return body if isinstance(body, dict) else {}
