"""Checks that a database fits this version of the worker: its schema, and the consumer group that it was used with."""

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

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


@cache
def known_migrations() -> tuple[Migration, ...]:
    """The migrations that this version brings, by version."""
    paths = sorted((files("worker.store") / "migrations").iterdir(), key=lambda path: path.name)
    named = [(match, path) for path in paths if (match := _FILE_NAME.fullmatch(path.name))]
    return tuple(Migration(int(match[1]), path.name, path.read_text(encoding="utf-8")) for match, path in named)


async def pending_migrations(connection: Connection) -> list[Migration] | CheckResult:
    """The migrations that the database lacks, or why this version does not fit it. Needs `schema_migration`."""
    applied = await connection.fetch(sql.load("applied_migrations"))
    known = {migration.version: migration for migration in known_migrations()}
    for version, name, checksum in applied:
        if version not in known:
            finding = f"The database is newer than this version ({name} was applied)"
            return CheckResult(SCHEMA, finding, "deploy a newer worker.")
        if known[version].checksum != checksum:
            finding = f"The migration {known[version].name} has changed since it was applied"
            advice = "restore the file as it was released, and put the change into a new migration."
            return CheckResult(SCHEMA, finding, advice)
    versions = {row["version"] for row in applied}
    return [migration for migration in known_migrations() if migration.version not in versions]


async def check_schema(connection: Connection) -> CheckResult | None:
    """None if the database is exactly at this version. Read only."""
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
    # the topic still has would get a second result.
    others = [group for (group,) in await connection.fetch(sql.load("other_groups"), group_id, topic)]
    if not others:
        return None
    finding = f"lanes of {topic} have run under {' and '.join(map(repr, others))}, expected them under {group_id!r}"
    advice = (
        f"Set PASSPORT_GROUP_ID={others[0]}: under a new group the worker would answer every command in the topic a "
        "second time. To start anew, use a new database or new topics."
    )
    return CheckResult(GROUP, finding, advice)
