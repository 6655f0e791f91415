"""Reads published answers: from the kind and the body of an answer to its outcome."""

from collections.abc import Mapping
from typing import Any

from worker.domain import outcomes
from worker.domain.outcomes import Outcome
from worker.messages.events import Answer
from worker.messages.json_value import read_object
from worker.messages.rules import CREATED, KEY_FIELD, REFUSALS, REPLAYED, ROWS, Kind

Body = Mapping[str, Any]

# A result can repeat what commands nest, which settings allow 200 levels deep. pydantic's documents have 255.
_DEPTH = 240


def body_of_value(value: bytes) -> dict[str, Any]:
    """The value of a result as an object, which is empty if the value is not a readable JSON object. Never raises."""
    body = read_object(value, _DEPTH)
    return body if isinstance(body, dict) else {}


def outcome_class(kind: Kind, body: Body, *, replayed: bool = False) -> type[Outcome] | None:
    """The outcome of an answer; None for a body that no worker of this version writes."""
    if kind is Kind.CREATED:
        return outcomes.Replayed if replayed else outcomes.Created
    error = body.get("error")
    for outcome, row in REFUSALS.items():
        if (row.kind, row.status) != (kind, body.get("status")) or not isinstance(error, str):
            continue
        if error.startswith(row.error.partition("{")[0]):
            # Two outcomes share this error. Only that of rule 4 has the header as its one field.
            if row.error == REFUSALS[outcomes.Invalid].error and set(field_errors(body)) != {KEY_FIELD}:
                return outcomes.Invalid
            return outcome
    return None


def outcome_code(answer: Answer) -> str:
    """The code of an answer's outcome. Raises `ValueError` for a body that no outcome has."""
    if answer.kind is Kind.CREATED:  # their bodies are large, and need not be read
        return REPLAYED if answer.replayed else CREATED
    outcome = outcome_class(answer.kind, body_of_value(answer.value))
    if outcome is None:
        raise ValueError(f"no outcome of kind {answer.kind.label} has such a body")
    return ROWS[outcome].code


def field_errors(body: Body) -> dict[str, list[str]]:
    """Messages by path. A stranger may have written the body: anything that is no list of messages is left out."""
    by_path = child(body, "details").get("fieldErrors")
    if not isinstance(by_path, dict):
        return {}
    return {path: [*map(str, messages)] for path, messages in by_path.items() if isinstance(messages, list)}


def child(body: Body, name: str) -> Body:
    """The object under a name; an empty object if there is none."""
    value = body.get(name)
    return value if isinstance(value, dict) else {}
