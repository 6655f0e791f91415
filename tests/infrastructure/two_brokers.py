"""A cluster of two real brokers, of which the second may die: what it leads has no leader then, all else goes on."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.infrastructure.choose import own_server
from tests.infrastructure.kafka import KAFKA_VERSION, LocalKafka
from worker.demo.embedded import HOST

VERSION = "3.9.1" if KAFKA_VERSION.startswith("4.3.") else KAFKA_VERSION
"""Kafka 4.3 forgets the marker of a partition that has no leader when its transaction ends (KAFKA-20734): what it held
there stays open for ever, unless the same producer id ends another one there, and then it is committed with that."""

NOTICED_SECONDS = 40.0
"""The controller counts a killed broker as alive for 9 s."""


class FirstBroker(LocalKafka):
    """Broker 1 and the controller; `second` is broker 2, which a test starts and kills.

    All groups and transactions are coordinated here: the topics for them are made before broker 2 joins.
    """

    version = VERSION
    heap = "320m"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        (directory / "second").mkdir()
        self.second = SecondBroker(directory / "second", self)

    def make_internal_topics(self) -> None:
        """By their first use."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers, "transactional.id": "first", "log_level": 0})
        producer.init_transactions(30)
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": "first"})
        with suppress(KafkaException):  # NOT_COORDINATOR, while the topic is new
            consumer.committed([TopicPartition("none", 0)], 30)
        consumer.close()
        for topic in ("__consumer_offsets", "__transaction_state"):
            self.wait_for_leader(topic, 0)
            assert set(self.leaders(topic).values()) == {1}

    def make_topic(self, name: str, leaders: Sequence[int], settings: Mapping[str, str]) -> None:
        """The only replica of partition n is on broker `leaders[n]`."""
        new = NewTopic(name, len(leaders), replica_assignment=[[leader] for leader in leaders], config=dict(settings))
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})  # held: its end would be the request's
        admin.create_topics([new])[name].result(20)
        for partition in range(len(leaders)):
            self.wait_for_leader(name, partition)

    def leaders(self, topic: str) -> dict[int, int]:
        """The leader of each partition, by broker 1; -1 where there is none."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        known = admin.list_topics(topic, timeout=10)
        return {number: one.leader for number, one in known.topics[topic].partitions.items()}

    def wait_for_leader(self, topic: str, partition: int, there_is_one: bool = True) -> None:
        """Until the controller has chosen a leader, or has noticed that there is none any more."""
        deadline = time.monotonic() + NOTICED_SECONDS
        while (self.leaders(topic).get(partition, -1) != -1) is not there_is_one:
            assert time.monotonic() < deadline, f"leaders of {topic}: {self.leaders(topic)}"
            time.sleep(0.1)


class SecondBroker(LocalKafka):
    """A broker without a controller, in the cluster of `first`."""

    version = VERSION
    heap = "256m"
    node_id = 2

    def __init__(self, directory: Path, first: FirstBroker) -> None:
        super().__init__(directory)
        self._controller_port, self.cluster_id = first._controller_port, first.cluster_id

    def _settings(self) -> dict[str, str]:
        at = f"PLAINTEXT://{HOST}:{self.port}"
        return {**super()._settings(), "process.roles": "broker", "listeners": at, "advertised.listeners": at}


@contextmanager
def two_brokers() -> Iterator[FirstBroker]:
    """Both run. Skips the test where a real Kafka cannot be had."""
    with own_server(FirstBroker, "a real Kafka of two brokers") as first:
        first.make_internal_topics()
        with first.second:
            yield first
