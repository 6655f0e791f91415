"""A few events as they pass: so many that eyes can follow, and of as many kinds as there are."""

import time
from collections import deque
from dataclasses import dataclass

from worker.tools.demo.script import Command
from worker.tools.demo.tally import Result

KEPT = 10
SPACING_SECONDS = 0.25
"""Between two that differ; one that is like the last two waits four times as long."""


@dataclass(frozen=True, slots=True)
class Glimpse:
    """One command and its answer, in words."""

    clock: str
    sender: str
    story: str
    what: str
    column: str
    status: int
    answer: str


class Glimpses:
    """The last few, oldest first."""

    def __init__(self) -> None:
        self.kept: deque[Glimpse] = deque(maxlen=KEPT)
        self._last = 0.0

    def offer(self, command: Command, result: Result, now: float) -> None:
        """Keep this one, unless it is too soon."""
        answer = _answer(result)
        alike = any(one.column == result.column for one in list(self.kept)[-2:])
        if now - self._last < SPACING_SECONDS * (4 if alike else 1):
            return
        self._last = now
        what = f"{command.order.line.model} {command.order.serial}" if command.order else _bytes(command.value)
        self.kept.append(
            Glimpse(
                time.strftime("%H:%M:%S"), command.sender, command.story, what, result.column, result.status, answer
            )
        )


def _bytes(value: bytes | None) -> str:
    return "null" if value is None else repr(value[:20])[1:]


def _answer(result: Result) -> str:
    body = result.body
    if result.column == "created" and "overage" in body:
        return f"created, charged {_child(body['overage'])['priceCents']} ct"
    if result.column == "created":
        return f"created, {body['completionPercentage']} % filled"
    if result.column == "overage":
        return f"over quota, more for {body['extraPriceCents']} ct"
    field_errors = _child(_child(body.get("details")).get("fieldErrors"))
    return f"{result.reason} {next(iter(field_errors), '')}"


def _child(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
