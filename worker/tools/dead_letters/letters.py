"""`passport-worker dead-letters list` and `show`: from the database alone."""

import re

from worker.domain.places import Place
from worker.messages.hints import printable
from worker.settings import Settings
from worker.tools.common.inspection import Inspection
from worker.tools.common.prerequisites import ask_database
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
from worker.tools.dead_letters.rows import (
    Chosen,
    LetterHead,
    Redrive,
    StoredLetter,
    find_letter,
    list_letters,
    redrives_of,
)

NO_DEAD_LETTER = "no-dead-letter"

_RIGHTS = reading("lane", "ledger", "dead_letter", "redrive", "operation")
_CREDENTIALS = re.compile(r"(\btp_|\bbearer[ \t]+)[\w.~+/=-]{6,}", re.IGNORECASE)

Shown = tuple[DeadLettersShowReport, bytes | None]
"""The report, and the value as it was kept; None for a null value, and where there is no dead letter."""


async def list_all(servers: Servers, chosen: Range, code: str | None, most: int) -> DeadLettersListReport:
    """The newest of them. Raises `BadSelection` for a partition that never had a lane."""

    async def question(database: Inspection) -> list[LetterHead]:
        return await chosen_letters(database, servers.settings, chosen, code, most)

    found = await ask_database(servers, _RIGHTS, question)
    if isinstance(found, Problem):
        return DeadLettersListReport(problems=(found,), dead_letters=())
    topic = servers.settings.topic_commands
    return DeadLettersListReport(dead_letters=tuple(_listed(topic, one) for one in found))


async def chosen_letters(
    database: Inspection, settings: Settings, chosen: Range, code: str | None, most: int
) -> list[LetterHead]:
    """The newest of a range, by offsets or times of appending. Raises `BadSelection`, and what the database does."""
    group_id, topic = settings.group_id, settings.topic_commands
    if chosen.partitions:
        lanes = await database.lanes(group_id, topic)
        if unknown := [one for one in chosen.partitions if one not in lanes]:
            raise BadSelection(f"no worker of the group {group_id} has had the partition {unknown[0]} of {topic} yet")
    wanted = Chosen(chosen.partitions, chosen.start, chosen.stop, code)
    return await list_letters(database.connection, group_id, topic, wanted, most)


async def show(servers: Servers, place: Place) -> Shown:
    """All of one."""

    async def question(database: Inspection) -> tuple[StoredLetter, list[Redrive]] | Problem:
        found = await find_letter(database.connection, servers.settings.group_id, place)
        if found is None:
            return no_dead_letter(servers.settings, place)
        return found, await redrives_of(database.connection, place)

    found = await ask_database(servers, _RIGHTS, question)
    if isinstance(found, Problem):
        return DeadLettersShowReport(problems=(found,), dead_letter=None, headers=(), value=None, redrives=()), None
    stored, rows = found
    letter = stored.letter
    redrives = tuple(_redriven(place, one.times, one.new_offset, str(one.operation_id)) for one in rows)
    head = DeadLetterReport(
        place=str(place),
        code=letter.reason,
        appended_at=stored.appended_at,
        key=escaped(letter.key),
        value_bytes=None if letter.value is None else len(letter.value),
        company=stored.company_id,
        redriven=redrives[-1] if redrives else None,
    )
    headers = tuple(HeaderReport(name=printable(name), value=escaped(value)) for name, value in letter.headers)
    value = escaped(letter.value)
    return DeadLettersShowReport(dead_letter=head, headers=headers, value=value, redrives=redrives), letter.value


def no_dead_letter(settings: Settings, place: Place) -> Problem:
    """There is none; also where its day was dropped."""
    text = (
        f"The group {settings.group_id} has no dead letter of this command: it was answered otherwise or not yet, or "
        f"the database has dropped its day (PASSPORT_RETENTION_DAYS)."
    )
    return Problem(code=NO_DEAD_LETTER, place=str(place), text=text)


def escaped(data: bytes | None) -> str | None:
    """Bytes of a record for people: whatever a terminal would obey is escaped, and credentials are left out."""
    if data is None:
        return None
    text = printable(data.decode("utf-8", "backslashreplace"))
    return _CREDENTIALS.sub(r"\1…", text)


def _listed(topic: str, one: LetterHead) -> DeadLetterReport:
    place = Place(topic, one.partition, one.offset)
    return DeadLetterReport(
        place=str(place),
        code=one.reason,
        appended_at=one.appended_at,
        key=escaped(one.key),
        value_bytes=one.value_bytes,
        company=one.company_id,
        redriven=_redriven(place, one.times, one.new_offset, str(one.operation_id)) if one.times else None,
    )


def _redriven(place: Place, times: int, new_offset: int | None, operation: str) -> RedrivenReport:
    new_place = None if new_offset is None else str(Place(place.topic, place.partition, new_offset))
    return RedrivenReport(times=times, place=new_place, operation=operation)
