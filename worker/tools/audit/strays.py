"""Finds stray records of result and dead-letter topics, which answer no command: forged, misdirected or foreign."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.messages.events import cause_of
from worker.messages.rules import Kind
from worker.stream.log_reader import LogReader
from worker.tools.common.findings import Findings
from worker.tools.common.history import LOGS, Topics
from worker.tools.common.result_record import letter_origin

# The number of waiting records at which the position of their lane is read.
AT_ONCE = 500

# Returns the offset after the newest command of a lane that is decided now.
Decided = Callable[[], Awaitable[int]]


class _Early(NamedTuple):
    """A record that names a command which was not decided when the audit began."""

    kind: Kind | None
    cause: int
    record: Place


class Strays:
    """The strays of one lane. Results that a running worker publishes meanwhile are not strays."""

    def __init__(self, topics: Topics, partition: int, decided: Decided, findings: Findings) -> None:
        self._topics, self._partition, self._decided, self.findings = topics, partition, decided, findings
        self._early: list[_Early] = []

    def meet(self, kind: Kind | None, record: Record, cause: int | None) -> None:
        """Take a record that names a command after the audited ones, or (cause None) no command of the lane."""
        if cause is not None:
            self._early.append(_Early(kind, cause, record.place))
        elif record.partition == self._partition:  # lanes that share a log would each report it
            note_stray(self._topics, kind, record, self.findings)

    async def look(self, least: int = AT_ONCE) -> None:
        """Once `least` early records wait, note those that name a command which is not decided even now.

        A result is published after Postgres has its command's decision, so a later look at A is enough.
        """
        if len(self._early) < max(1, least):
            return
        decided, early = await self._decided(), self._early
        self._early = []
        for kind, cause, record in early:
            if cause >= decided:
                command = Place(self._topics.settings.topic_commands, self._partition, cause)
                self.findings.add(
                    f"{prefix(kind)}unasked", command, f"{record} answers it, but no such command was decided"
                )


async def note_strays_elsewhere(reader: LogReader, topics: Topics, findings: Findings) -> None:
    """Note strays in partitions where no lane has results: a result topic may have more than the command topic."""
    lanes = topics.counts[topics.settings.topic_commands]
    for kind in LOGS:
        topic, _ = topics.place(kind, 0)
        logs = await reader.bounds(topic, range(lanes, topics.counts[topic]))
        for partition, log in logs.items():
            async for records in reader.read(topic, partition, log.first, log.end):
                for record in records:
                    note_stray(topics, kind, record, findings)


def prefix(kind: Kind | None) -> str:
    """The beginning of finding codes for a log; None means dead letters."""
    return "dead-letter-" if kind is None else ""


def note_stray(topics: Topics, kind: Kind | None, record: Record, findings: Findings) -> None:
    """Note a record that names no command, or a command whose results go to another partition, or to none.

    Records for other command topics or groups are no finding, since these may share the topic, unless they are for
    another channel.
    """
    settings, place = topics.settings, record.place
    origin = letter_origin(record.headers) if kind is None else None
    command = cause_of(record.headers) if kind is not None else origin and origin.place
    if command is None:
        findings.add(f"{prefix(kind)}foreign", place, "it names no command")
        return
    # A result does not name its group, so ours is assumed.
    if command.topic in topics.elsewhere and (origin is None or origin.group_id == settings.group_id):
        findings.add(f"{prefix(kind)}unasked", command, f"{place} answers it, but is on another channel")
        return
    if command.topic != settings.topic_commands or (origin is not None and origin.group_id != settings.group_id):
        return
    known = command.partition < topics.counts[command.topic]
    if not known or topics.place(kind, command.partition) != (place.topic, place.partition):
        findings.add(f"{prefix(kind)}unasked", command, f"{place} answers it, but its results do not go there")
