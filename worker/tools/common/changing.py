"""A change of the database that a verb makes in one transaction or none, with its row in `operation`."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from worker.store.grants import Right
from worker.tools.common.inspection import Inspection
from worker.tools.common.journal import Author, Operation, operation
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.report import Problem
from worker.tools.common.rights import KEEP_OPERATIONS
from worker.tools.common.servers import POSTGRES_AWAY, Known, Servers


class Change:
    """A change with a row in table `operation`. If Postgres goes away meanwhile, its outcome is reported as unknown."""

    def __init__(
        self, verb: str, author: Author | None, reads: Sequence[Right], writes: Sequence[Right], look: str
    ) -> None:
        """Without an author nothing is changed, and `reads` are enough. `look` is the verb that shows the change."""
        self._verb, self._author, self._look = verb, author, look
        self._needed = reads if author is None else (*reads, *writes, *KEEP_OPERATIONS)
        self._has_begun = False

    @asynccontextmanager
    async def begun(self, database: Inspection, arguments: Mapping[str, Any]) -> AsyncIterator[Operation]:
        """Keep the row while the change is made. Needs an author."""
        assert self._author is not None, "without an author nothing is changed"
        async with operation(database.connection, self._verb, self._author, arguments) as begun:
            self._has_begun = True
            yield begun

    @staticmethod
    def as_done(begun: Operation) -> dict[str, Any]:
        """Fields of a report on a change that was made."""
        return {"executed": True, "operation": str(begun.id)}

    async def ask(
        self, servers: Servers, question: Callable[[Inspection], Awaitable[Known | Problem]]
    ) -> Known | Problem:
        """Ask the question, or return the problem that prevents it."""

        async def once(database: Inspection) -> Known | Problem:
            # `Servers.postgres` asks again after a lost connection, and a change must not be made twice.
            if self._has_begun:
                return Problem(code=POSTGRES_AWAY, text="The connection to Postgres was lost.")
            return await question(database)

        answer = await ask_database(servers, self._needed, once)
        if isinstance(answer, Problem) and answer.code == POSTGRES_AWAY and self._has_begun:
            known = f"The change may or may not have happened: see `passport-worker {self._look}`."
            text = f"{answer.text.rstrip('.')}. {known}"
            return answer.model_copy(update={"text": text})
        return answer
