"""The worker's answers without servers, for unit tests of programs that publish commands or read results."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from worker.auth.signatures import Verifier
from worker.batch.pipeline import decide_all
from worker.domain.command import Signature
from worker.domain.timestamps import ms_of_time
from worker.messages.envelope import Record, open_envelope, without_excess
from worker.messages.events import Event, Header, dead_letter_event, event_of
from worker.messages.rules import Kind
from worker.settings import CHANNEL, Settings
from worker.tools.common.answers import outcome_code
from worker.tools.common.catalogue.facts import facts_of
from worker.tools.common.catalogue.file import read_catalogue
from worker.tools.common.catalogue.models import Catalogue


@dataclass(frozen=True, slots=True)
class Result:
    """The records that the worker publishes for a command: its result, and a dead letter if it is unreadable.

    `outcome` is the code of the outcome: `created`, `replayed`, `serial-exists` and so on (see `outcome_code`).
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
        return next((value.decode("utf-8") for key, value in self.headers if key == name and value is not None), None)


class Passports:
    """Answers records as a worker with this catalogue would, byte for byte.

    It starts without passports, and remembers those that it creates. It knows the catalogue's API keys and signing
    keys, but no access tokens. The catalogue is a path or a `Catalogue`; errors in it raise `CatalogueError`. Settings,
    such as names of topics and limits, come from the environment unless given. The commands come on one channel;
    companies that the catalogue binds to others get 401 `wrong-channel`.
    """

    def __init__(
        self, catalogue: Path | str | Catalogue, settings: Settings | None = None, *, channel: str = ""
    ) -> None:
        parsed = catalogue if isinstance(catalogue, Catalogue) else read_catalogue(Path(catalogue))
        if channel and not CHANNEL.fullmatch(channel):
            raise ValueError(f"channel: expected 1 to 40 letters a-z, digits and inner hyphens, got {channel!r}")
        self._facts = facts_of(parsed)
        self._settings = (settings or Settings()).of_channel(channel)
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

        `place` is the record's partition and offset, by default the next one of partition 0. `key` is the record's key,
        which only dead letters repeat. Texts among the headers are encoded as UTF-8.
        """
        if at.tzinfo is None:
            raise ValueError(f"at: expected a time with a time zone, got {at.isoformat()}")
        partition, offset = place if place is not None else (0, self._answered)
        self._answered += 1
        at_ms = ms_of_time(at)
        sent = [(name, text.encode("utf-8") if isinstance(text, str) else text) for name, text in headers]
        record = Record(self._settings.topic_commands, partition, offset, at_ms, key, value, sent)
        limits, channel = self._settings.limits, self._settings.channel
        command = open_envelope(without_excess(record, limits), limits, self._settings.audience, channel).command
        if isinstance(command.credentials, Signature):
            self._verifier.prove(command.credentials, at_ms, self._facts)
        (answer,) = decide_all([command], self._facts, self._settings.digital_link_base).answers
        event = event_of(answer, record.topic, partition)
        letter = answer.dead_letter
        copy = None if letter is None else dead_letter_event(letter, command.source, self._settings.group_id)
        topic = self._topics[answer.kind]
        return Result(outcome_code(answer), topic, event.key, event.value, event.headers, copy)
