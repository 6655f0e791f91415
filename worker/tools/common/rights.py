"""Rights in Postgres: those that each kind of role needs, and checks of the role that a verb connects with."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from worker.messages.hints import CheckResult
from worker.store.grants import Right, granted_by, lacking_of
from worker.store.sql import Connection


@dataclass(frozen=True, slots=True)
class Role:
    """A kind of role: the file that lists its rights, and the option of `migrate` that gives them."""

    query: str
    option: str

    @property
    def rights(self) -> tuple[Right, ...]:
        """All rights that this kind of role needs."""
        return granted_by(self.query)

    @property
    def advice(self) -> str:
        """Advice for a role that lacks some of them."""
        return f"run `passport-worker migrate {self.option} {{role}}` as the owner."


RUN = Role("grants", "--grant-to")
READER = Role("read_grants", "--grant-read-to")

# Every verb needs these.
SEE_TABLES = (Right("USAGE", None, "SCHEMA", "{schema}"), Right("SELECT", None, "TABLE", "schema_migration"))

# For a verb that keeps a row in `operation`.
KEEP_OPERATIONS = tuple(Right(privilege, None, "TABLE", "operation") for privilege in ("SELECT", "INSERT", "UPDATE"))

# For a verb that publishes commands again.
KEEP_REDRIVES = (
    Right("SELECT", None, "TABLE", "redrive"),
    Right("INSERT", None, "TABLE", "redrive"),
    Right("UPDATE", "new_offset, operation_id", "TABLE", "redrive"),
)


def reading(*tables: str) -> tuple[Right, ...]:
    """SELECT on whole tables."""
    return tuple(Right("SELECT", None, "TABLE", table) for table in tables)


async def check_role(connection: Connection, kind: Role) -> CheckResult | None:
    """None if the connection's role has all rights of this kind. Read only."""
    return (await lacking_of(connection, kind.rights)).finding(kind.advice)


async def check_reading(connection: Connection, tables: Collection[str]) -> CheckResult | None:
    """None if the connection's role may read these tables as a reader does. Read only."""
    wanted = [right for right in READER.rights if right.kind == "SCHEMA" or right.object in tables]
    return (await lacking_of(connection, wanted)).finding(READER.advice)


async def may_change(connection: Connection) -> bool:
    """Whether the connection's role has a right to change anything, even if it may not see the tables' schema."""
    changes = [right for right in RUN.rights if right.privilege not in ("SELECT", "USAGE")]
    return len((await lacking_of(connection, changes)).rights) < len(changes)


async def only_reads(connection: Connection) -> bool:
    """Whether the connection's role may read all that readers read, and has no right to change anything."""
    return not await may_change(connection) and await check_role(connection, READER) is None


async def check_reader(connection: Connection) -> CheckResult | None:
    """The rights that a reader's role lacks, such as for a table of a later version; None if none, or for another role.

    A role is not a reader's if it may change something, read no table, or not see the tables' schema.
    """
    reads = [right for right in READER.rights if right.privilege == "SELECT"]
    is_reader = not await may_change(connection) and len((await lacking_of(connection, reads)).rights) < len(reads)
    return await check_role(connection, READER) if is_reader else None


async def check_verb_rights(connection: Connection, rights: Iterable[Right]) -> CheckResult | None:
    """None if the connection's role has all of these rights. Read only."""
    advice = "name the owner of the tables, or a role with these rights, in PASSPORT_DATABASE_URL."
    return (await lacking_of(connection, (*SEE_TABLES, *rights))).finding(advice)
