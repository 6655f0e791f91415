"""`passport-worker dead-letters redrive` publishes commands again, once each, however often it is interrupted.

A row of `redrive` is committed before its command is sent. A redrive that finds a row without a new offset starts the
producer of the partition, which ends its predecessor's transaction, and then searches for the command. The rows are
read again after that start: a process that is fenced later can publish nothing based on rows that it read before.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.store import failpoints
from worker.stream.log_reader import LogReader
from worker.tools.common.inspection import Inspection, inspection
from worker.tools.common.journal import Author, Operation, operation
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.rights import KEEP_OPERATIONS, KEEP_REDRIVES, reading
from worker.tools.common.selection import BadSelection, Range
from worker.tools.common.servers import SERVER_ERRORS, Servers
from worker.tools.dead_letters.letters import chosen_letters, no_dead_letter
from worker.tools.dead_letters.publishing import Redriver, Unpublished, redriven, redriver, redriving_acls
from worker.tools.dead_letters.redrive_checks import Step, credentials_warning, refusal_of, step_of
from worker.tools.dead_letters.report import DeadLettersRedriveReport, RedriveOutcome, RedriveReport
from worker.tools.dead_letters.rows import begin_redrive, find_letter, note_redrive, redrives_of

# The most commands that one call publishes again.
MOST_COMMANDS = 10_000
NOT_PUBLISHED = "not-published"

_RIGHTS = (
    *reading("lane", "ledger", "dead_letter", "api_key", "signing_key", "company", "plan"),
    *KEEP_OPERATIONS,
    *KEEP_REDRIVES,
)


@dataclass(frozen=True, slots=True)
class RedriveRequest:
    """The commands to publish again: these places, or, without places, dead letters of a range with a code.

    Without an author, nothing is published.
    """

    places: tuple[Place, ...]
    chosen: Range
    code: str | None
    again: bool
    author: Author | None


async def redrive(servers: Servers, request: RedriveRequest, progress: Progress) -> DeadLettersRedriveReport:
    """Publish commands again if the request has an author. A refused command does not stop the others.

    Running it again after an interruption continues. Raises `BadSelection`.
    """
    redriving = _Redriving(servers, request)
    try:
        if (lacking := await _lacking(servers)) is not None:
            redriving.problems.append(lacking)
        else:
            await redriving.run(progress)
    except Unpublished:
        pass  # `run` has noted the problem, and the operation has ended as failed
    except SERVER_ERRORS as error:
        problem = servers.problem(error)
        redriving.problems.append(problem.model_copy(update={"text": f"{problem.text} Run it again to continue."}))
    return redriving.report()


async def _lacking(servers: Servers) -> Problem | None:
    """The server that is away, or the right that is missing."""

    async def nothing_else(_: object = None) -> None:
        return None

    lacking = await ask_database(servers, _RIGHTS, nothing_else)
    return lacking or await servers.kafka(nothing_else, redriving_acls(servers.settings))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A command that may be published; `original` is None if the log no longer has it."""

    command: Place
    code: str
    original: Record | None
    refusal: Problem | None


