"""What the demo makes of a result: a column of its table, and why it came out so in a few words."""

import json
from typing import Any

from worker.demo.tally import Result
from worker.messages.events import Kind
from worker.stream.clients import ResultRecord

_REASONS = {
    "Unreadable command": "unreadable",
    "Unauthorized": "unknown credentials",
    "Validation error": "invalid",
    "Product not found": "product not found",
    "subscription_inactive": "subscription inactive",
    "dpp_hard_block": "quota reached, no overage",
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
        return "serial exists" if body["conflict"] == "serial_exists" else "GTIN of another company"
    if body["status"] == 429:
        return "daily writes spent"
    return _REASONS.get(body["error"], "key used with another body")
