"""The rights in Kafka that the worker needs, and the check that it has them."""

from collections.abc import Sequence
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
    """One operation on one resource, in the words of Kafka and Strimzi; `prefixed`: on all whose names begin so."""

    operation: Literal["Read", "Write", "Describe", "DescribeConfigs"]
    resource: Literal["topic", "group", "transactionalId"]
    name: str
    prefixed: bool = False

    def __str__(self) -> str:
        """For people who have to grant it."""
        return f"{self.operation} on {self.resource} {self.name}{' (prefix)' if self.prefixed else ''}"


def needed_acls(settings: Settings) -> tuple[Acl, ...]:
    """All that `run` needs. Describe is not among them, as Read and Write bring it along; nor is the cluster."""
    answers = settings.answer_topics
    return (
        Acl("Read", "topic", settings.topic_commands),
        Acl("Read", "group", settings.group_id),
        *(Acl("Write", "topic", topic) for topic in answers),
        # Where Kafka has forgotten the group's offsets, the results tell how far they were published.
        *result_acls(settings),
        # Does the broker set the append time? Does every answer fit? A setting that stops a lane is found at the start.
        *(Acl("DescribeConfigs", "topic", topic) for topic in (settings.topic_commands, *answers)),
        own_transactions(settings),
    )


def own_transactions(settings: Settings) -> Acl:
    """To fence, and to publish under, all ids of the group's workers and of its operators' verbs."""
    return Acl("Write", "transactionalId", f"{settings.group_id}.{settings.topic_commands}.", prefixed=True)


def result_acls(settings: Settings) -> tuple[Acl, ...]:
    """All that is needed to read results."""
    return tuple(Acl("Read", "topic", topic) for topic in settings.result_topics)


async def check_permissions(
    cluster: Cluster, settings: Settings, needed: Sequence[Acl] | None = None
) -> CheckResult | None:
    """None when Kafka allows what is needed, by default all that `run` does.

    Changes nothing, and holds up no other worker. Raises as `Cluster` does.
    """
    missing = await missing_acls(cluster, needed_acls(settings) if needed is None else needed)
    if not missing:
        return None
    who = f"user {settings.kafka_sasl_username}" if settings.kafka_sasl_username else "this worker"
    return CheckResult(
        "kafka.rights", f"Kafka denies {who} {', '.join(map(str, missing))}", "Allow it, with one ACL each."
    )


async def missing_acls(cluster: Cluster, needed: Sequence[Acl]) -> list[Acl]:
    """Those that are not there."""
    topics = {acl.name for acl in needed if acl.resource == "topic"}
    operations = await cluster.allowed_on_topics(sorted(topics)) if topics else {}
    return [acl for acl in needed if not await _is_there(acl, cluster, operations)]


async def _is_there(acl: Acl, cluster: Cluster, operations: dict[str, frozenset[str]]) -> bool:
    if acl.resource == "group":
        may = _may_describe_group if acl.operation == "Describe" else _may_read_group
        return await may(cluster, acl.name)
    if acl.resource == "transactionalId":
        return await _may_write_transactions(cluster, acl.name)
    if acl.operation == "DescribeConfigs":
        return await _may_describe_configs(cluster, acl.name)
    return acl.name not in operations or acl.operation in operations[acl.name]


async def _may_describe_configs(cluster: Cluster, topic: str) -> bool:
    """Asked by doing it: whoever may do nothing else with a topic is told nothing of what is allowed on it.

    That a topic is not there is found out by whoever looks for topics.
    """
    try:
        await cluster.topic_settings(topic)
    except TopicAuthorizationFailedError:
        return False
    except UnknownTopicOrPartitionError:
        return True
    return True


async def _may_read_group(cluster: Cluster, group_id: str) -> bool:
    """A heartbeat of nobody: any broker looks at the ACL first, and then knows no such member."""
    response = await cluster.ask(HeartbeatRequest(group_id, -1, ""))
    return bool(response.error_code != GroupAuthorizationFailedError.errno)


async def _may_describe_group(cluster: Cluster, group_id: str) -> bool:
    """Asked by doing it."""
    try:
        response = await cluster.ask_group_coordinator(group_id, DescribeGroupsRequest([group_id]))
        if code := response.groups[0][0]:
            raise for_code(code)(f"the group {group_id}: error {code}")
    except GroupAuthorizationFailedError:
        return False
    return True


async def _may_write_transactions(cluster: Cluster, prefix: str) -> bool:
    """The end of a transaction that never began: any broker looks at the ACL first, and then knows no such producer.

    The id is no lane's, so none is fenced, and the broker keeps nothing of it.
    """
    response = await cluster.ask(EndTxnRequest(f"{prefix}acl-check", -1, 0, False))
    return bool(response.error_code != TransactionalIdAuthorizationFailed.errno)
