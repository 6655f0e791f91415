"""`passport-worker explain`: what became of a command and why, by both servers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.domain.command import Source
from worker.domain.outcomes import Unreadable
from worker.domain.places import Place
from worker.messages.answers import body_of_value, outcome_class
from worker.messages.envelope import Record
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.stream.cluster.connection import CLUSTER_ERRORS
from worker.tools.common.acls import looking_acls
from worker.tools.common.inspection import Inspection, LaneRow
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.result_record import Misfit, answer_of, letter_of
from worker.tools.common.servers import Servers
from worker.tools.explain.fate import Fate, fate_of
from worker.tools.explain.kafka_side import KafkaSide, open_kafka
from worker.tools.explain.locate import Address, Located, Locator, told
from worker.tools.explain.lookups import bindings_of, charge_of, owner_of
from worker.tools.explain.report import ExplainReport
from worker.tools.explain.story import (
    Story,
    binding_report,
    charge_report,
    command_of,
    dead_letter_report,
    lane_position,
    outcome_report,
    record_place,
)
from worker.tools.explain.told_command import credentials_of, masked, safe

_TABLES = ("lane", "ledger", "passport", "dead_letter", "idempotency_key", "overage_charge")
NOT_COMMANDS = "other-topic"


async def explain(servers: Servers, address: Address, progress: Progress, *, scan: bool = False) -> ExplainReport:
    """All that is known of one command; what one server knows while the other is away.

    `scan` looks everywhere, however long it takes: tests all places for a passport, reads the whole ledger for a key,
    and all results since the command.
    """
    settings = servers.settings
    if isinstance(address, Place) and address.topic != settings.topic_commands:
        text = f"Commands are on {settings.topic_commands}: give the place of one (ce_causationid of its result)."
        return _report(address, Located(None, text), Fate("not-found"), None, [], NOT_COMMANDS)
    kafka = await servers.kafka(lambda: open_kafka(settings, servers.cluster), looking_acls(settings))
    problems = [kafka] if isinstance(kafka, Problem) else []
    asking = _Asking(servers, address, progress, scan, None if isinstance(kafka, Problem) else kafka)
    report = await servers.postgres(asking.report, _TABLES, is_long=True)
    if isinstance(report, Problem):
        problems.append(report)
        report = await asking.report(None)
    return report.model_copy(update={"problems": (*problems, *report.problems)})


@dataclass(slots=True)
class _Asking:
    """One question to both servers; Kafka was asked first, so that E is not newer than A."""

    servers: Servers
    address: Address
    progress: Progress
    scan: bool
    kafka: KafkaSide | None
    problems: list[Problem] = field(default_factory=list)

    async def report(self, database: Inspection | None) -> ExplainReport:
        """With or without the database. Raises what the database does; Kafka's errors become problems."""
        self.problems = []
        settings = self.servers.settings
        lanes = {} if database is None else await database.lanes(settings.group_id, settings.topic_commands)
        try:
            return await self._report(database, lanes)
        except CLUSTER_ERRORS as error:
            if self.kafka is None:
                raise
            self.kafka = None
            report = await self._report(database, lanes)
            return report.model_copy(update={"problems": (self.servers.problem(error), *report.problems)})

    async def _report(self, database: Inspection | None, lanes: Mapping[int, LaneRow]) -> ExplainReport:
        topic = self.servers.settings.topic_commands
        locator = Locator(topic, database, self.kafka, lanes, self.progress, self.scan)
        located = await locator.locate(self.address)
        if located.place is None:
            return _report(self.address, located, Fate("not-found"), None, self.problems)
        story = Story(located.place, lane=lanes.get(located.place.partition))
        story.audience = self.servers.settings.audience
        if self.kafka is not None:
            story.log = self.kafka.bounds.get(story.place.partition)
            story.emitted = self.kafka.emitted.get(story.place.partition)
            story.record = await self.kafka.command(story.place)
        await self._find_answer(story, database)
        if database is not None:
            await _look_up(story, database)
        fate = fate_of(story, knows_lanes=database is not None, knows_log=self.kafka is not None)
        return _report(self.address, located, fate, story, self.problems)

    async def _find_answer(self, story: Story, database: Inspection | None) -> None:
        """From the ledger, else from the results; and where result and dead letter stand."""
        at = story.place.offset
        if database is not None and story.lane is not None:
            story.answer = next(iter(await database.ledger(story.lane.id, at, at + 1)), None)
        if self.kafka is not None and _may_be_published(story):
            await self._find_published(story, self.kafka)
        _take_letter(story, self.servers.settings.group_id)

    async def _find_published(self, story: Story, kafka: KafkaSide) -> None:
        appended_ms = _appended_ms(story)
        for kind in Kind if story.answer is None else (story.answer.kind,):
            story.result = await kafka.naming(kind, story.place, appended_ms, everywhere=self.scan)
            if story.result is not None:
                self._take_answer(story, kind)
                break
        if (
            story.answer is not None
            and outcome_class(story.answer.kind, body_of_value(story.answer.value)) is Unreadable
        ):
            story.letter = await kafka.naming(None, story.place, appended_ms, everywhere=self.scan)

    def _take_answer(self, story: Story, kind: Kind) -> None:
        """The ledger's, if it has one; a result that says otherwise is wrong."""
        assert story.result is not None
        published = _published(story.result, kind, story.place)
        if story.answer is None and published is not None:
            story.answer, story.from_ledger = published, False
        elif published is None or (story.answer or published)._replace(dead_letter=None) != published:
            at = record_place(story.result)
            text = f"The result at {at} is not what the ledger has, or no worker's: run `passport-worker audit`."
            self.problems.append(Problem(code="result-differs", place=str(story.place), text=text))


