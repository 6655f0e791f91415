"""`passport-worker validate`: what the worker would say of command values, without credentials and state.

Values come one a line (NDJSON), or as a single document over many lines, and go through the worker's own door. Memory
stays bounded, whatever the input: no more of a value is held than the worker would read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

from worker.domain.command import InvalidBody, UnreadableRecord
from worker.messages.envelope import Header, Limits, Record, open_envelope
from worker.messages.json_value import read_object

NOT_CHECKED = "Not checked: headers (credentials, idempotency key), and what depends on the company's data."
_BOM = b"\xef\xbb\xbf"
_CHUNK_BYTES = 64 * 1024
_CLOUD_EVENT: Header = ("content-type", b"application/cloudevents+json")

_Line = tuple[int, bytes]
"""Number, from 1, and bytes with the line's end; one over the limit is cut behind its first byte too many."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one value: the line where it begins, and a text for each problem."""

    line: int
    problems: tuple[str, ...]


def verdicts(stream: BinaryIO, limits: Limits) -> Iterator[Verdict]:
    """One verdict a value, in order. Blank lines are no values; every other one is, and none stops the rest."""
    lines = _lines(stream, limits.value_bytes)
    head = _head(lines, limits.value_bytes)
    filled = [line for line in head if line[1].strip()]
    if _is_one_document(filled, limits):
        first, _ = filled[0]
        read = b"".join(text for _, text in head)
        rest = b"" if len(read) > limits.value_bytes else stream.read(limits.value_bytes + 3 - len(read))
        yield Verdict(first, problems_of(_without_end(read + rest), limits))
        return
    for number, text in chain(head, lines):
        if text.strip():
            yield Verdict(number, problems_of(_without_end(text), limits))


def problems_of(value: bytes, limits: Limits) -> tuple[str, ...]:
    """What the worker finds wrong with a record of this value: `path: message`, or why it cannot be read."""
    headers = [_CLOUD_EVENT] if _is_cloud_event(value, limits) else []
    body = open_envelope(Record("", 0, 0, 0, None, value, headers), limits).command.body
    if isinstance(body, UnreadableRecord):
        return (f"unreadable ({body.code}): {body.reason}",)
    if isinstance(body, InvalidBody):
        return tuple(_shown(f"{path}: {text}") for path, texts in body.field_errors.items() for text in texts)
    return ()


def summary(good: int, bad: int) -> str:
    """The last line of the output."""
    return f"{good + bad} command{'' if good + bad == 1 else 's'}: {good} good, {bad} bad. {NOT_CHECKED}"


def _lines(stream: BinaryIO, longest: int) -> Iterator[_Line]:
    number = 0
    while text := stream.readline(longest + 2):  # the end of a line may be CR LF
        number += 1
        yield number, text
        while not text.endswith(b"\n") and text:
            text = stream.readline(_CHUNK_BYTES)


def _head(lines: Iterable[_Line], most_bytes: int) -> list[_Line]:
    """The lines to look at before anything is said: up to the second that is not blank."""
    head: list[_Line] = []
    size = filled = 0
    for line in lines:
        head.append(line)
        size += len(line[1])
        filled += bool(line[1].strip())
        if filled == 2 or size > most_bytes:
            break
    return head


def _is_one_document(filled: list[_Line], limits: Limits) -> bool:
    """Whether a value that the first line begins goes on in the second, instead of another value beginning there."""
    if len(filled) < 2:
        return False
    first, second = (text.removeprefix(_BOM).strip() for _, text in filled)
    if not first.startswith((b"{", b"[")) or (first.startswith(b"{") and second.startswith(b"{")):
        return False
    parsed = read_object(first, limits.json_depth)
    return isinstance(parsed, UnreadableRecord) and parsed.code == "not-json"


def _without_end(text: bytes) -> bytes:
    return text.removesuffix(b"\n").removesuffix(b"\r")


def _is_cloud_event(value: bytes, limits: Limits) -> bool:
    """A content type would say it, which a file has not: an object with `specversion` and nothing of a command."""
    if b'"specversion"' not in value or len(value) > limits.value_bytes:
        return False
    parsed = read_object(value, limits.json_depth)
    return isinstance(parsed, dict) and "specversion" in parsed and not parsed.keys() & {"productId", "gs1"}


def _shown(text: str) -> str:
    """Names in a path come from the input: nothing of them reaches a terminal that it would obey."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
