"""Checks of message bodies against the committed JSON Schemas, for every test tier."""

import json
from contextlib import suppress
from functools import cache
from pathlib import Path

import jsonschema_rs
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

SCHEMAS = Path(__file__).parents[1] / "schemas"


@cache
def validator(name: str) -> Draft202012Validator:
    """The validator of a committed schema, by the name of its message, such as `create.v1`."""
    return Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8")))


@cache
def strict_validator(name: str) -> Draft202012Validator:
    """As `validator`, but what a schema does not describe is an error: our own output holds no surprises."""
    return Draft202012Validator(json.loads(json.dumps(validator(name).schema), object_hook=_closed))


@cache
def _quick_validator(name: str) -> jsonschema_rs.Draft202012Validator:
    """As `strict_validator`, in a thirtieth of its time: tests check hundreds of thousands of events."""
    return jsonschema_rs.Draft202012Validator(json.dumps(strict_validator(name).schema))


def _closed(part: dict[str, object]) -> dict[str, object]:
    """An object schema that forbids further fields, unless it says what they are."""
    return {"additionalProperties": False, **part} if "properties" in part and "type" in part else part


def check_event(kind_or_topic_label: str, value: bytes) -> None:
    """Fail unless `value` is a result body as the schema of its label describes it, and nothing more.

    Labels: `created`, `overage-required`, `conflict`, `rejected` (see `Kind.label`).
    """
    name, body = f"{kind_or_topic_label}.v1", json.loads(value)
    with suppress(ValueError):  # it takes no lone surrogates
        if _quick_validator(name).is_valid(body):
            return
    error = best_match(strict_validator(name).iter_errors(body))
    assert error is None, f"{kind_or_topic_label} body breaks its schema at {error.json_path}: {error.message}"
