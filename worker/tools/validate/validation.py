"""`passport-worker validate`: what the worker would say of command values, without credentials and state.

Values come one a line (NDJSON), or as a single document over many lines, and are read by the worker's own code. Memory
stays bounded, whatever the input: no more of a value is held than the worker would read.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import BinaryIO

from pydantic import BaseModel

from worker.domain.command import UnreadableRecord
from worker.messages.body import looks_like_cloud_event
from worker.messages.envelope import Limits
from worker.messages.hints import printable
from worker.messages.json_value import read_object
from worker.tools.common.command_model import CreatePassportBody, Parties
from worker.tools.common.hints import did_you_mean
from worker.tools.validate.lines import BOM, bounded_lines, without_end
from worker.tools.validate.problems import problems_of

NOT_CHECKED = (
    "Not checked: headers (credentials, idempotency key, the content-type that a CloudEvent needs), duplicates, "
    "and what depends on the company's data."
)
_MOST_WARNINGS = 20
_LONGEST_PATH = 100

_Line = tuple[int, bytes]
"""Number, from 1, and bytes with the line's end; one over the limit is cut behind its first byte too many."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one value: the line where it begins, and a text for each problem, and for what is good but of no use."""

    line: int
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    value: bytes = b""


def verdicts(stream: BinaryIO, limits: Limits) -> Iterator[Verdict]:
    """One verdict a value, in order. Blank lines are no values; every other one is, and none stops the rest."""
    lines: Iterator[_Line] = enumerate(bounded_lines(stream, limits.value_bytes), 1)
    head = list(_up_to(lines, limits.value_bytes, filled=2))
    if _goes_on(head, limits):
        head.extend(_up_to(lines, limits.value_bytes + 2 - sum(len(text) for _, text in head)))
        document = _document(head, limits)
        if document is not None:
            yield document
            head = []
            lines = (line for line in lines if _code(line[1], limits) is None)  # there are more if it is too large
    for number, text in chain(head, lines):
        if text.strip():
            yield _verdict(number, without_end(text), limits)


def warnings_of(value: bytes, limits: Limits) -> tuple[str, ...]:
    """Fields that the worker would ignore, the first few of them; none of a value that it could not read."""
    body: object = read_object(value, limits.json_depth) if len(value) <= limits.value_bytes else None
    if isinstance(body, dict) and looks_like_cloud_event(body):
        body = body.get("data")
    unknown = _unknown_fields(body, CreatePassportBody, "")
    told = tuple(
        printable(f"{path[:_LONGEST_PATH]}: unknown field, which is ignored{did_you_mean(name, known)}")
        for path, name, known in islice(unknown, _MOST_WARNINGS)
    )
    others = sum(1 for _ in unknown)
    return (*told, f"and {others} more unknown fields") if others else told


def _unknown_fields(value: object, model: type[BaseModel], above: str) -> Iterator[tuple[str, str, Collection[str]]]:
    """Path, name, and names that are known there. An unknown role is none of them, since it is an error."""
    known = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    for name, item in value.items() if isinstance(value, dict) else ():
        inner = known.get(name)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _unknown_fields(item, inner, f"{above}{name}.")
        elif name not in known and model is not Parties:
            yield f"{above}{name}", name, known


def summary(good: int, bad: int, not_checked: str = NOT_CHECKED) -> str:
    """The last line of the output."""
    return f"{good + bad} command{'' if good + bad == 1 else 's'}: {good} good, {bad} bad. {not_checked}"


def _verdict(line: int, value: bytes, limits: Limits) -> Verdict:
    return Verdict(line, problems_of(value, limits), warnings_of(value, limits), value)


def _up_to(lines: Iterator[_Line], most_bytes: int, filled: int | None = None) -> Iterator[_Line]:
    """The next lines, until that many are not blank, or until they are more than `most_bytes`."""
    while most_bytes >= 0 and filled != 0 and (line := next(lines, None)) is not None:
        most_bytes -= len(line[1])
        if filled is not None and line[1].strip():
            filled -= 1
        yield line


def _goes_on(head: list[_Line], limits: Limits) -> bool:
    """Whether a value that the first line begins goes on in the second, instead of another value beginning there."""
    texts = [_bare(text) for _, text in head if text.strip()]
    if len(texts) < 2 or not texts[0].startswith((b"{", b"[")):
        return False
    if texts[0].startswith(b"{") and texts[1].startswith(b"{"):
        return False
    return _code(texts[0], limits) == "not-json"


def _document(lines: list[_Line], limits: Limits) -> Verdict | None:
    """The verdict on all lines as one value; None if they are values of their own, of which the first is broken."""
    (first, text), *others = [line for line in lines if line[1].strip()]
    whole = without_end(b"".join(text for _, text in lines))
    is_broken = len(whole) > limits.value_bytes or _code(_bare(whole), limits) is not None
    if is_broken and _bare(text).startswith(b"{") and any(_code(other, limits) is None for _, other in others):
        return None
    return _verdict(first, whole, limits)


def _bare(text: bytes) -> bytes:
    """Without what an editor may have put around it."""
    return text.removeprefix(BOM).strip()


def _code(value: bytes, limits: Limits) -> str | None:
    """Why this is no JSON object, or None if it is one."""
    parsed = read_object(value, limits.json_depth)
    return parsed.code if isinstance(parsed, UnreadableRecord) else None
