"""Records of result and dead-letter topics that answer nothing: forged, misdirected, or written by somebody else."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.messages.events import cause_of
from worker.messages.rules import Kind
from worker.stream.log_reader import Bounds, LogReader
from worker.tools.common.findings import Findings
from worker.tools.common.history import LOGS, Topics
from worker.tools.common.result_record import letter_origin

AT_ONCE = 500
"""So many records wait for a look at how far the lane is."""

Decided = Callable[[], Awaitable[int]]
"""The offset behind the newest command of a lane that is decided now."""


class _Early(NamedTuple):
    """A record that names a command which was not decided when the audit began."""

    kind: Kind | None
    cause: int
    place: Place


class Strays:
    """Those of one lane. A worker that goes on publishes results meanwhile: these are no strays."""

    def __init__(self, topics: Topics, partition: int, decided: Decided, findings: Findings) -> None:
        self._topics, self._partition, self._decided, self.findings = topics, partition, decided, findings
        self._early: list[_Early] = []

    def meet(self, kind: Kind | None, record: Record, cause: int | None) -> None:
        """A record of the log of a kind that names no command of the lane below its end, or no command of the lane."""
        if cause is not None:
            self._early.append(_Early(kind, cause, record.place))
        elif record.partition == self._partition:  # lanes that share a log would each report it
            note_stray(self._topics, kind, record, self.findings)

    async def look(self, least: int = AT_ONCE) -> None:
        """Where so many wait: which of them name a command that is not decided even now, after they were read.

        Results are published after their command was decided in Postgres, so A says more of them than E.
        """
        if len(self._early) < max(1, least):
            return
        decided, early = await self._decided(), self._early
        self._early = []
        for each in early:
            if each.cause >= decided:
                place = Place(self._topics.settings.topic_commands, self._partition, each.cause)
                text = f"{each.place} answers it, and no such command was decided"
                self.findings.add(f"{prefix(each.kind)}unasked", place, text)


async def note_strays_elsewhere(reader: LogReader, topics: Topics, findings: Findings) -> None:
    """Note strays in partitions that no lane has results in: a topic of results may have more than that of commands."""
    lanes, bounds = topics.counts[topics.settings.topic_commands], dict[tuple[str, int], Bounds]()
    kinds = {topics.place(kind, 0)[0]: kind for kind in LOGS}
    for topic in kinds:
        found = await reader.bounds(topic, range(lanes, topics.counts[topic]))
        bounds |= {(topic, partition): log for partition, log in found.items()}
    for (topic, partition), log in bounds.items():
        async for records in reader.read(topic, partition, log.first, log.end):
            for record in records:
                note_stray(topics, kinds[topic], record, findings)


def prefix(kind: Kind | None) -> str:
    """What codes of findings about a log begin with; None stands for dead letters."""
    return "dead-letter-" if kind is None else ""


def note_stray(topics: Topics, kind: Kind | None, record: Record, findings: Findings) -> None:
    """Note a record that names no command, or one whose results go to another partition, if to any.

    Other command topics and other groups may share the topic: what names theirs is no finding.
    """
    settings, place = topics.settings, record.place
    origin = letter_origin(record.headers) if kind is None else None
    command = cause_of(record.headers) if kind is not None else origin and origin.place
    if command is None:
        findings.add(f"{prefix(kind)}foreign", place, "it names no command")
        return
    if command.topic != settings.topic_commands or (origin is not None and origin.group_id != settings.group_id):
        return  # a result does not name its group
    known = command.partition < topics.counts[command.topic]
    if not known or topics.place(kind, command.partition) != (place.topic, place.partition):
        findings.add(f"{prefix(kind)}unasked", command, f"{place} answers it, and its results do not go there")
