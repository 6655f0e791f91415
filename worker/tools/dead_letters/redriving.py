"""Publishing the commands of dead letters again, one after the other.

A row of `redrive` is committed before its command is sent. Whoever finds one without a new offset first starts the
producer of the partition, which ends what the other had open, and then looks whether the command is there. Rows are
read after that start: who is fenced later can publish nothing on what he has read.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby

from worker.domain.places import Place
from worker.messages.envelope import Record
from worker.store import failpoints
from worker.stream.log_reader import LogReader
from worker.tools.common.inspection import Inspection
from worker.tools.common.journal import Operation
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.servers import Servers
from worker.tools.dead_letters.letters import no_dead_letter
from worker.tools.dead_letters.publishing import Redriver, Unpublished, redriver
from worker.tools.dead_letters.redrive_checks import Refusal, Step, credentials_warning, refusal, step_of
from worker.tools.dead_letters.redriven import redriven
from worker.tools.dead_letters.report import DeadLettersRedriveReport, RedriveOutcome, RedriveReport
from worker.tools.dead_letters.rows import (
    Redrive,
    begin_redrive,
    find_letter,
    note_redrive,
    redrives_of,
)

_PUBLISHED: RedriveOutcome = "published"
_SETTLED: RedriveOutcome = "settled"


class InDoubt(Exception):
    """It is not known whether the command of `place` was published again; the text says why."""

    def __init__(self, place: Place, reason: str) -> None:
        super().__init__(reason)
        self.place = place


@dataclass(slots=True)
class Found:
    """What the report says, as it grows."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    redrives: list[RedriveReport] = field(default_factory=list)
    operation: Operation | None = None

    def report(self) -> DeadLettersRedriveReport:
        """As it is now."""
        return DeadLettersRedriveReport(
            problems=tuple(self.problems),
            executed=self.operation is not None,
            operation=None if self.operation is None else str(self.operation.id),
            warnings=tuple(self.warnings),
            redrives=tuple(self.redrives),
        )

    def note(self, place: Place, code: str | None, outcome: RedriveOutcome, times: int, new_offset: int | None) -> None:
        """What became of a command."""
        new_place = None if new_offset is None else str(Place(place.topic, place.partition, new_offset))
        one = RedriveReport(place=str(place), code=code, outcome=outcome, new_place=new_place, times=times or None)
        self.redrives.append(one)
        if self.operation is not None:
            progress = self.operation.progress
            progress[outcome] = progress.get(outcome, 0) + 1

    def refuse(self, place: Place, code: str | None, why: Problem) -> None:
        """A command is not published again."""
        self.problems.append(why)
        self.note(place, code, "refused", 0, None)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is known of a command whose dead letter has this code; `original` is None where it is not there any more."""

    place: Place
    code: str
    original: Record | None
    refusal: Refusal | None


class Redriving:
    """Both servers.

    As long as what is found has no operation, it only says what it would do.
    """

    def __init__(self, servers: Servers, database: Inspection, found: Found, *, again: bool) -> None:
        self._settings, self._database, self._cluster = servers.settings, database, servers.cluster
        self._found, self._again = found, again

    async def run(self, places: Sequence[Place], progress: Progress) -> None:
        """A partition after the other, each with a producer, which starts where there is something for it.

        Raises `InDoubt`, `CLUSTER_ERRORS` and `DATABASE_ERRORS`: then the rest was not looked at.
        """
        for partition, group in groupby(places, key=lambda place: place.partition):
            async with AsyncExitStack() as stack:
                producer: Redriver | None = None
                for place in group:
                    plan = await self._plan(place)
                    if plan is not None and self._found.operation is not None:
                        if producer is None:
                            starting = redriver(self._settings, self._cluster, partition)
                            producer = await stack.enter_async_context(starting)
                        try:
                            await self._do(plan, producer, self._found.operation)
                        except Unpublished as error:
                            raise InDoubt(place, str(error)) from error
                    progress.advance(1)

    async def _plan(self, place: Place) -> _Plan | None:
        """None where there is nothing to do."""
        connection = self._database.connection
        stored = await find_letter(connection, self._settings.group_id, place)
        if stored is None:
            self._found.refuse(place, None, no_dead_letter(self._settings, place))
            return None
        code, rows = stored.letter.reason, await redrives_of(connection, place)
        step = self._step(rows)
        if isinstance(step, Refusal):
            self._refuse(place, code, step)
            return None
        original = await LogReader(self._cluster).record(place.topic, place.partition, place.offset)
        refused = refusal(original, stored.letter, self._settings.limits)
        if step is Step.PUBLISH and refused is not None:
            self._refuse(place, code, refused)
            return None
        if step is not Step.ADOPT and refused is None and original is not None:
            await self._warn(place, original)
        if self._found.operation is None:
            times = len(rows) + 1 if step is Step.PUBLISH else len(rows)
            self._found.note(place, code, "to-publish" if step is Step.PUBLISH else "to-settle", times, None)
        return _Plan(place, code, original, refused)

    async def _do(self, plan: _Plan, producer: Redriver, kept: Operation) -> None:
        """By the rows as they are now, after the start of the producer."""
        place = plan.place
        rows = await redrives_of(self._database.connection, place)
        step = self._step(rows)
        if isinstance(step, Refusal):
            self._refuse(place, plan.code, step)
            return
        new_offset, outcome = await self._settled(place, step, rows, producer), _SETTLED
        if new_offset is None and plan.refusal is not None:
            self._refuse(place, plan.code, plan.refusal)
            return
        times = len(rows)
        if new_offset is None:
            assert plan.original is not None, "it was refused"
            outcome = _PUBLISHED
            if step is Step.PUBLISH:
                times += 1
                await self._begin(place, times, kept, producer)
            new_offset = await producer.publish(redriven(plan.original))
        await note_redrive(self._database.connection, place, times, new_offset, kept.id)
        failpoints.reach("redrive noted")
        self._found.note(place, plan.code, outcome, times, new_offset)

    def _step(self, rows: Sequence[Redrive]) -> Step | Refusal:
        return step_of(rows, self._settings.group_id, again=self._again)

    async def _settled(self, place: Place, step: Step, rows: Sequence[Redrive], producer: Redriver) -> int | None:
        """Where an interrupted redrive has published it; None where it has not."""
        if step is Step.SETTLE:
            return await producer.find(place.offset, rows[-1].log_end)
        return rows[-1].new_offset if step is Step.ADOPT else None

    async def _begin(self, place: Place, times: int, kept: Operation, producer: Redriver) -> None:
        log_end = await producer.log_end()
        if not await begin_redrive(self._database.connection, place, times, kept.id, log_end):
            raise Unpublished("another redrive of it has begun at the same time")
        failpoints.reach("redrive row")

    async def _warn(self, place: Place, original: Record) -> None:
        why = await credentials_warning(self._database.connection, original, self._settings, datetime.now(UTC))
        if why is not None:
            self._found.warnings.append(f"{place}: {why}, so that the new command is answered with 401")

    def _refuse(self, place: Place, code: str, why: Refusal) -> None:
        self._found.refuse(place, code, Problem(code=why.code, place=str(place), text=why.text))
