"""Turns results into the fields of an answer, which `submit` writes into a file and `tail` prints."""

from typing import NamedTuple

import orjson

from worker.domain import outcomes
from worker.messages.hints import printable
from worker.messages.rules import CREATED, REFUSALS, REPLAYED, Kind
from worker.tools.common.answers import body_of_value, child, field_errors
from worker.tools.common.results import ResultRecord

_LINK = b'"digitalLinkUri":"'
_SERIAL_EXISTS = REFUSALS[outcomes.SerialExists].conflict


class RowAnswer(NamedTuple):
    """The answer to a row as texts, empty if unknown. `key` is the idempotency key of the row."""

    outcome: str
    status: str = ""
    passport_id: str = ""
    digital_link_uri: str = ""
    error: str = ""
    key: str = ""
    place: str = ""


# Names of the fields, in their order; columns are called `answer.<name>`.
NAMES = ("outcome", "status", "passportId", "digitalLinkUri", "error", "key", "place")


def row_answer_of(record: ResultRecord) -> RowAnswer:
    """The answer in a result, whose key is the row's. Never raises: anybody may have written the result."""
    key = (record.key or b"").decode("utf-8", "replace")
    if record.kind is Kind.CREATED:
        outcome = REPLAYED if record.is_replayed else CREATED
        passport_id = printable(record.header("ce_subject") or "")
        return RowAnswer(outcome, "201", passport_id, _digital_link(record.value or b""), "", key, record.cause)
    body = body_of_value(record.value or b"")
    passport_id = printable(str(body.get("passportId", ""))) if body.get("conflict") == _SERIAL_EXISTS else ""
    status = printable(str(body.get("status", "")))
    return RowAnswer(record.kind.label, status, passport_id, "", error_of(body), key, record.cause)


def _digital_link(value: bytes) -> str:
    """The link, cut out of the bytes: parsing the whole body takes ten times as long."""
    # No text inside a body can look like the name, since its quotes would be escaped.
    at = value.find(_LINK)
    start = at + len(_LINK) - 1
    try:
        link = orjson.loads(value[start : value.index(b'"', start + 1) + 1]) if at >= 0 else None
    except ValueError:
        link = None
    return printable(str(link or child(body_of_value(value), "gs1").get("digitalLinkUri", "")))


def error_of(body: dict[str, object]) -> str:
    """The `error` of a body, followed by the price of overage or by its `details`."""
    error, details = printable(str(body.get("error", ""))), body.get("details")
    if isinstance(cents := body.get("extraPriceCents"), int):
        return f"{error}: {cents} cents each"
    if not isinstance(details, dict):
        return error
    fields = [f"{path}: {text}" for path, texts in field_errors(body).items() for text in texts]
    others = [str(text) for name, text in details.items() if name in ("reason", "status", "requiredScope")]
    return printable(f"{error}: {'; '.join(fields + others)}")
