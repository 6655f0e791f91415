"""`passport-worker validate`: checks command values with the worker's own code, without credentials and state.

Values come one per line (NDJSON), or as a single document over many lines. Memory stays bounded for any input: values
are held only up to the size that the worker would read.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import BinaryIO

from pydantic import BaseModel
from rich.text import Text

from worker.domain.command import UnreadableRecord
from worker.messages.body import looks_like_cloud_event
from worker.messages.envelope import Limits
from worker.messages.hints import printable
from worker.messages.json_value import read_object
from worker.messages.signature import HEADER
from worker.tools.cli.output import tally
from worker.tools.common.command_model import CreatePassportBody, Parties
from worker.tools.common.hints import did_you_mean
from worker.tools.validate.problems import BOM, bounded_lines, problems_of, without_end

NOT_CHECKED = (
    "Not checked: headers (credentials, idempotency key, the content-type that a CloudEvent needs), duplicates, "
    "and what depends on the company's data."
)
_MOST_WARNINGS = 20
_LONGEST_PATH = 100

_Line = tuple[int, bytes]
"""Line number from 1, and the line with its end, cut after its first byte over the limit."""


@dataclass(frozen=True, slots=True)
class CheckedValue:
    """A value, the line where it begins, its problems, and warnings of useless parts."""

    line: int
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    value: bytes = b""


def checked_values(stream: BinaryIO, limits: Limits) -> Iterator[CheckedValue]:
    """Check all values in order. Blank lines are not values; a bad value does not stop the rest."""
    lines: Iterator[_Line] = enumerate(bounded_lines(stream, limits.value_bytes), 1)
    head = list(_up_to(lines, limits.value_bytes, filled=2))
    if _goes_on(head, limits):
        head.extend(_up_to(lines, limits.value_bytes + 2 - sum(len(text) for _, text in head)))
        document = _document(head, limits)
        if document is not None:
            yield document
            head = []
            lines = (line for line in lines if _code(line[1], limits) is None)  # lines are left if it is too large
    for number, text in chain(head, lines):
        if text.strip():
            yield _checked(number, without_end(text), limits)


def warnings_of(value: bytes, limits: Limits) -> tuple[str, ...]:
    """Warnings of unknown fields, the first few of them. Unreadable values have none."""
    body: object = read_object(value, limits.json_depth) if len(value) <= limits.value_bytes else None
    if isinstance(body, dict) and looks_like_cloud_event(body):
        body = body.get("data")
    unknown = _unknown_fields(body, CreatePassportBody, "")
    warnings = tuple(
        printable(f"{path[:_LONGEST_PATH]}: unknown field, which is ignored{did_you_mean(name, known)}")
        for path, name, known in islice(unknown, _MOST_WARNINGS)
    )
    others = sum(1 for _ in unknown)
    return (*warnings, f"and {others} more unknown fields") if others else warnings


def _unknown_fields(value: object, model: type[BaseModel], above: str) -> Iterator[tuple[str, str, Collection[str]]]:
    """Path and name of each unknown field, and the known names at its level. Not unknown roles: they are errors."""
    known = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
    for name, item in value.items() if isinstance(value, dict) else ():
        inner = known.get(name)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _unknown_fields(item, inner, f"{above}{name}.")
        elif name not in known and model is not Parties:
            yield f"{above}{name}", name, known


def summary(good: int, bad: int, not_checked: str = NOT_CHECKED) -> Text:
    """The last line of the output."""
    commands = f"{good + bad} command{'' if good + bad == 1 else 's'}: "
    return Text.assemble(commands, tally({"good": good, "bad": bad}), f". {not_checked}")


def code_of(problem: str) -> str:
    """The code of a problem's kind, for programs."""
    return next((code for code in ("unreadable", HEADER) if problem.startswith(code)), "invalid")


def _checked(line: int, value: bytes, limits: Limits) -> CheckedValue:
    return CheckedValue(line, problems_of(value, limits), warnings_of(value, limits), value)


def _up_to(lines: Iterator[_Line], most_bytes: int, filled: int | None = None) -> Iterator[_Line]:
    """Take lines until `filled` of them are not blank, or until they have more than `most_bytes`."""
    while most_bytes >= 0 and filled != 0 and (line := next(lines, None)) is not None:
        most_bytes -= len(line[1])
        if filled is not None and line[1].strip():
            filled -= 1
        yield line


def _goes_on(head: list[_Line], limits: Limits) -> bool:
    """Whether the second line continues the value of the first one, rather than starting another value."""
    texts = [_bare(text) for _, text in head if text.strip()]
    if len(texts) < 2 or not texts[0].startswith((b"{", b"[")):
        return False
    if texts[0].startswith(b"{") and texts[1].startswith(b"{"):
        return False
    return _code(texts[0], limits) == "not-json"


def _document(lines: list[_Line], limits: Limits) -> CheckedValue | None:
    """All lines as one value. None if they are separate values and the first one is broken."""
    (first, text), *others = [line for line in lines if line[1].strip()]
    whole = without_end(b"".join(text for _, text in lines))
    is_broken = len(whole) > limits.value_bytes or _code(_bare(whole), limits) is not None
    if is_broken and _bare(text).startswith(b"{") and any(_code(other, limits) is None for _, other in others):
        return None
    return _checked(first, whole, limits)


def _bare(text: bytes) -> bytes:
    """The text without byte order mark and white space, which editors add."""
    return text.removeprefix(BOM).strip()


def _code(value: bytes, limits: Limits) -> str | None:
    """The code of the reason why this is not a JSON object, or None if it is one."""
    parsed = read_object(value, limits.json_depth)
    return parsed.code if isinstance(parsed, UnreadableRecord) else None
