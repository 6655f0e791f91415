"""What the demo makes of a result: a column of its table, and why it came out so in a few words."""

import json
from typing import Any

from worker.demo.tally import Result
from worker.domain import outcomes
from worker.messages.refusals import REFUSALS, Kind
from worker.stream.clients import ResultRecord

_REASONS = {
    REFUSALS[outcome].error: reason
    for outcome, reason in (
        (outcomes.Unreadable, "unreadable"),
        (outcomes.Unauthorized, "unknown credentials"),
        (outcomes.Forbidden, "scope missing"),
        (outcomes.Invalid, "invalid"),
        (outcomes.ProductNotFound, "product not found"),
        (outcomes.SubscriptionInactive, "subscription inactive"),
        (outcomes.HardBlock, "quota reached, no overage"),
        (outcomes.IdempotencyKeyReused, "key used with another body"),
    )
}

_COLUMNS = {
    Kind.CREATED: "created",
    Kind.OVERAGE_REQUIRED: "overage",
    Kind.CONFLICT: "conflict",
    Kind.REJECTED: "rejected",
}


def result_of(record: ResultRecord) -> Result:
    """A record of a result topic as the tally counts it."""
    body = json.loads(record.value)
    is_replayed = record.headers.get("idempotency-replayed") == "true"
    column = "replayed" if is_replayed else _COLUMNS[record.kind]
    status = 201 if record.kind is Kind.CREATED else int(body["status"])
    place = record.topic, record.partition
    return Result(record.headers["ce_causationid"], place, column, status, _reason(column, body), body)


def _reason(column: str, body: dict[str, Any]) -> str:
    """The bodies have sentences; these are shorter."""
    if column == "created":
        return "created, overage charged" if "overage" in body else "created"
    if column == "replayed":
        return "replayed"
    if column == "overage":
        return "overage to be confirmed"
    if column == "conflict":
        is_serial = body["conflict"] == REFUSALS[outcomes.SerialExists].conflict
        return "serial exists" if is_serial else "GTIN of another company"
    if body["status"] == REFUSALS[outcomes.DailyWritesSpent].status:
        return "daily writes spent"
    return _REASONS[body["error"]]
