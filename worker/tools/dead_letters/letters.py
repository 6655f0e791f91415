"""`passport-worker dead-letters list` and `show`, which ask the database alone."""

from worker.domain.places import Place
from worker.messages.hints import printable
from worker.settings import Settings
from worker.tools.common.companies import names_of
from worker.tools.common.inspection import Inspection
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.records import escaped
from worker.tools.common.report import Problem
from worker.tools.common.rights import reading
from worker.tools.common.selection import BadSelection, Range
from worker.tools.common.servers import Servers
from worker.tools.dead_letters.report import (
    DeadLetterReport,
    DeadLettersListReport,
    DeadLettersShowReport,
    HeaderReport,
    RedrivenReport,
)
from worker.tools.dead_letters.rows import LetterHead, Redrive, find_letter, list_letters, redrives_of

NO_DEAD_LETTER = "no-dead-letter"

_RIGHTS = reading("lane", "ledger", "dead_letter", "redrive", "operation", "company")

# A report, and the value as it was stored; None for a null value, or without a dead letter.
Shown = tuple[DeadLettersShowReport, bytes | None]


async def list_all(servers: Servers, chosen: Range, code: str | None, most: int) -> DeadLettersListReport:
    """The newest dead letters of all channels. Raises `BadSelection` for a partition that never had a lane."""

    async def question(database: Inspection) -> tuple[DeadLetterReport, ...]:
        heads = await chosen_letters(database, servers.settings, chosen, code, most)
        names = await names_of(database.connection, (head.company_id for head in heads))
        return tuple(
            DeadLetterReport(
                place=str(command := Place(head.topic, head.partition, head.offset)),
                code=head.reason,
                appended_at=head.appended_at,
                key=escaped(head.key),
                value_bytes=head.value_bytes,
                company=head.company_id,
                name=names.get(head.company_id or ""),
                redriven=_redriven(command, head) if head.times else None,
            )
            for head in heads
        )

    letters = await ask_database(servers, _RIGHTS, question)
    if isinstance(letters, Problem):
        return DeadLettersListReport(problems=(letters,), dead_letters=())
    return DeadLettersListReport(dead_letters=letters)


async def chosen_letters(
    database: Inspection, settings: Settings, chosen: Range, code: str | None, most: int
) -> list[LetterHead]:
    """The newest dead letters of a range. Partitions are of the one channel that the settings serve.

    Raises `BadSelection`, and what the database raises.
    """
    group_id = settings.group_id
    if chosen.partitions:
        (topic,) = settings.by_commands
        lanes = await database.lanes(group_id, topic)
        if unknown := [partition for partition in chosen.partitions if partition not in lanes]:
            raise BadSelection(f"no worker of the group {group_id} has had the partition {unknown[0]} of {topic} yet")
    return await list_letters(database.connection, settings, chosen, code, most)


async def show(servers: Servers, command: Place) -> Shown:
    """The whole dead letter of a command."""

    async def question(database: Inspection) -> Shown | Problem:
        stored = await find_letter(database.connection, servers.settings.group_id, command)
        if stored is None:
            return no_dead_letter(servers.settings, command)
        letter, names = stored.letter, await names_of(database.connection, [stored.company_id])
        redrives = tuple(_redriven(command, row) for row in await redrives_of(database.connection, command))
        report = DeadLettersShowReport(
            dead_letter=DeadLetterReport(
                place=str(command),
                code=letter.reason,
                appended_at=stored.appended_at,
                key=escaped(letter.key),
                value_bytes=None if letter.value is None else len(letter.value),
                company=stored.company_id,
                name=names.get(stored.company_id or ""),
                redriven=redrives[-1] if redrives else None,
            ),
            headers=tuple(HeaderReport(name=printable(name), value=escaped(value)) for name, value in letter.headers),
            value=escaped(letter.value),
            redrives=redrives,
        )
        return report, letter.value

    answer = await ask_database(servers, _RIGHTS, question)
    if isinstance(answer, Problem):
        return DeadLettersShowReport(problems=(answer,), dead_letter=None, headers=(), value=None, redrives=()), None
    return answer


def no_dead_letter(settings: Settings, command: Place) -> Problem:
    """The command has no dead letter, or its day was dropped."""
    text = (
        f"The group {settings.group_id} has no dead letter of this command. It has another answer or none yet, "
        "or the database has dropped its day (PASSPORT_RETENTION_DAYS)."
    )
    return Problem(code=NO_DEAD_LETTER, place=str(command), text=text)


def _redriven(command: Place, row: LetterHead | Redrive) -> RedrivenReport:
    new_place = None if row.new_offset is None else str(command._replace(offset=row.new_offset))
    return RedrivenReport(times=row.times, place=new_place, operation=str(row.operation_id))
