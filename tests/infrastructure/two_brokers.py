"""A cluster of two real brokers, of which the second may die: what it leads has no leader then, all else goes on."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from tests.infrastructure.administration import Administration
from tests.infrastructure.choose import own_server
from tests.infrastructure.kafka import KAFKA_VERSION, LocalKafka
from worker.tools.demo.embedded import HOST

VERSION = "3.9.1" if KAFKA_VERSION.startswith("4.3.") else KAFKA_VERSION
"""Kafka 4.3 forgets the marker of a partition that has no leader when its transaction ends (KAFKA-20734): what it held
there stays open for ever, unless the same producer id ends another one there, and then it is committed with that."""


class FirstBroker(LocalKafka, Administration):
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


class SecondBroker(LocalKafka):
    """A broker without a controller, in the cluster of `first`."""

    version = VERSION
    heap = "256m"
    node_id = 2

    def __init__(self, directory: Path, first: FirstBroker) -> None:
        super().__init__(directory)
        self.cluster_id, self.voters = first.cluster_id, first.voters

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
