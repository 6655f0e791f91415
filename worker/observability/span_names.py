"""Names of span attributes: those of OpenTelemetry's semantic conventions, in one version, and a few more."""

from collections.abc import Mapping

from worker.store.port import LaneName

Attributes = Mapping[str, str | int]

# The version of the conventions that the names below come from.
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

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

# The conventions have no names for these.
BATCH_START = "passport.batch.start"
BATCH_STOP = "passport.batch.stop"
TRANSACTION_LANES = "passport.transaction.lanes"
# As in the header `ce_causationid` of the result: `<topic>/<partition>/<offset>` of the command.
CAUSATION_ID = "passport.causation_id"

PROCESS: Attributes = {MESSAGING_OPERATION_NAME: "process", MESSAGING_OPERATION_TYPE: "process"}
# For the transaction of each side.
SYSTEM: Mapping[str, Attributes] = {
    "postgresql": {DB_SYSTEM_NAME: "postgresql"},
    "kafka": {MESSAGING_SYSTEM: "kafka"},
}
SEND: Attributes = {MESSAGING_OPERATION_NAME: "send", MESSAGING_OPERATION_TYPE: "send"}


def place(topic: str, partition: int) -> Attributes:
    """A partition of commands or of results."""
    return {
        MESSAGING_SYSTEM: "kafka",
        MESSAGING_DESTINATION_NAME: topic,
        MESSAGING_DESTINATION_PARTITION_ID: str(partition),
    }


def lane(name: LaneName) -> Attributes:
    """A partition of commands, with its consumer group."""
    return {**place(name.topic, name.partition), MESSAGING_CONSUMER_GROUP_NAME: name.group_id}
