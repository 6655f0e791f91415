"""The messages of the AsyncAPI document: headers, key, payload and examples of the command, its results, and copies."""

from collections.abc import Mapping, Sequence
from json import dumps

from worker.domain.command import OBJECT_ID, DeadLetter, Source
from worker.messages.events import Answer, Event, dead_letter_event, event_of
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.tools.asyncapi.schemas import JsonSchema, schemas

Examples = Mapping[str, dict[str, object]]
"""The valid example of each message by its label: `create`, `created`, …"""

_SOURCE = Source("dpp.passport.create.v1", 0, 1200, 1778320800000)
_KEY = "order-4711-unit-1"
_COMPANY = "6650a0b1c2d3e4f5a6b7c8d9"
_TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_BINDING = "0.5.0"
_TRACE: JsonSchema = {
    "traceparent": {
        "type": "string",
        "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}",
        "description": "W3C Trace Context of the command",
    },
    "tracestate": {
        "type": "string",
        "description": "W3C Trace Context of the command; dropped without traceparent, or if over 512 characters",
    },
}


def message_schemas() -> JsonSchema:
    """Header schemas that several messages share, by name."""
    return {"commandHeaders": _command_headers(), "resultHeaders": _result_headers()}


def messages(settings: Settings, examples: Examples) -> dict[str, JsonSchema]:
    """All messages by name: the command in its three forms, the four results, and the dead letter."""
    return {
        **_commands(examples["create"]),
        **{kind.label: _result(kind, examples[kind.label]) for kind in Kind},
        "dead-letter": _dead_letter(settings.group_id),
    }


def _command_headers() -> JsonSchema:
    properties: JsonSchema = {
        "authorization": {
            "type": "string",
            "pattern": "^[ \\t]*[bB][eE][aA][rR][eE][rR][ \\t]+[^ \\t]+[ \\t]*$",
            "description": "`Bearer tp_…` (an API key) or `Bearer <JWT>` (an OAuth 2.0 access token with exp and kid)",
        },
        "jws-signature": {
            "type": "string",
            "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$",
            "description": "In place of `authorization`: a compact JWS of claims about this record (README, Sign). "
            "With both, it decides",
        },
        "idempotency-key": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            "description": "UTF-8 without control characters; bound for 24 hours by the passport that is created. "
            "Without it the result's key is <topic>:<partition>:<offset>",
        },
        **_TRACE,
    }
    return {
        "type": "object",
        "description": "Names match without regard to case; further headers are ignored.",
        "anyOf": [{"required": ["authorization"]}, {"required": ["jws-signature"]}],
        "properties": properties,
    }


def _result_headers() -> JsonSchema:
    text = {"type": "string"}
    properties: JsonSchema = {
        "ce_specversion": {**text, "const": "1.0"},
        "ce_id": {**text, "format": "uuid", "description": "The same for the same command: UUIDv5 of ce_causationid"},
        "ce_source": {**text, "const": "/passport-worker"},
        "ce_type": {**text, "description": "The outcome"},
        "ce_time": {**text, "format": "date-time", "description": "Append time of the command"},
        "ce_subject": {**text, "description": "The passport's id; of a refusal, the record's key"},
        "ce_companyid": {**text, "pattern": f"^{OBJECT_ID}$", "description": "Once the credentials were good"},
        "ce_causationid": {
            **text,
            "pattern": "^[a-zA-Z0-9._-]+/[0-9]+/[0-9]+$",
            "description": "Place of the command: <topic>/<partition>/<offset>",
        },
        "content-type": {**text, "const": "application/json"},
        **_TRACE,
    }
    optional = {"ce_companyid", *_TRACE}
    return {
        "type": "object",
        "description": "CloudEvents 1.0, binary mode.",
        "required": [name for name in properties if name not in optional],
        "properties": properties,
    }


def _commands(body: dict[str, object]) -> dict[str, JsonSchema]:
    headers = {"authorization": "Bearer tp_…", "idempotency-key": _KEY, "traceparent": _TRACEPARENT}
    event = {"specversion": "1.0", "id": _KEY, "source": "/factories/stuttgart", "type": "eu.example.unit-finished"}
    binary = {f"ce_{name}": value for name, value in event.items()}
    plain = _command(
        "Create a passport", "application/json", _payload("create"), _example("plain", headers, body), "A JSON object."
    )
    structured = _command(
        "Create a passport, as a structured CloudEvent",
        "application/cloudevents+json",
        _cloud_event(),
        _example("structured", {**headers, "content-type": "application/cloudevents+json"}, {**event, "data": body}),
        "The header `content-type: application/cloudevents+json` decides that the command is in `data`. "
        "Credentials and idempotency key come from the Kafka headers in every mode.",
        ["content-type"],
    )
    in_headers = _command(
        "Create a passport, as a binary CloudEvent",
        "application/json",
        _payload("create"),
        _example("binary", {**headers, **binary, "content-type": "application/json"}, body),
        "The attributes are `ce_*` headers, which the worker does not need; the value is the command.",
        list(binary),
    )
    return {"create": plain, "create-structured": structured, "create-binary": in_headers}