def _may_be_published(story: Story) -> bool:
    """Not what waits, as far as both positions are known."""
    if story.answer is not None:
        return True
    if story.log is None or story.place.offset >= story.log.end:
        return False
    position = story.lane.position if story.lane else None
    known = [*([] if story.emitted is None else [story.emitted]), *([] if position is None else [position.applied])]
    return not known or story.place.offset < max(known)


def _appended_ms(story: Story) -> int:
    if story.answer is not None:
        return story.answer.appended_ms
    return 0 if story.record is None else story.record.timestamp_ms


def _published(result: Record, kind: Kind, place: Place) -> Answer | None:
    """The answer that a result was made of; None where no worker writes such a record."""
    source = Source(place.topic, place.partition, place.offset, 0)
    try:
        return answer_of(result.key, result.value, result.headers, kind, source)
    except Misfit:
        return None


def _take_letter(story: Story, group_id: str) -> None:
    """Why there is a dead letter, by the ledger or by the letter itself."""
    if story.answer is not None and story.answer.dead_letter is not None:
        story.letter_reason = story.answer.dead_letter.reason
    elif story.letter is not None:
        found = story.letter
        source = Source(story.place.topic, story.place.partition, story.place.offset, _appended_ms(story))
        try:
            story.letter_reason = letter_of(found.key, found.value, found.headers, source, group_id).reason
        except Misfit:
            story.letter_reason = "unknown"


async def _look_up(story: Story, database: Inspection) -> None:
    """What else hangs on the answer: the key's binding, the passport's charge, the label of API or signing key."""
    connection, answer = database.connection, story.answer
    if answer is not None and answer.company_id is not None:
        bound = await bindings_of(connection, answer.company_id, answer.key)
        own = [one for one in bound if one.passport_id == answer.passport_id]
        story.bound = next(iter([*own, *bound]), None)
    if answer is not None and answer.passport_id is not None:
        story.charge = await charge_of(connection, answer.passport_id)
    if story.record is not None:
        story.owner = await owner_of(connection, credentials_of(story.record))


def _report(  # noqa: PLR0913 - the parts of a report
    address: Address,
    located: Located,
    fate: Fate,
    story: Story | None,
    problems: list[Problem],
    code: str | None = None,
) -> ExplainReport:
    notes = tuple(safe(one) for one in (*fate.notes, located.why if story is None else "") if one)
    if fate.is_wrong:
        text = " ".join(notes) or "Nothing is known of it while a server is away."
        place = None if located.place is None else str(located.place)
        problems = [*problems, Problem(code=code or fate.state, place=place, text=text)]
    return ExplainReport(
        problems=tuple(problems),
        asked=masked(told(address)),
        place=None if located.place is None else record_place(located.place),
        state=fate.state,
        notes=notes,
        command=story and command_of(story),
        lane=story and lane_position(story),
        outcome=story and outcome_report(story),
        dead_letter=story and dead_letter_report(story),
        binding=story and binding_report(story),
        charge=story and charge_report(story),
        trace_id=story and story.trace_id,
        others=tuple(map(record_place, located.others)),
    )
