"""Asking the database for a verb, once its role and its schema are known to be right for it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from worker.store.grants import Right
from worker.store.schema import check_schema
from worker.tools.common.inspection import Inspection
from worker.tools.common.report import Problem
from worker.tools.common.rights import check_verb_rights
from worker.tools.common.servers import POSTGRES_DENIES, Servers

SCHEMA_DIFFERS = "schema-differs"
COMPANY_UNKNOWN = "company-unknown"

Known = TypeVar("Known")


async def ask_database(
    servers: Servers,
    rights: Sequence[Right],
    question: Callable[[Inspection], Awaitable[Known | Problem]],
    *,
    is_long: bool = False,
) -> Known | Problem:
    """What the database says, or what is in the way: it is away, the role lacks a right, the schema is another.

    A long question takes as long as it needs; each of its statements has a limit of its own.
    """

    async def checked(database: Inspection) -> Known | Problem:
        if (lacking := await check_verb_rights(database.connection, rights)) is not None:
            return Problem(code=POSTGRES_DENIES, text=str(lacking))
        if (schema := await check_schema(database.connection)) is not None:
            return Problem(code=SCHEMA_DIFFERS, text=str(schema))
        return await question(database)

    return await servers.postgres(checked, is_long=is_long)


def company_unknown(company: str) -> Problem:
    """There is no company of that id."""
    return Problem(code=COMPANY_UNKNOWN, text=f"The catalogue has no company {company}.")
