"""JSON Schemas of the messages, generated from their models; `python -m worker.tools.asyncapi` writes them."""

import json
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import WithDefaultSchema

from worker.messages.rules import Kind
from worker.tools.asyncapi.passport import Created
from worker.tools.asyncapi.results import Conflict, OverageRequired, Rejected
from worker.tools.common.command_model import CreatePassportBody

JsonSchema = dict[str, object]

DIALECT = GenerateJsonSchema.schema_dialect
_ID_BASE = "https://schemas.tracepass.eu/eu.tracepass.passport."
"""An `$id` is this base, the rest of the message's CloudEvents type, and `.json`. A published `$id` never changes."""


@dataclass(frozen=True, slots=True)
class _Message:
    label: str
    title: str
    description: str
    model: type[BaseModel]


_MESSAGES = (
    _Message("create", "Create a passport", "Command: create one Digital Product Passport.", CreatePassportBody),
    _Message(Kind.CREATED.label, "Passport created", "Result 201: the new passport, as a draft.", Created),
    _Message(
        Kind.OVERAGE_REQUIRED.label,
        "Overage confirmation required",
        "Result 402: the quota is used up; send the command again with confirmOverage to accept the charge.",
        OverageRequired,
    ),
    _Message(Kind.CONFLICT.label, "Passport conflict", "Result 409: the GTIN or the serial number is taken.", Conflict),
    _Message(
        Kind.REJECTED.label,
        "Create-passport command rejected",
        "Result 400, 401, 402, 403, 404, 422 or 429: every other refusal.",
        Rejected,
    ),
)


class _Generator(GenerateJsonSchema):
    """Leaves out default values, and titles made from field names: they only serve our own code."""

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        """Defaults mean "not sent", which nobody can send: an optional field is just not required."""
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: object) -> bool:
        """Never: the property's name says the same."""
        return False


def schemas() -> dict[str, JsonSchema]:
    """JSON Schema 2020-12 documents of the command and its results, by file name."""
    return {
        f"{message.label}.v1.json": {
            **message.model.model_json_schema(schema_generator=_Generator),
            "$schema": DIALECT,
            "$id": f"{_ID_BASE}{message.label}.v1.json",
            "title": message.title,
            "description": message.description,
        }
        for message in _MESSAGES
    }


def text_of(schema: JsonSchema) -> str:
    """The committed text of a schema. It is sorted, so that a changed model shows as a small diff."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
