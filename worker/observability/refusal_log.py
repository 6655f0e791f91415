"""One log line a refusal, but at most so many a second of one kind: a hostile producer must not fill the disk."""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from worker.domain.command import ApiKey, Command, NoCredentials, Signature
from worker.messages.events import Answer

log = structlog.get_logger(__name__)

A_SECOND = 20
_BODY_BYTES = 500
_ERROR = re.compile(rb'\{"error":"([^":]*)')
"""The part of a refusal's `error` that is the same for all of its kind."""

Later = Callable[[float, Callable[[], None]], object]
"""Calls a function after so many seconds."""


@dataclass(slots=True)
class _Second:
    """What became of one kind of refusal in the second that began at `since`."""

    since: float
    told: int = 0
    kept_back: int = 0


class RefusalLog:
    """Tells refusals of each kind, `A_SECOND` of them; a line with the number of the others follows within a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, later: Later | None = None) -> None:
        self._clock = clock
        self._later = later
        self._seconds: dict[str, _Second] = {}

    def tell(self, topic: str, partition: int, answer: Answer, command: Command) -> None:
        """Write the line of a refusal, or count it. Called from the event loop, which is asked to call back."""
        error = _error_of(answer)
        now = self._clock()
        second = self._seconds.get(error)
        if second is None or now - second.since >= 1.0:
            self._tell_number(error)
            second = self._seconds[error] = _Second(now)
        if second.told < A_SECOND:
            second.told += 1
            _write(topic, partition, answer, command)
            return
        if not second.kept_back:
            later = self._later or asyncio.get_running_loop().call_later
            later(max(0.0, second.since + 1.0 - now), lambda: self._tell_number(error))
        second.kept_back += 1

    def tell_numbers(self) -> None:
        """What was kept back so far, now: the last chance where the event loop ends."""
        for error in self._seconds:
            self._tell_number(error)

    def _tell_number(self, error: str) -> None:
        second = self._seconds.get(error)
        if second is not None and second.kept_back:
            log.info("refusals_not_logged", error=error, count=second.kept_back)
            second.kept_back = 0


def _error_of(answer: Answer) -> str:
    match = _ERROR.match(answer.value)
    return match[1].decode("ascii") if match else ""


def _write(topic: str, partition: int, answer: Answer, command: Command) -> None:
    log.info(
        "refusal",
        topic=topic,
        partition=partition,
        offset=answer.offset,
        outcome=answer.kind.label,
        key=answer.key,
        company_id=answer.company_id,
        credentials=_kind_of_credentials(command),
        body=answer.value[:_BODY_BYTES].decode("ascii"),
        dead_letter=answer.dead_letter.reason if answer.dead_letter else None,
    )


def _kind_of_credentials(command: Command) -> str:
    """The kind only; neither a key nor its hash belongs in a log."""
    credentials = command.credentials
    if isinstance(credentials, NoCredentials):
        return credentials.value
    if isinstance(credentials, Signature):
        return "signature"
    return "api-key" if isinstance(credentials, ApiKey) else "access-token"
