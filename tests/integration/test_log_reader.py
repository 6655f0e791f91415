"""Looking into logs over connections that are kept: a leader that dies or moves is found again."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from confluent_kafka import ElectionType, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.infrastructure.two_brokers import FirstBroker, two_brokers
from tests.workbench import until
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster
from worker.stream.log_reader import Bounds, LogReader

pytestmark = pytest.mark.real_kafka

TOPIC = "moved"
LONG_AGO, IN_A_WHILE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def kafka() -> Iterator[FirstBroker]:
    """Two brokers; broker 2 leads partition 0 of a topic as long as it lives, broker 1 the other one."""
    with two_brokers() as kafka:
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        admin.create_topics([NewTopic(TOPIC, 2, replica_assignment=[[2, 1], [1, 2]])])[TOPIC].result(20)
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        for number in range(20):
            producer.produce(TOPIC, str(number), partition=number % 2)
        assert producer.flush(20) == 0
        yield kafka


async def _look(reader: LogReader) -> None:
    """At both partitions."""
    assert await reader.bounds(TOPIC, [0, 1]) == {0: Bounds(0, 10), 1: Bounds(0, 10)}
    assert await reader.first_since(TOPIC, [0, 1], LONG_AGO) == {0: 0, 1: 0}
    assert await reader.first_since(TOPIC, [0, 1], IN_A_WHILE) == {0: 10, 1: 10}
    found = await asyncio.gather(*(reader.record(TOPIC, n % 2, n // 2) for n in range(20)))
    assert [one.value for one in found if one is not None] == [b"%d" % n for n in range(20)]
    assert [[one.offset for one in records] async for records in reader.read(TOPIC, 0, 4, 7)] == [[4, 5, 6]]
    assert await reader.record(TOPIC, 0, 10) is None
    assert await reader.record(TOPIC, 0, 99) is None


def _elected(kafka: FirstBroker) -> int:
    """Who leads partition 0, after the cluster was asked to give it to the first of its replicas."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    admin.elect_leaders(ElectionType.PREFERRED, [TopicPartition(TOPIC, 0)]).result(20)
    return kafka.leaders(TOPIC)[0]


async def test_a_leader_is_found_again(kafka: FirstBroker) -> None:
    """The one who took over from a broker that died; and the one who took it back, while both live."""
    cluster = Cluster(Settings(kafka_bootstrap_servers=kafka.bootstrap_servers))
    try:
        await _look(LogReader(cluster))
        assert kafka.leaders(TOPIC) == {0: 2, 1: 1}
        await asyncio.to_thread(kafka.second.kill)
        await until(lambda: kafka.leaders(TOPIC)[0] == 1, 40, "broker 1 takes over")
        await _look(LogReader(cluster))
        await asyncio.to_thread(kafka.second.start)
        await until(lambda: _elected(kafka) == 2, 40, "broker 2 takes it back")
        await _look(LogReader(cluster))
    finally:
        await cluster.close()
