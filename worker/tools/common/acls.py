"""The rights in Kafka that tools need."""

from aiokafka import errors

from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.permissions import Acl, missing_acls, needed_acls, own_transactions, result_acls


def asking_acls(settings: Settings) -> tuple[Acl, ...]:
    """The rights to read the group's progress on each channel that the settings serve."""
    return *(Acl("Read", "topic", topic) for topic in settings.by_commands), Acl("Describe", "group", settings.group_id)


def looking_acls(settings: Settings) -> tuple[Acl, ...]:
    """The rights to read the group's logs as well."""
    answers = (topic for channel in settings.by_commands.values() for topic in channel.answer_topics)
    return (*asking_acls(settings), *(Acl("Read", "topic", topic) for topic in answers))


def acting_acls(settings: Settings) -> tuple[Acl, ...]:
    """The rights to commit offsets of the group, and to publish and fence under its transactional ids."""
    return Acl("Read", "group", settings.group_id), own_transactions(settings)


def reader_acls(settings: Settings) -> tuple[Acl, ...]:
    """The rights to look at everything and change nothing."""
    topics = settings.topics_of_channels
    return (*looking_acls(settings), *(Acl("DescribeConfigs", "topic", topic) for topic in topics))


def submitting_acls(settings: Settings) -> tuple[Acl, ...]:
    """The rights to publish commands and to read their results."""
    return Acl("Write", "topic", settings.topic_commands), *result_acls(settings)


_DENIED = (
    errors.ClusterAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.TopicAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
)


def is_denied(error: Exception) -> bool:
    """Whether the error says that an ACL is missing."""
    return isinstance(error, _DENIED)


async def only_reads(cluster: Cluster, settings: Settings) -> bool:
    """Whether Kafka grants all rights of readers, and no right to write. Raises `CLUSTER_ERRORS`."""
    writes = [acl for acl in needed_acls(settings) if acl.operation == "Write"]
    return len(await missing_acls(cluster, writes)) == len(writes) and not await missing_acls(
        cluster, reader_acls(settings)
    )
