"""Finds the errors that the worker would find in a value, without credentials and state; and reads lines of files."""

import re
from collections.abc import Iterator
from typing import BinaryIO

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
"""The end of the reason for invalid JSON: the position, counted from 0."""

# A line such as `productId;gs1.gtin` or `sep=;`, with which no JSON object can begin.
_COLUMN_NAMES = re.compile(rb"(sep=[,;\t]|[\w .\"()/\x80-\xff-]+([,;\t][\w .\"()/\x80-\xff-]*)+)(\r?\n|$)")

BOM = b"\xef\xbb\xbf"
_CHUNK_BYTES = 64 * 1024


def bounded_lines(stream: BinaryIO, longest: int) -> Iterator[bytes]:
    """Lines with their ends. A longer line is cut after its first byte too many, and the rest is skipped."""
    while text := stream.readline(longest + 2):  # a line may end in CR LF
        yield text
        while not text.endswith(b"\n") and text:
            text = stream.readline(_CHUNK_BYTES)


def looks_like_csv(head: bytes, suffix: str) -> bool:
    """Whether a file is a table, not JSON, judged by its suffix, or by a first line of column names in `head`."""
    text = head.removeprefix(BOM).lstrip()
    if text.startswith((b"{", b"[")):
        return False
    return suffix.lower() in (".csv", ".tsv") or _COLUMN_NAMES.match(text) is not None


def without_end(line: bytes) -> bytes:
    """The line without CR LF or LF."""
    return line.removesuffix(b"\n").removesuffix(b"\r")


def problems_of(value: bytes, limits: Limits) -> tuple[str, ...]:
    """The errors that the worker finds in a record with this value: `path: message`, or why it cannot be read."""
    headers = [CLOUD_EVENT] if is_cloud_event(value, limits) else []
    body = open_envelope(Record("", 0, 0, 0, None, value, headers), limits).command.body
    if isinstance(body, UnreadableRecord):
        position, where = SYNTAX_ERROR.search(body.reason), ""
        if position is not None and b"\n" in value:
            where = f" ({place(value.decode()[: int(position[1])])})"
        return (f"unreadable ({body.code}): {body.reason}{where}",)
    if isinstance(body, InvalidBody):
        errors = tuple(printable(f"{path}: {text}") for path, texts in body.field_errors.items() for text in texts)
        return (*errors, f"further wrong fields: {body.omitted}") if body.omitted else errors
    return ()


def is_cloud_event(value: bytes, limits: Limits) -> bool:
    """Whether the value is a structured CloudEvent. Files have no content type, so its own keys decide."""
    if b'"specversion"' not in value or len(value) > limits.value_bytes:
        return False
    parsed = read_object(value, limits.json_depth)
    return isinstance(parsed, dict) and looks_like_cloud_event(parsed)
