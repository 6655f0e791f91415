"""What spans say, in the words of OpenTelemetry's semantic conventions, pinned to one version, and a few of our own."""

from collections.abc import Mapping

from worker.store.port import LaneName

Attributes = Mapping[str, str | int]

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the conventions for messaging, and for errors, that the names below are from."""

MESSAGING_SYSTEM = "messaging.system"
MESSAGING_OPERATION_NAME = "messaging.operation.name"
MESSAGING_OPERATION_TYPE = "messaging.operation.type"
MESSAGING_DESTINATION_NAME = "messaging.destination.name"
MESSAGING_DESTINATION_PARTITION_ID = "messaging.destination.partition.id"
MESSAGING_CONSUMER_GROUP_NAME = "messaging.consumer.group.name"
MESSAGING_BATCH_MESSAGE_COUNT = "messaging.batch.message_count"
MESSAGING_KAFKA_OFFSET = "messaging.kafka.offset"
ERROR_TYPE = "error.type"
DB_SYSTEM_NAME = "db.system.name"

# What the conventions have no name for.
BATCH_START = "passport.batch.start"
BATCH_STOP = "passport.batch.stop"
TRANSACTION_LANES = "passport.transaction.lanes"
CAUSATION_ID = "passport.causation_id"
"""The same as the header `ce_causationid` of the result: `<topic>/<partition>/<offset>` of the command."""

PROCESS: Attributes = {MESSAGING_OPERATION_NAME: "process", MESSAGING_OPERATION_TYPE: "process"}
SYSTEM: Mapping[str, Attributes] = {
    "postgresql": {DB_SYSTEM_NAME: "postgresql"},
    "kafka": {MESSAGING_SYSTEM: "kafka"},
}
"""Of a transaction, by whose it is."""
SEND: Attributes = {MESSAGING_OPERATION_NAME: "send", MESSAGING_OPERATION_TYPE: "send"}


def place(topic: str, partition: int) -> Attributes:
    """A partition, of commands or of results."""
    return {
        MESSAGING_SYSTEM: "kafka",
        MESSAGING_DESTINATION_NAME: topic,
        MESSAGING_DESTINATION_PARTITION_ID: str(partition),
    }


def lane(name: LaneName) -> Attributes:
    """A partition of commands, as a group reads it."""
    return {**place(name.topic, name.partition), MESSAGING_CONSUMER_GROUP_NAME: name.group_id}
