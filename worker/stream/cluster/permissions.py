"""The rights in Kafka that the worker needs, and the check that it has them."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.transaction import EndTxnRequest

from worker.messages.hints import CheckResult
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster


@dataclass(frozen=True, slots=True)
class Acl:
    """An operation on a resource, in the words of Kafka and Strimzi. `prefixed` means all names that begin so."""

    operation: Literal["Read", "Write", "Describe", "DescribeConfigs"]
    resource: Literal["topic", "group", "transactionalId"]
    name: str
    prefixed: bool = False

    def __str__(self) -> str:
        """A text for people who have to grant it."""
        return f"{self.operation} on {self.resource} {self.name}{' (prefix)' if self.prefixed else ''}"


def needed_acls(settings: Settings) -> tuple[Acl, ...]:
    """All rights that `run` needs. Read and Write imply Describe; the worker needs no right on the cluster."""
    channels = settings.by_commands.values()
    answers = [topic for channel in channels for topic in channel.answer_topics]
    return (
        *(Acl("Read", "topic", channel.topic_commands) for channel in channels),
        Acl("Read", "group", settings.group_id),
        *(Acl("Write", "topic", topic) for topic in answers),
        # If Kafka forgets the group's offsets, the results tell how far they were published.
        *(acl for channel in channels for acl in result_acls(channel)),
        # At its start the worker looks for settings that would stop a lane later.
        *(Acl("DescribeConfigs", "topic", topic) for topic in (*settings.by_commands, *answers)),
        # The ids of sessions begin with the default channel's command topic, those of verbs with their channel's.
        *dict.fromkeys(own_transactions(channel) for channel in (settings, *channels)),
    )


def own_transactions(settings: Settings) -> Acl:
    """The right to publish under, and to fence, the ids of the group's workers and of operators' verbs."""
    return Acl("Write", "transactionalId", f"{settings.group_id}.{settings.topic_commands}.", prefixed=True)


def result_acls(settings: Settings) -> tuple[Acl, ...]:
    """The rights to read results."""
    return tuple(Acl("Read", "topic", topic) for topic in settings.result_topics)


async def check_permissions(
    cluster: Cluster, settings: Settings, needed: Sequence[Acl] | None = None
) -> CheckResult | None:
    """Say which of the needed rights are missing, if any. By default these are the rights of `run`.

    The check changes nothing, and disturbs no other worker. Raises `CLUSTER_ERRORS`.
    """
    missing = await missing_acls(cluster, needed_acls(settings) if needed is None else needed)
    if not missing:
        return None
    who = f"user {settings.kafka_sasl_username}" if settings.kafka_sasl_username else "this worker"
    return CheckResult(
        "kafka.rights", f"Kafka denies {who} {', '.join(map(str, missing))}", "Allow it, with one ACL each."
    )


async def missing_acls(cluster: Cluster, needed: Sequence[Acl]) -> list[Acl]:
    """The needed rights that Kafka denies."""
    topics = {acl.name for acl in needed if acl.resource == "topic"}
    operations = await cluster.allowed_on_topics(sorted(topics)) if topics else {}
    return [acl for acl in needed if not await _is_granted(acl, cluster, operations)]


async def _is_granted(acl: Acl, cluster: Cluster, operations: dict[str, frozenset[str]]) -> bool:
    """Whether Kafka grants a right, by the allowed `operations` of topics, or by a request that changes nothing."""
    match acl.resource, acl.operation:
        case "group", "Describe":
            try:
                response = await cluster.ask_group_coordinator(acl.name, DescribeGroupsRequest([acl.name]))
                if code := response.groups[0][0]:
                    raise for_code(code)(f"the group {acl.name}: error {code}")
            except GroupAuthorizationFailedError:
                return False
            return True
        case "group", _:
            # A heartbeat of a member that does not exist: a broker checks the right first.
            response = await cluster.ask(HeartbeatRequest(acl.name, -1, ""))
            return bool(response.error_code != GroupAuthorizationFailedError.errno)
        case "transactionalId", _:
            # The end of a transaction that never began: a broker checks the right first, and then finds no such
            # producer. No session has this id, so this fences nobody, and the broker stores nothing.
            response = await cluster.ask(EndTxnRequest(f"{acl.name}acl-check", -1, 0, False))
            return bool(response.error_code != TransactionalIdAuthorizationFailed.errno)
        case _, "DescribeConfigs":
            # Kafka lists allowed operations only to those who may describe the topic, so try the request itself.
            try:
                with suppress(UnknownTopicOrPartitionError):  # the check of topics reports it
                    await cluster.topic_settings(acl.name)
            except TopicAuthorizationFailedError:
                return False
            return True
    return acl.name not in operations or acl.operation in operations[acl.name]
