"""`passport-worker dead-letters redrive`: commands are published again, once each, however often it is interrupted."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from worker.domain.places import Place
from worker.tools.common.catalogue.file import without_api_keys
from worker.tools.common.inspection import Inspection, inspection
from worker.tools.common.journal import operation
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.rights import KEEP_OPERATIONS, KEEP_REDRIVES, reading
from worker.tools.common.selection import BadSelection, Range
from worker.tools.common.servers import SERVER_ERRORS, Servers
from worker.tools.dead_letters.letters import chosen_letters
from worker.tools.dead_letters.publishing import redriving_acls
from worker.tools.dead_letters.redriving import Found, InDoubt, Redriving
from worker.tools.dead_letters.report import DeadLettersRedriveReport

MOST_COMMANDS = 10_000
"""So many are published again at once, and no more."""
NOT_PUBLISHED = "not-published"

_RIGHTS = (
    *reading("lane", "ledger", "dead_letter", "api_key", "signing_key", "company", "plan"),
    *KEEP_OPERATIONS,
    *KEEP_REDRIVES,
)


@dataclass(frozen=True, slots=True)
class Request:
    """These places; without any, the dead letters of a range that have a code."""

    places: tuple[Place, ...]
    chosen: Range
    code: str | None
    again: bool
    execute: bool
    reason: str

    def arguments(self, servers: Servers) -> dict[str, Any]:
        """As they are kept."""
        return {
            "group": servers.settings.group_id,
            "topic": servers.settings.topic_commands,
            "places": [str(one) for one in self.places],
            "partitions": self.chosen.partitions,
            "from": None if self.chosen.start is None else str(self.chosen.start),
            "to": None if self.chosen.stop is None else str(self.chosen.stop),
            "code": self.code,
            "again": self.again,
        }


async def redrive(servers: Servers, request: Request, progress: Progress) -> DeadLettersRedriveReport:
    """Publish them again where `request.execute` says so. What is refused is in the way of no other.

    Started again after an interruption, it goes on. Raises `BadSelection`.
    """
    found = Found()
    if (lacking := await _lacking(servers)) is not None:
        found.problems.append(lacking)
        return found.report()
    try:
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(inspection(servers.settings.database_url))
            places = await _places(servers, database, request)
            progress.begin("redriving", len(places))
            one = Redriving(servers, database, found, again=request.again)
            if request.execute:
                arguments, reason = request.arguments(servers), without_api_keys(request.reason)
                kept = await stack.enter_async_context(operation(database, "dead-letters redrive", reason, arguments))
                found.operation = kept
            await one.run(places, progress)
    except InDoubt as error:
        text = f"It is not known whether it was published ({error}): run it again, which finds out."
        found.problems.append(Problem(code=NOT_PUBLISHED, place=str(error.place), text=text))
    except SERVER_ERRORS as error:
        problem = servers.problem(error)
        found.problems.append(problem.model_copy(update={"text": f"{problem.text} Run it again: it goes on."}))
    return found.report()


async def _lacking(servers: Servers) -> Problem | None:
    """Which server is away, or which right is missing."""

    async def nothing_else(_: object = None) -> None:
        return None

    lacking = await ask_database(servers, _RIGHTS, nothing_else)
    return lacking or await servers.kafka(nothing_else, redriving_acls(servers.settings))


async def _places(servers: Servers, database: Inspection, request: Request) -> list[Place]:
    """Each once, in the order of offsets. Raises `BadSelection`."""
    topic = servers.settings.topic_commands
    if other := [one for one in request.places if one.topic != topic]:
        raise BadSelection(f"expected commands of {topic}, got {other[0]}")
    if request.places:
        return sorted(set(request.places), key=_order)
    most = MOST_COMMANDS + 1
    heads = await chosen_letters(database, servers.settings, request.chosen, request.code, most)
    if len(heads) > MOST_COMMANDS:
        raise BadSelection(f"more than {MOST_COMMANDS:,} dead letters are meant: choose fewer, with --from and --to")
    return sorted((Place(topic, one.partition, one.offset) for one in heads), key=_order)


def _order(place: Place) -> tuple[int, int]:
    return place.partition, place.offset