class _Redriving:
    """A run. Without an operation it only says what it would do."""

    def __init__(self, servers: Servers, request: RedriveRequest) -> None:
        self._servers, self._settings, self._request = servers, servers.settings, request
        self.problems, self._warnings, self._redrives = list[Problem](), list[str](), list[RedriveReport]()
        self._operation: Operation | None = None

    def report(self) -> DeadLettersRedriveReport:
        """The report so far."""
        return DeadLettersRedriveReport(
            problems=tuple(self.problems),
            executed=self._operation is not None,
            operation=None if self._operation is None else str(self._operation.id),
            warnings=tuple(self._warnings),
            redrives=tuple(self._redrives),
        )

    async def run(self, progress: Progress) -> None:
        """Go through the partitions, and start a producer for each that has something to publish.

        A doubt ends the run: it is noted as a problem and raised as `Unpublished`. Raises `BadSelection` and
        `SERVER_ERRORS`.
        """
        settings, request = self._settings, self._request
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(inspection(settings.database))
            places = await self._places(database)
            progress.begin("redriving", len(places))
            if request.author is not None:
                arguments = _arguments(self._servers, request)
                keeping = operation(database.connection, "dead-letters redrive", request.author, arguments)
                self._operation = await stack.enter_async_context(keeping)
            for partition, commands in groupby(places, key=lambda command: command.partition):
                async with AsyncExitStack() as of_partition:
                    producer: Redriver | None = None
                    for command in commands:
                        candidate = await self._look_at(command, database)
                        if candidate is not None and self._operation is not None:
                            if producer is None:
                                starting = redriver(settings, self._servers.cluster, partition)
                                producer = await of_partition.enter_async_context(starting)
                            try:
                                await self._publish(candidate, database, producer, self._operation)
                            except Unpublished as error:
                                text = f"It may or may not have been published ({error}): run it again to find out."
                                self.problems.append(Problem(code=NOT_PUBLISHED, place=str(command), text=text))
                                raise
                        progress.advance(1)

    async def _places(self, database: Inspection) -> list[Place]:
        """The commands in the order of their offsets. Raises `BadSelection`."""
        request, topic = self._request, self._settings.topic_commands
        if other := [command for command in request.places if command.topic != topic]:
            raise BadSelection(f"expected commands of {topic}, got {other[0]}: choose its channel with --channel")
        places = set(request.places)
        if not places:
            heads = await chosen_letters(database, self._settings, request.chosen, request.code, MOST_COMMANDS + 1)
            if len(heads) > MOST_COMMANDS:
                text = f"more than {MOST_COMMANDS:,} dead letters match: choose fewer, with --from and --to"
                raise BadSelection(text)
            places = {Place(topic, head.partition, head.offset) for head in heads}
        # `run` groups them by partition, and starts one producer for each.
        return sorted(places)

    async def _look_at(self, command: Place, database: Inspection) -> _Candidate | None:
        """Check a command, and warn of its credentials; None if it is refused."""
        connection, settings = database.connection, self._settings
        stored = await find_letter(connection, settings.group_id, command)
        if stored is None:
            self._refuse(command, None, no_dead_letter(settings, command))
            return None
        code, rows = stored.letter.reason, await redrives_of(connection, command)
        step = step_of(rows, settings.group_id, again=self._request.again)
        if isinstance(step, Problem):
            self._refuse(command, code, step)
            return None
        original = await LogReader(self._servers.cluster).record(*command)
        refusal = refusal_of(original, stored.letter, settings.limits)
        # An interrupted redrive is settled first, even if its command is refused today: it may have been published.
        if step is Step.PUBLISH and refusal is not None:
            self._refuse(command, code, refusal)
            return None
        if step is not Step.ADOPT and refusal is None and original is not None:
            warning = await credentials_warning(connection, original, settings, datetime.now(UTC))
            if warning is not None:
                self._warnings.append(f"{command}: {warning}, so that the new command is answered with 401")
        if self._operation is None:
            if step is Step.PUBLISH:
                self._note(command, code, "to-publish", len(rows) + 1, None)
            else:
                self._note(command, code, "to-settle", len(rows), None)
        return _Candidate(command, code, original, refusal)

    async def _publish(self, candidate: _Candidate, database: Inspection, producer: Redriver, begun: Operation) -> None:
        """Settle or publish a command, by its rows as they are after the producer's start."""
        command, connection = candidate.command, database.connection
        rows = await redrives_of(connection, command)
        step = step_of(rows, self._settings.group_id, again=self._request.again)
        if isinstance(step, Problem):
            self._refuse(command, candidate.code, step)
            return
        outcome: RedriveOutcome = "settled"
        new_offset, times = None, len(rows)
        if step is Step.SETTLE:
            new_offset = await producer.find(command, rows[-1].log_end)
        elif step is Step.ADOPT:
            new_offset = rows[-1].new_offset
        if new_offset is None:
            if candidate.refusal is not None:
                self._refuse(command, candidate.code, candidate.refusal)
                return
            assert candidate.original is not None, "it was refused"
            outcome = "published"
            if step is Step.PUBLISH:
                times += 1
                if not await begin_redrive(connection, command, times, begun.id, await producer.log_end()):
                    raise Unpublished("another redrive of it has begun meanwhile")
                failpoints.reach("redrive row")
            new_offset = await producer.publish(redriven(candidate.original))
        await note_redrive(connection, command, times, new_offset, begun.id)
        failpoints.reach("redrive noted")
        self._note(command, candidate.code, outcome, times, new_offset)

    def _refuse(self, command: Place, code: str | None, problem: Problem) -> None:
        self.problems.append(problem.model_copy(update={"place": str(command)}))
        self._note(command, code, "refused", None, None)

    def _note(
        self, command: Place, code: str | None, outcome: RedriveOutcome, times: int | None, new_offset: int | None
    ) -> None:
        new_place = None if new_offset is None else str(command._replace(offset=new_offset))
        report = RedriveReport(place=str(command), code=code, outcome=outcome, new_place=new_place, times=times)
        self._redrives.append(report)
        if self._operation is not None:
            counts = self._operation.progress
            counts[outcome] = counts.get(outcome, 0) + 1


def _arguments(servers: Servers, request: RedriveRequest) -> dict[str, Any]:
    """The arguments that the row of the operation keeps."""
    chosen = request.chosen
    return {
        "group": servers.settings.group_id,
        "topic": servers.settings.topic_commands,
        "places": [str(command) for command in request.places],
        "partitions": chosen.partitions,
        "from": None if chosen.start is None else str(chosen.start),
        "to": None if chosen.stop is None else str(chosen.stop),
        "code": request.code,
        "again": request.again,
    }
