"""What database roles need: giving it, and asking whether it is there.

`sql/grants.sql` is the one list of what `run` needs, `sql/read_grants.sql` that of who only looks.
"""

import re
from collections.abc import Collection, Sequence
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


@dataclass(frozen=True, slots=True)
class Right:
    """One line of a list. `columns` are as written there, None for the whole table; a schema has no name."""

    privilege: str
    columns: str | None
    kind: str
    object: str

    def __str__(self) -> str:
        """As in a GRANT, for people."""
        columns = "" if self.columns is None else f" ({self.columns})"
        on = "the tables' schema" if self.kind == "SCHEMA" else f"{self.kind.lower()} {self.object}"
        return f"{self.privilege}{columns} on {on}"


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of role: the query that lists its rights, and the option of `migrate` that gives them."""

    query: str
    option: str

    @property
    def advice(self) -> str:
        """What to do for a role that lacks some of them."""
        return f"run `passport-worker migrate {self.option} {{role}}` as the owner."


RUN = Role("grants", "--grant-to")
READER = Role("read_grants", "--grant-read-to")


@cache
def rights_of(kind: Role) -> tuple[Right, ...]:
    """All that a kind of role needs."""
    return tuple(Right(**match.groupdict()) for match in _GRANT.finditer(sql.load(kind.query)))


async def grant_rights(connection: Connection, role: str, kind: Role) -> None:
    """Give `role` what its kind needs. Safe to repeat, and by many at once; the connection is the tables' owner's.

    Raises `MigrationError` for a role that does not exist, and where we are not the owner.
    """
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(sql.load("lock_migrations"))
        names = await connection.fetchrow(sql.load("grantee"), role)
        if names is None:
            raise MigrationError(f'The role "{role}" does not exist: make it first, with CREATE ROLE.')
        try:
            await connection.execute(sql.load(kind.query).format(**names))
        except asyncpg.InsufficientPrivilegeError as error:
            advice = f"run `passport-worker migrate {kind.option}` as the owner of the tables."
            raise MigrationError(f"{error}: {advice}") from error
        lacking = await lacking_of(connection, rights_of(kind), role)
    if lacking.rights:  # whoever has a right but may not give it gets a mere warning
        raise MigrationError(
            f"Could not give {role} {lacking}: run `passport-worker migrate` as the owner of the tables."
        )


async def check_rights(connection: Connection) -> Finding | None:
    """None when the connection's role may do all that `run` does; else what it lacks, and what to do. Read only."""
    return await check_role(connection, RUN)


async def check_role(connection: Connection, kind: Role) -> Finding | None:
    """None when the connection's role may do all that this kind does; else what it lacks, and what to do. Read only."""
    return (await lacking_of(connection, rights_of(kind))).finding(kind.advice)


async def check_reading(connection: Connection, tables: Collection[str]) -> Finding | None:
    """None when the connection's role may read these tables, as a reader does; else what it lacks. Read only."""
    wanted = [one for one in rights_of(READER) if one.kind == "SCHEMA" or one.object in tables]
    return (await lacking_of(connection, wanted)).finding(READER.advice)


async def only_reads(connection: Connection) -> bool:
    """Whether the connection's role may read all that readers read, and may do nothing of what changes something."""
    changes = [one for one in rights_of(RUN) if one.privilege not in ("SELECT", "USAGE")]
    may_change = len((await lacking_of(connection, changes)).rights) < len(changes)
    return not may_change and not (await lacking_of(connection, rights_of(READER))).rights


@dataclass(frozen=True, slots=True)
class Lacking:
    """Rights that a role lacks; its name is known where there are any."""

    role: str
    rights: tuple[Right, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.rights))

    def finding(self, advice: str) -> Finding | None:
        """None where it lacks nothing; the advice may name `{role}`."""
        if not self.rights:
            return None
        return Finding("postgres.rights", f"The role {self.role} lacks {self}", advice.format(role=self.role))


async def lacking_of(connection: Connection, rights: Sequence[Right], role: str | None = None) -> Lacking:
    """Those of the rights that a role lacks, by default the connection's own."""
    columns = zip(*((right.privilege, right.columns, right.kind, right.object) for right in rights), strict=True)
    rows = await connection.fetch(sql.load("missing_rights"), *map(list, columns), role)
    return Lacking(rows[0]["role"] if rows else "", tuple(rights[row["place"] - 1] for row in rows))
