"""`passport-worker explain`: what became of a command and why, according to both servers."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from aiokafka.structs import TopicPartition

from worker.domain.command import Source
from worker.domain.outcomes import Unreadable
from worker.domain.places import Place
from worker.messages.envelope import open_envelope
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.stream.cluster.connection import CLUSTER_ERRORS
from worker.tools.common.acls import looking_acls
from worker.tools.common.address import Address
from worker.tools.common.answers import body_of_value, outcome_class
from worker.tools.common.channels import channel_of
from worker.tools.common.companies import names_of
from worker.tools.common.inspection import Inspection, LaneRow
from worker.tools.common.progress import Progress
from worker.tools.common.records import WIDEST, masked
from worker.tools.common.report import Problem, json_safe
from worker.tools.common.result_record import Misfit, known_answer, letter_of
from worker.tools.common.servers import Servers
from worker.tools.explain import report_parts
from worker.tools.explain.evidence import Conclusion, Evidence, conclude
from worker.tools.explain.kafka_side import KafkaSide, open_kafka
from worker.tools.explain.locate import Located, Locator
from worker.tools.explain.postgres_side import bindings_of, charge_of, key_label
from worker.tools.explain.report import ExplainReport

_TABLES = ("lane", "ledger", "passport", "dead_letter", "idempotency_key", "overage_charge", "company")
NOT_COMMANDS = "other-topic"


async def explain(
    servers: Servers, address: Address, progress: Progress, *, scan: bool = False, channel: str | None = None
) -> ExplainReport:
    """Everything known about a command; if one server is away, everything that the other knows.

    A place names its channel. Everything else is searched in all channels, or in the one that is given.
    `scan` searches without limits: it tests all places for a passport, reads the whole ledger for a key, and reads all
    results since the command.
    """
    channels = servers.settings.by_commands
    if channel is not None:
        settings = servers.settings.of_channel(channel)
        channels = {settings.topic_commands: settings}
    if isinstance(address, Place):  # its topic names the channel
        name = channel_of(servers.settings, address.topic)
        if name is None:
            text = f"Commands are on {', '.join(channels)}: give the place of one (ce_causationid of its result)."
            return _report(address, Located(None), Conclusion("not-found", (text,), NOT_COMMANDS), None, [])
        channels = {address.topic: servers.settings.of_channel(name)}
    # Kafka is asked first, so that E is not newer than A.
    opening = (
        servers.kafka(partial(open_kafka, settings, servers.cluster), looking_acls(settings))
        for settings in channels.values()
    )
    sides = dict(zip(channels, await asyncio.gather(*opening), strict=True))
    problems = [*{side.text: side for side in sides.values() if isinstance(side, Problem)}.values()]
    kafka = {topic: side for topic, side in sides.items() if not isinstance(side, Problem)}
    is_everywhere = channel is None and not isinstance(address, Place)
    question = _Question(servers, address, progress, scan, dict(channels), kafka, is_everywhere)
    report = await servers.postgres(question.ask, _TABLES, is_long=True)
    if isinstance(report, Problem):
        problems.append(report)
        report = await question.ask(None)
    return report.model_copy(update={"problems": (*problems, *report.problems)})


@dataclass(slots=True)
class _Question:
    """A question to both servers, which may be asked again. `channels` are searched, by their command topics."""

    servers: Servers
    address: Address
    progress: Progress
    scan: bool
    channels: dict[str, Settings]
    kafka: Mapping[str, KafkaSide]
    is_everywhere: bool
    problems: list[Problem] = field(default_factory=list)
    kafka_problem: tuple[Problem, ...] = ()
    """Why Kafka is no longer asked, once it has failed."""

    async def ask(self, database: Inspection | None) -> ExplainReport:
        """Ask with or without the database. Raises what the database raises; errors of Kafka become problems."""
        # If Postgres fails midway, the question is asked again, and would name each problem twice.
        self.problems = []
        rows = {} if database is None else await database.lanes_of_group(self.servers.settings.group_id)
        for lane in rows if self.is_everywhere else ():  # channels that are not served now
            if (name := channel_of(self.servers.settings, lane.topic)) is not None:
                self.channels.setdefault(lane.topic, self.servers.settings.of_channel(name))
        lanes = {lane: row for lane, row in rows.items() if lane.topic in self.channels}
        try:
            report = await self._ask(database, lanes)
        except CLUSTER_ERRORS as error:
            if not self.kafka:
                raise
            self.kafka, self.kafka_problem = {}, (self.servers.problem(error),)
            report = await self._ask(database, lanes)
        return report.model_copy(update={"problems": (*self.kafka_problem, *report.problems)})

    async def _ask(self, database: Inspection | None, lanes: Mapping[TopicPartition, LaneRow]) -> ExplainReport:
        locator = Locator(database, [*self.kafka.values()], lanes, self.progress, self.scan)
        located = await locator.locate(self.address)
        if (command := located.command) is None:
            conclusion = Conclusion("unknown" if database is None else "not-found")
            return _report(self.address, located, conclusion, None, self.problems)
        settings, kafka = self.channels[command.topic], self.kafka.get(command.topic)
        lane = lanes.get(TopicPartition(command.topic, command.partition))
        evidence = Evidence(command, lane=lane, audience=settings.audience, currency=settings.currency)
        if kafka is not None:
            evidence.log = kafka.bounds.get(command.partition)
            evidence.emitted = kafka.emitted.get(command.partition)
            evidence.record = await kafka.record_of(command)
        if database is not None and evidence.lane is not None:
            rows = await database.ledger(evidence.lane.id, command.offset, command.offset + 1)
            evidence.answer = rows[0] if rows else None
        if kafka is not None and evidence.may_be_published:
            await self._find_published(evidence, kafka)
        _take_letter_reason(evidence, settings.group_id)
        if database is not None:
            await _look_up(evidence, database)
        conclusion = conclude(evidence, knows_lanes=database is not None, knows_log=kafka is not None)
        return _report(self.address, located, conclusion, evidence, self.problems)

    async def _find_published(self, evidence: Evidence, kafka: KafkaSide) -> None:
        """Find the result, whose answer counts if the ledger has none; and the dead letter of an unreadable record."""
        command, appended_ms = evidence.command, evidence.appended_ms
        for kind in Kind if evidence.answer is None else (evidence.answer.kind,):
            evidence.result = await kafka.naming(kind, command, appended_ms, everywhere=self.scan)
            if evidence.result is None:
                continue
            published = known_answer(evidence.result, kind, Source(*command, 0))
            if evidence.answer is None and published is not None:
                evidence.answer, evidence.from_ledger = published, False
            elif published is None or (evidence.answer or published)._replace(dead_letter=None) != published:
                at = report_parts.record_place(evidence.result)
                text = f"The result at {at} is not what the ledger has, or no worker's: run `passport-worker audit`."
                self.problems.append(Problem(code="result-differs", place=str(command), text=text))
            break
        answer = evidence.answer
        if answer is not None and outcome_class(answer.kind, body_of_value(answer.value)) is Unreadable:
            evidence.letter = await kafka.naming(None, command, appended_ms, everywhere=self.scan)


def _take_letter_reason(evidence: Evidence, group_id: str) -> None:
    """Note why the command has a dead letter, from the ledger or from the letter itself."""
    if evidence.answer is not None and evidence.answer.dead_letter is not None:
        evidence.letter_reason = evidence.answer.dead_letter.reason
    elif (letter := evidence.letter) is not None:
        source = Source(*evidence.command, evidence.appended_ms)
        try:
            evidence.letter_reason = letter_of(letter, source, group_id).reason
        except Misfit:
            evidence.letter_reason = "unknown"


async def _look_up(evidence: Evidence, database: Inspection) -> None:
    """Look up the company, the binding of the key, the charge of the passport, and the label of the credentials."""
    connection, answer = database.connection, evidence.answer
    if answer is not None and answer.company_id is not None:
        bound = await bindings_of(connection, answer.company_id, answer.key)
        answered = [passport for passport in bound if passport.passport_id == answer.passport_id]
        evidence.bound = next(iter([*answered, *bound]), None)
        evidence.company_name = (await names_of(connection, [answer.company_id])).get(answer.company_id)
    if answer is not None and answer.passport_id is not None:
        evidence.charge = await charge_of(connection, answer.passport_id, evidence.currency)
    if evidence.record is not None:
        evidence.key_label = await key_label(connection, open_envelope(evidence.record, WIDEST).command.credentials)


def _report(
    address: Address,
    located: Located,
    conclusion: Conclusion,
    evidence: Evidence | None,
    problems: list[Problem],
) -> ExplainReport:
    notes = [*conclusion.notes, *([located.why] if evidence is None else [])]
    notes = [json_safe(note) for note in notes if note]
    if conclusion.is_wrong:
        text = " ".join(notes) or "Nothing is known about it while a server is away, or its topic is missing."
        place = None if located.command is None else str(located.command)
        problems = [*problems, Problem(code=conclusion.code or conclusion.state, place=place, text=text)]
    return ExplainReport(
        problems=tuple(problems),
        asked=masked(str(address)),
        place=None if located.command is None else report_parts.record_place(located.command),
        state=conclusion.state,
        notes=tuple(notes),
        command=evidence and report_parts.command_report(evidence),
        lane=evidence and report_parts.lane_position(evidence),
        outcome=evidence and report_parts.outcome_report(evidence),
        dead_letter=evidence and report_parts.dead_letter_report(evidence),
        binding=evidence and report_parts.binding_report(evidence),
        charge=evidence and evidence.charge,
        trace_id=evidence and evidence.trace_id,
        others=tuple(map(report_parts.record_place, located.others)),
    )
