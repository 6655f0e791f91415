"""Checks before a verb begins: rights in Postgres, the schema, ACLs in Kafka, and topics."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from worker.messages.hints import CheckResult
from worker.settings import Settings
from worker.store.grants import Right
from worker.store.schema import check_schema
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.permissions import Acl, check_permissions, own_transactions
from worker.stream.cluster.topic_settings import missing_topics
from worker.tools.common.acls import acting_acls, looking_acls
from worker.tools.common.inspection import Inspection
from worker.tools.common.report import Problem
from worker.tools.common.rights import READER, RUN, Role, check_role, check_verb_rights
from worker.tools.common.servers import AWAY_SECONDS, KAFKA_DENIES, POSTGRES_DENIES, SCHEMA_DIFFERS, Known, Servers


async def ask_database(
    servers: Servers,
    rights: Sequence[Right],
    question: Callable[[Inspection], Awaitable[Known | Problem]],
    *,
    is_long: bool = False,
) -> Known | Problem:
    """Ask the database, or return the problem: it is away, the role lacks a right, or the schema differs.

    A long question may take any time, but each of its statements has a limit.
    """

    async def checked(database: Inspection) -> Known | Problem:
        if (lacking := await check_verb_rights(database.connection, rights)) is not None:
            return Problem(code=POSTGRES_DENIES, text=str(lacking))
        if (schema := await check_schema(database.connection)) is not None:
            return Problem(code=SCHEMA_DIFFERS, text=str(schema))
        return await question(database)

    return await servers.postgres(checked, is_long=is_long)


@dataclass(frozen=True, slots=True)
class Needs:
    """The needs of a verb: all rights of a kind of role in Postgres, and these ACLs in Kafka."""

    role: Role
    acls: tuple[Acl, ...]


def to_look(settings: Settings) -> Needs:
    """Needs of a verb that reads the logs of all channels that are served, and the database."""
    return Needs(READER, looking_acls(settings))


def to_repair(settings: Settings) -> Needs:
    """Needs of a verb that also fences workers and moves lanes."""
    of_channels = [own_transactions(channel) for channel in settings.by_commands.values()]
    return Needs(RUN, tuple(dict.fromkeys((*looking_acls(settings), *acting_acls(settings), *of_channels))))


async def lacks(servers: Servers, needs: Needs) -> Problem | None:
    """The first need that is not met. Raises `SERVER_ERRORS`."""
    role = await servers.postgres(lambda database: check_role(database.connection, needs.role))
    if isinstance(role, Problem):
        return role
    if role is not None:
        return Problem(code=POSTGRES_DENIES, text=str(role))
    denied = await check_permissions(servers.cluster, servers.settings, needs.acls)
    return None if denied is None else Problem(code=KAFKA_DENIES, text=str(denied))


async def lacking(settings: Settings, needed: Sequence[Acl]) -> CheckResult | None:
    """The missing ACLs of topics, or the missing topics; None if nothing is missing. Raises `CLUSTER_ERRORS`."""
    cluster = Cluster(settings)
    try:
        async with asyncio.timeout(AWAY_SECONDS):
            if (denied := await check_permissions(cluster, settings, needed)) is not None:
                return denied
            topics = [acl.name for acl in needed]
            counts = await cluster.partition_counts(topics)
            missing = [topic for topic in topics if topic not in counts]
            return missing_topics(missing) if missing else None
    finally:
        await cluster.close()
