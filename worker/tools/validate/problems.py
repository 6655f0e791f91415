"""What the worker would find wrong with a value, for people: by its own code, without credentials and state."""

import re

from worker.domain.command import InvalidBody, UnreadableRecord
from worker.messages.body import looks_like_cloud_event
from worker.messages.envelope import Limits, Record, open_envelope
from worker.messages.events import Header
from worker.messages.hints import printable
from worker.messages.json_value import read_object
from worker.tools.common.hints import place

CLOUD_EVENT: Header = ("content-type", b"application/cloudevents+json")
"""The header of a structured CloudEvent."""

SYNTAX_ERROR = re.compile(r"at character (\d+)$")
"""How the reason ends of what is no JSON: the position, from 0."""


def problems_of(value: bytes, limits: Limits) -> tuple[str, ...]:
    """What the worker finds wrong with a record of this value: `path: message`, or why it cannot be read."""
    headers = [CLOUD_EVENT] if is_cloud_event(value, limits) else []
    body = open_envelope(Record("", 0, 0, 0, None, value, headers), limits).command.body
    if isinstance(body, UnreadableRecord):
        return (f"unreadable ({body.code}): {body.reason}{_place(value, body.reason)}",)
    if isinstance(body, InvalidBody):
        found = tuple(printable(f"{path}: {text}") for path, texts in body.field_errors.items() for text in texts)
        return (*found, f"further fields that are wrong: {body.omitted}") if body.omitted else found
    return ()


def is_cloud_event(value: bytes, limits: Limits) -> bool:
    """A content type would say it, which a file has not."""
    if b'"specversion"' not in value or len(value) > limits.value_bytes:
        return False
    parsed = read_object(value, limits.json_depth)
    return isinstance(parsed, dict) and looks_like_cloud_event(parsed)


def _place(value: bytes, reason: str) -> str:
    """Line and column of a syntax error, in a document over many lines."""
    found = SYNTAX_ERROR.search(reason)
    if found is None or b"\n" not in value:
        return ""
    return f" ({place(value.decode()[: int(found[1])])})"
