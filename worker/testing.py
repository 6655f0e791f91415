"""The worker's answers without its servers, for unit tests of programs that publish commands or read results."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from worker.auth.signatures import Verifier
from worker.batch.pipeline import decide_all
from worker.domain.command import Signature, Source
from worker.domain.timestamps import ms_of_time
from worker.messages.answers import outcome_code
from worker.messages.envelope import Record, open_envelope, without_excess
from worker.messages.events import Answer, Event, Header, dead_letter_event, event_of
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.tools.common.catalogue.facts import facts_of
from worker.tools.common.catalogue.file import read_catalogue
from worker.tools.common.catalogue.models import Catalogue


@dataclass(frozen=True, slots=True)
class Result:
    """The records that the worker publishes for a command: a result and, if the command is unreadable, a dead letter.

    `outcome` is the code of the outcome, such as `created`, `replayed` or `serial-exists`.
    """

    outcome: str
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    dead_letter: Event | None

    @property
    def body(self) -> dict[str, Any]:
        """The value, parsed."""
        parsed: dict[str, Any] = json.loads(self.value or b"null")
        return parsed

    def header(self, name: str) -> str | None:
        """The value of a header, such as `ce_type` or `idempotency-replayed`."""
        return next(
            (value.decode("utf-8") for known, value in self.headers if known == name and value is not None), None
        )


class Passports:
    """The rules over a catalogue. For the same records in the same order, answers are the worker's, byte for byte.

    No company has a passport at first, and each created passport counts for later commands. The catalogue knows API
    keys and signing keys; access tokens are always unknown. Takes a catalogue file, or a parsed catalogue, and raises
    `CatalogueError`. Settings, such as names of topics and limits, come from the environment unless given.
    """

    def __init__(self, catalogue: Path | str | Catalogue, settings: Settings | None = None) -> None:
        parsed = catalogue if isinstance(catalogue, Catalogue) else read_catalogue(Path(catalogue))
        self._facts = facts_of(parsed)
        self._settings = settings or Settings()
        self._topics = dict(zip(Kind, self._settings.result_topics, strict=True))
        self._verifier = Verifier()
        self._answered = 0

    def answer(
        self,
        value: bytes | None,
        headers: Sequence[tuple[str, str | bytes | None]],
        at: datetime,
        *,
        key: bytes | None = None,
        place: tuple[int, int] | None = None,
    ) -> Result:
        """The result of a record that the broker appends at the time `at`, which needs a time zone.

        The result depends on the record, its time, and its `place`: partition and offset. By default, records follow
        each other in one partition. Only a dead letter repeats `key`, the record's own. Texts are encoded as UTF-8.
        """
        if at.tzinfo is None:
            raise ValueError(f"at: expected a time with a time zone, got {at.isoformat()}")
        partition, offset = place if place is not None else (0, self._answered)
        self._answered += 1
        at_ms = ms_of_time(at)
        sent = [(name, text.encode("utf-8") if isinstance(text, str) else text) for name, text in headers]
        record = Record(self._settings.topic_commands, partition, offset, at_ms, key, value, sent)
        limits = self._settings.limits
        command = open_envelope(without_excess(record, limits), limits, self._settings.audience).command
        if isinstance(command.credentials, Signature):
            self._verifier.prove(command.credentials, at_ms, self._facts)
        (answer,) = decide_all([command], self._facts, self._settings.digital_link_base).answers
        return self._result(command.source, answer)

    def _result(self, source: Source, answer: Answer) -> Result:
        event = event_of(answer, source.topic, source.partition)
        letter = answer.dead_letter
        copy = None if letter is None else dead_letter_event(letter, source, self._settings.group_id)
        topic = self._topics[answer.kind]
        return Result(outcome_code(answer), topic, event.key, event.value, event.headers, copy)
