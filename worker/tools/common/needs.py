"""What a verb has to be allowed, asked of both servers before it begins."""

from dataclasses import dataclass

from worker.settings import Settings
from worker.stream.cluster.permissions import Acl, check_permissions, own_transactions
from worker.tools.common.acls import asking_acls, looking_acls
from worker.tools.common.report import Problem
from worker.tools.common.rights import READER, RUN, Role, check_role
from worker.tools.common.servers import KAFKA_DENIES, POSTGRES_DENIES, Servers


@dataclass(frozen=True, slots=True)
class Needs:
    """In Postgres all that a kind of role may, and in Kafka these ACLs."""

    role: Role
    acls: tuple[Acl, ...]


def to_look(settings: Settings) -> Needs:
    """To read the logs and the database."""
    return Needs(READER, looking_acls(settings))


def to_repair(settings: Settings) -> Needs:
    """To fence workers and move lanes as well."""
    return Needs(RUN, (*looking_acls(settings), *_to_write(settings)))


def to_count(settings: Settings) -> Needs:
    """To say what a replay would publish: that is in the database."""
    return Needs(READER, asking_acls(settings))


def to_publish(settings: Settings, topic_suffix: str | None) -> Needs:
    """To publish answers to topics with this suffix, where it is known, and to keep how far that is."""
    topics = () if topic_suffix is None else (f"{one}{topic_suffix}" for one in settings.answer_topics)
    progress = Acl("Read", "group", f"{settings.group_id}.replay.", prefixed=True)
    writes = (Acl("Write", "topic", one) for one in topics)
    return Needs(RUN, (*asking_acls(settings), *_to_write(settings), progress, *writes))


def _to_write(settings: Settings) -> tuple[Acl, ...]:
    return Acl("Read", "group", settings.group_id), own_transactions(settings)


async def lacks(servers: Servers, needs: Needs) -> Problem | None:
    """What is missing first. Raises `SERVER_ERRORS`."""
    found = await servers.postgres(lambda database: check_role(database.connection, needs.role))
    if isinstance(found, Problem):
        return found
    if found is not None:
        return Problem(code=POSTGRES_DENIES, text=str(found))
    denied = await check_permissions(servers.cluster, servers.settings, needs.acls)
    return None if denied is None else Problem(code=KAFKA_DENIES, text=str(denied))
