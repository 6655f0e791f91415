"""Checks that a database fits this worker: its schema, and the consumer group that it was used with.

A schema has the number of its newest migration. A worker runs on its own schema, and on newer ones whose migrations say
that workers of its schema can read them (`readable_from`), so that old and new workers can run side by side.
"""

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from worker.messages.hints import CheckResult
from worker.store import sql
from worker.store.sql import Connection

# The ids of the findings.
SCHEMA, GROUP = "postgres.schema", "postgres.group"

_FILE_NAME = re.compile(r"([0-9]{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """A file of `worker/store/migrations`. The first four digits of its name are the `version`."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the text, with the same line ends on every platform."""
        return sha256(self.text.encode()).digest()


class Applied(NamedTuple):
    """A row of `schema_migration`. `applied_by` is the version of the worker that applied the migration."""

    version: int
    name: str
    checksum: bytes
    readable_from: int
    applied_by: str


@cache
def known_migrations() -> tuple[Migration, ...]:
    """The migrations that this version brings, by version."""
    paths = sorted((files("worker.store") / "migrations").iterdir(), key=lambda path: path.name)
    named = [(match, path) for path in paths if (match := _FILE_NAME.fullmatch(path.name))]
    return tuple(Migration(int(match[1]), path.name, path.read_text(encoding="utf-8")) for match, path in named)


async def applied_migrations(connection: Connection) -> list[Applied]:
    """The migrations that the database has, by version. Needs `schema_migration`. Read only."""
    return [Applied(*row) for row in await connection.fetch(sql.load("applied_migrations"))]


async def pending_migrations(connection: Connection) -> list[Migration] | CheckResult:
    """The migrations that the database lacks, or why this version does not fit it. Needs `schema_migration`.

    A newer database lacks none, if workers of this version's schema can run on it.
    """
    known = {migration.version: migration for migration in known_migrations()}
    ours = known_migrations()[-1].version
    lacking = dict(known)
    for version, name, checksum, readable_from, applied_by in await applied_migrations(connection):
        migration = lacking.pop(version, None)
        if migration is None and (version < ours or readable_from > ours):
            finding = (
                f"The database is newer than this version: {name} needs workers of schema {readable_from:04} or newer, "
                f"and this one is of schema {ours:04}"
            )
            return CheckResult(SCHEMA, finding, f"deploy version {applied_by}, which applied it, or a newer one.")
        if migration is not None and migration.checksum != checksum:
            finding = f"The migration {migration.name} has changed since it was applied"
            advice = "restore the file as it was released, and put the change into a new migration."
            return CheckResult(SCHEMA, finding, advice)
    return list(lacking.values())


async def check_readable(connection: Connection) -> CheckResult | None:
    """None unless the database needs newer workers than this one, or has a changed migration. Read only."""
    if not await connection.fetchval(sql.load("has_schema_migration")):
        return None
    pending = await pending_migrations(connection)
    return pending if isinstance(pending, CheckResult) else None


async def check_schema(connection: Connection) -> CheckResult | None:
    """None if the database has this version's schema, or a newer one that this version can run on. Read only."""
    finding = "The database is empty"
    if await connection.fetchval(sql.load("has_schema_migration")):
        pending = await pending_migrations(connection)
        if isinstance(pending, CheckResult):
            return pending
        if not pending:
            return None
        age = "empty" if len(pending) == len(known_migrations()) else "older than this version"
        finding = f"The database is {age} (next: {pending[0].name})"
    return CheckResult(SCHEMA, finding, "run `passport-worker migrate`.")


async def check_group(connection: Connection, group_id: str, topic: str) -> CheckResult | None:
    """None if lanes of the topic have run under this group, or under none. Read only."""
    # A lane belongs to a group. Under a new group, lanes would begin at the start of the log, and every command that
    # is still in the topic would get a second result.
    others = [group for (group,) in await connection.fetch(sql.load("other_groups"), group_id, topic)]
    if not others:
        return None
    finding = f"lanes of {topic} have run under {' and '.join(map(repr, others))}, expected them under {group_id!r}"
    advice = (
        f"Set PASSPORT_GROUP_ID={others[0]}: under a new group the worker would answer every command in the topic a "
        "second time. To start from scratch, use a new database or new topics."
    )
    return CheckResult(GROUP, finding, advice)