def _command(  # noqa: PLR0913 - the parts of a message
    title: str,
    content_type: str,
    payload: JsonSchema,
    example: JsonSchema,
    description: str,
    more_headers: Sequence[str] = (),
) -> JsonSchema:
    shared: JsonSchema = {"$ref": "#/components/schemas/commandHeaders"}
    more: JsonSchema = {"type": "object", "required": list(more_headers)}
    if "content-type" in more_headers:
        more["properties"] = {"content-type": {"type": "string", "pattern": "^application/cloudevents\\+json"}}
    return {
        "title": title,
        "summary": "Command: create one Digital Product Passport.",
        "description": description,
        "contentType": content_type,
        "headers": {"allOf": [shared, more]} if more_headers else shared,
        "payload": payload,
        "bindings": _key("Free. By company or GTIN is best: commands with one key are answered in their order."),
        "examples": [example],
    }


def _cloud_event() -> JsonSchema:
    attributes = {name: {"type": "string", "minLength": 1} for name in ("id", "source", "type")}
    return {
        "type": "object",
        "description": "CloudEvents 1.0, JSON format. The worker reads `data` only.",
        "required": ["specversion", *attributes, "data"],
        "properties": {"specversion": {"type": "string", "const": "1.0"}, **attributes, "data": _payload("create")},
    }


def _result(kind: Kind, body: dict[str, object]) -> JsonSchema:
    event = event_of(_answer(kind, body), _SOURCE.topic, _SOURCE.partition)
    headers = _headers(event)
    own: JsonSchema = {"ce_type": {"type": "string", "const": headers["ce_type"]}}
    if kind is Kind.CREATED:
        own["idempotency-replayed"] = {
            "type": "string",
            "const": "true",
            "description": "The key was bound to the same body: this is the original event again",
        }
    schema = schemas()[f"{kind.label}.v1.json"]
    return {
        "title": schema["title"],
        "summary": schema["description"],
        "description": "The only result of its command. Ignore fields and headers that you do not know.",
        "contentType": "application/json",
        "headers": {"allOf": [{"$ref": "#/components/schemas/resultHeaders"}, {"type": "object", "properties": own}]},
        "payload": _payload(kind.label),
        "correlationId": {
            "description": "Place of the command. The record's key, the idempotency key, correlates, too.",
            "location": "$message.header#/ce_causationid",
        },
        "bindings": _key("The command's idempotency key; without one <topic>:<partition>:<offset> of the command."),
        "examples": [_example(kind.label, headers, body)],
    }


def _answer(kind: Kind, body: dict[str, object]) -> Answer:
    passport = body["_id"] if kind is Kind.CREATED else None
    return Answer(
        _SOURCE.offset,
        _SOURCE.appended_ms,
        kind,
        _KEY,
        dumps(body).encode(),
        _COMPANY,
        passport_id=passport if isinstance(passport, str) else None,
    )


def _dead_letter(group_id: str) -> JsonSchema:
    sent = (("idempotency-key", _KEY.encode()),)
    value = '{"productId": "6650a1b2'
    event = dead_letter_event(DeadLetter(None, value.encode(), sent, "not-json"), _SOURCE, group_id)
    decimal = {"type": "string", "pattern": "^-?[0-9]+$"}
    properties: JsonSchema = {
        "dlq-original-topic": {"type": "string"},
        "dlq-original-partition": decimal,
        "dlq-original-offset": decimal,
        "dlq-original-timestamp": {**decimal, "description": "Append time, Unix milliseconds"},
        "dlq-consumer-group": {"type": "string"},
        "dlq-reason": {"type": "string", "pattern": "^[a-z0-9-]+$", "description": "A stable code"},
    }
    omitted: JsonSchema = {
        "dlq-omitted-bytes": {
            **decimal,
            "description": "In place of key, value and headers that this topic would be too small for",
        },
        "dlq-omitted-headers": {**decimal, "description": "In place of the headers of a command with over 10,000"},
    }
    return {
        "title": "Copy of an unreadable command",
        "summary": "The command record as it came, without its authorization header.",
        "description": "Value and key byte for byte, headers in order. Each copy also has its rejected event.",
        "contentType": "application/octet-stream",
        "headers": {"type": "object", "required": list(properties), "properties": {**properties, **omitted}},
        "payload": {"description": "Whatever bytes the command had; null where it had none."},
        "bindings": _key("As in the command."),
        "examples": [_example("not-json", _headers(event), value)],
    }


def _payload(label: str) -> JsonSchema:
    return {"$ref": f"./{label}.v1.json"}


def _key(description: str) -> JsonSchema:
    return {"kafka": {"key": {"type": "string", "description": description}, "bindingVersion": _BINDING}}


def _headers(event: Event) -> dict[str, str]:
    return {name: value.decode() for name, value in event.headers if value is not None}


def _example(name: str, headers: Mapping[str, str], payload: object) -> JsonSchema:
    return {"name": name, "headers": dict(headers), "payload": payload}
