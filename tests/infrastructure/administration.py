"""What an administrator of a test's cluster does: topics on chosen brokers, and who leads what."""

import asyncio
import struct
import time
from collections.abc import Collection, Mapping, Sequence

from confluent_kafka import ElectionType, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.infrastructure.flexible_request import ANSWER_SECONDS, NO_TAGS, Answer, array, compact

NOTICED_SECONDS = 40.0
"""The controller counts a killed broker as alive for 9 s, where a cluster does not say otherwise."""

_ALTER_PARTITION_REASSIGNMENTS = 45


class Administration:
    """Mixed into a cluster. Brokers that answer are asked, so that one may hang."""

    @property
    def bootstrap_servers(self) -> str:
        """Addresses of brokers that answer."""
        raise NotImplementedError

    def make_topic(self, name: str, replicas: Sequence[Sequence[int]], settings: Mapping[str, str]) -> None:
        """Partition n is on the brokers `replicas[n]`, of which the first leads it."""
        placed = [list(brokers) for brokers in replicas]
        new = NewTopic(name, len(placed), replica_assignment=placed, config=dict(settings))
        admin = self._admin()  # held: its end would be the request's
        admin.create_topics([new])[name].result(ANSWER_SECONDS)
        for partition in range(len(placed)):
            self.wait_for_leader(name, partition)

    def leaders(self, topic: str) -> dict[int, int]:
        """The leader of each partition; -1 where there is none."""
        known = self._admin().list_topics(topic, timeout=10)
        return {number: partition.leader for number, partition in known.topics[topic].partitions.items()}

    def replicas(self, topic: str) -> dict[int, list[int]]:
        """The brokers that have each partition, the preferred leader first."""
        known = self._admin().list_topics(topic, timeout=10)
        return {number: list(partition.replicas) for number, partition in known.topics[topic].partitions.items()}

    def wait_for_leader(self, topic: str, partition: int, there_is_one: bool = True) -> None:
        """Until the controller has chosen a leader, or has noticed that there is none any more."""
        deadline = time.monotonic() + NOTICED_SECONDS
        while (self.leaders(topic).get(partition, -1) != -1) is not there_is_one:
            assert time.monotonic() < deadline, f"leaders of {topic}: {self.leaders(topic)}"
            time.sleep(0.1)

    async def place(self, topic: str, replicas: Mapping[int, Sequence[int]]) -> None:
        """Give partitions these replicas; the first becomes the leader as soon as it is in sync.

        A move of `__consumer_offsets` or `__transaction_state` moves the coordinators. Raises `KafkaException` where
        the preferred leader is not in sync, and `ReassignmentRefused`.
        """
        port = int(self.bootstrap_servers.split(",")[0].rpartition(":")[2])
        await _reassign(port, topic, replicas)
        await asyncio.to_thread(self._elect, topic, replicas)

    def delete_group(self, group: str) -> bool:
        """Delete a consumer group with its offsets; False where that cannot be as yet, such as while it has members."""
        admin = self._admin()
        try:
            admin.delete_consumer_groups([group])[group].result(ANSWER_SECONDS)
        except KafkaException as refused:
            return str(refused.args[0].name()) == "GROUP_ID_NOT_FOUND"
        return True

    def _elect(self, topic: str, partitions: Collection[int]) -> None:
        """Give partitions to the first of their replicas. Raises `KafkaException`."""
        places = [TopicPartition(topic, partition) for partition in partitions]
        admin = self._admin()
        elected = admin.elect_leaders(ElectionType.PREFERRED, places)
        for error in elected.result(ANSWER_SECONDS).values():
            if error is not None and error.name() != "ELECTION_NOT_NEEDED":
                raise KafkaException(error)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})


class ReassignmentRefused(Exception):
    """The cluster does not take these replicas; the text has its answer."""


async def _reassign(port: int, topic: str, replicas: Mapping[int, Sequence[int]]) -> None:
    """AlterPartitionReassignments, which a broker passes on to the controller. Raises `ReassignmentRefused`."""
    partitions = (
        struct.pack(">i", partition) + array(*(struct.pack(">i", broker) for broker in brokers)) + NO_TAGS
        for partition, brokers in replicas.items()
    )
    topics = array(compact(topic) + array(*partitions) + NO_TAGS)
    timeout = struct.pack(">i", int(ANSWER_SECONDS * 1000))
    answer = await Answer.to(port, _ALTER_PARTITION_REASSIGNMENTS, timeout + topics + NO_TAGS)
    answer.integer()  # throttle time
    errors = [(answer.short(), answer.text())]
    for _ in range(answer.length()):
        answer.text()  # the topic
        for _ in range(answer.length()):
            answer.integer()  # the partition
            errors.append((answer.short(), answer.text()))
            answer.skip_tags()
        answer.skip_tags()
    if refusals := [f"error {code} {text}" for code, text in errors if code]:
        raise ReassignmentRefused(f"{topic}: {dict(replicas)}: {'; '.join(refusals)}")
