"""The rights that a database role needs for `run`, and a check that it has them. `sql/grants.sql` is the list."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from worker.messages.hints import CheckResult
from worker.store import sql
from worker.store.sql import Connection

_GRANT = re.compile(
    r"^GRANT (?P<privilege>[A-Z]+)(?: \((?P<columns>[a-z_, ]+)\))? "
    r"ON (?P<kind>SCHEMA|TABLE|FUNCTION) (?P<object>.+) TO ",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Right:
    """A line of a list of grants. `columns` are as written there, None for the whole table; a schema has no name."""

    privilege: str
    columns: str | None
    kind: str
    object: str

    def __str__(self) -> str:
        columns = "" if self.columns is None else f" ({self.columns})"
        on = "the tables' schema" if self.kind == "SCHEMA" else f"{self.kind.lower()} {self.object}"
        return f"{self.privilege}{columns} on {on}"


@dataclass(frozen=True, slots=True)
class Lacking:
    """The rights that a role lacks. The name of the role is empty if it lacks none."""

    role: str
    rights: tuple[Right, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.rights))

    def finding(self, advice: str) -> CheckResult | None:
        """The failed check; None if the role lacks nothing. `{role}` in the advice stands for the role's name."""
        if not self.rights:
            return None
        return CheckResult("postgres.rights", f"The role {self.role} lacks {self}", advice.format(role=self.role))


@cache
def granted_by(query: str) -> tuple[Right, ...]:
    """The rights that a file of grants lists."""
    return tuple(Right(**match.groupdict()) for match in _GRANT.finditer(sql.load(query)))


async def lacking_of(connection: Connection, rights: Sequence[Right], role: str | None = None) -> Lacking:
    """The rights that a role lacks, by default the role of the connection. Read only."""
    columns = zip(*((right.privilege, right.columns, right.kind, right.object) for right in rights), strict=True)
    rows = await connection.fetch(sql.load("missing_rights"), *map(list, columns), role)
    return Lacking(rows[0]["role"] if rows else "", tuple(rights[row["place"] - 1] for row in rows))


async def check_rights(connection: Connection) -> CheckResult | None:
    """None if the connection's role has the rights for `run`. Read only."""
    advice = "run `passport-worker migrate --grant-to {role}` as the owner."
    return (await lacking_of(connection, granted_by("grants"))).finding(advice)
