"""What a database role needs for `run`: giving it, and asking whether it is there. `sql/grants.sql` is the one list."""

import re
from dataclasses import dataclass
from functools import cache

import asyncpg

from worker.messages.hints import Finding
from worker.store import sql
from worker.store.migrate import MigrationError
from worker.store.sql import Connection

_GRANT = re.compile(
    r"^GRANT (?P<privilege>[A-Z]+)(?: \((?P<columns>[a-z_, ]+)\))? "
    r"ON (?P<kind>SCHEMA|TABLE|FUNCTION) (?P<object>.+) TO ",
    re.MULTILINE,
)
_AS_OWNER = "run `passport-worker migrate --grant-to` as the owner of the tables."


@dataclass(frozen=True, slots=True)
class Right:
    """One line of `sql/grants.sql`. `columns` are as written there, None for the whole table; a schema has no name."""

    privilege: str
    columns: str | None
    kind: str
    object: str

    def __str__(self) -> str:
        """As in a GRANT, for people."""
        columns = "" if self.columns is None else f" ({self.columns})"
        on = "the tables' schema" if self.kind == "SCHEMA" else f"{self.kind.lower()} {self.object}"
        return f"{self.privilege}{columns} on {on}"


@cache
def run_rights() -> tuple[Right, ...]:
    """All that `run` needs."""
    return tuple(Right(**match.groupdict()) for match in _GRANT.finditer(sql.load("grants")))


async def grant_run_rights(connection: Connection, role: str) -> None:
    """Give `role` what `run` needs. Safe to repeat, and by many at once; the connection is that of the tables' owner.

    Raises `MigrationError` for a role that does not exist, and where we are not the owner.
    """
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(sql.load("lock_migrations"))
        names = await connection.fetchrow(sql.load("grantee"), role)
        if names is None:
            raise MigrationError(f'The role "{role}" does not exist: make it first, with CREATE ROLE.')
        try:
            await connection.execute(sql.load("grants").format(**names))
        except asyncpg.InsufficientPrivilegeError as error:
            raise MigrationError(f"{error}: {_AS_OWNER}") from error
        _, lacking = await _lacking(connection, role)
    if lacking:  # whoever has a right but may not give it gets a mere warning
        raise MigrationError(
            f"Could not give {role} {lacking}: run `passport-worker migrate` as the owner of the tables."
        )


async def check_rights(connection: Connection) -> Finding | None:
    """None when the connection's role may do all that `run` does; else what it lacks, and what to do. Read only."""
    role, lacking = await _lacking(connection, None)
    if not lacking:
        return None
    return Finding(
        "postgres.rights",
        f"The role {role} lacks {lacking}",
        f"run `passport-worker migrate --grant-to {role}` as the owner.",
    )


async def _lacking(connection: Connection, role: str | None) -> tuple[str, str]:
    """The name of the role, and what it lacks in words: nothing where all is well."""
    rights = run_rights()
    columns = zip(*((right.privilege, right.columns, right.kind, right.object) for right in rights), strict=True)
    rows = await connection.fetch(sql.load("missing_rights"), *map(list, columns), role)
    return (rows[0]["role"] if rows else ""), ", ".join(str(rights[row["place"] - 1]) for row in rows)
