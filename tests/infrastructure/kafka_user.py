"""The KafkaUser that `deploy/` brings: its ACLs as the worker lists them, and giving and taking them on a broker."""

from collections.abc import Mapping
from typing import Any

import yaml
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.infrastructure.secure_kafka import USER
from tests.workbench import REPOSITORY
from worker.stream.cluster.permissions import Acl

KAFKA_USER = REPOSITORY / "deploy" / "kubernetes" / "components" / "strimzi" / "kafka-user.yaml"

_RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}


def kafka_user_acls() -> list[Acl]:
    """One for each operation that the file allows."""
    return acls_of(yaml.safe_load(KAFKA_USER.read_text()))


def acls_of(kafka_user: Mapping[str, Any]) -> list[Acl]:
    """One for each operation that a KafkaUser allows."""
    rules = kafka_user["spec"]["authorization"]["acls"]
    assert not [rule for rule in rules if set(rule) != {"resource", "operations"}]
    return [
        Acl(operation, one["type"], one["name"], one["patternType"] == "prefix")
        for rule in rules
        for one in [rule["resource"]]
        for operation in rule["operations"]
    ]


class Permissions:
    """What `USER` may do on a broker, as its administrator changes it."""

    def __init__(self, bootstrap_servers: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers})

    def give(self, *acls: Acl) -> None:
        """Allow these."""
        for done in self._admin.create_acls([AclBinding(*_fields(acl)) for acl in acls]).values():
            done.result(20)

    def take(self, acl: Acl) -> None:
        """Allow this no longer."""
        (done,) = self._admin.delete_acls([AclBindingFilter(*_fields(acl))]).values()
        assert len(done.result(20)) == 1, f"{acl} was not allowed"


def _fields(
    acl: Acl,
) -> tuple[ResourceType, str, ResourcePatternType, str, str, AclOperation, AclPermissionType]:
    pattern = ResourcePatternType.PREFIXED if acl.prefixed else ResourcePatternType.LITERAL
    operation = _OPERATIONS[acl.operation]
    return (_RESOURCES[acl.resource], acl.name, pattern, f"User:{USER}", "*", operation, AclPermissionType.ALLOW)
