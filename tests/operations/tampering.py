"""Result and dead-letter topics as somebody has tampered with them: copies under other names."""

from collections.abc import Mapping

from confluent_kafka import Producer

from tests.workbench import Result, Workbench, settings_of
from worker.stream.cluster.connection import Cluster
from worker.tools.common.topics import create_topics

NAMES = ("CREATED", "OVERAGE_REQUIRED", "CONFLICT", "REJECTED", "DEAD_LETTERS")
"""Of the settings that name the topics."""

Records = dict[str, list[Result]]
"""By the name of a setting, all records of its topic in order."""


def topics_of(bench: Workbench) -> dict[str, str]:
    """The worker's own, by the name of the setting."""
    return dict(zip(NAMES, (*bench.settings.result_topics, bench.dead_letters), strict=True))


def records_of(bench: Workbench) -> Records:
    """What they hold."""
    return {name: bench.read([topic]) for name, topic in topics_of(bench).items()}


def renamed(bench: Workbench, suffix: str) -> Mapping[str, str]:
    """Settings that name other topics."""
    return {f"PASSPORT_TOPIC_{name}": f"{topic}.{suffix}" for name, topic in topics_of(bench).items()}


async def copied(bench: Workbench, records: Records, suffix: str) -> Mapping[str, str]:
    """Topics with these records in place of the worker's; the settings that name them."""
    names = renamed(bench, suffix)
    cluster = Cluster(settings_of({**bench.environment, **names}))
    await create_topics(cluster, cluster._settings)
    await cluster.close()
    options = {"bootstrap.servers": bench.settings.kafka_bootstrap_servers, "enable.idempotence": True}
    producer = Producer(options)  # else what is sent again to a leader that is new goes behind later ones
    for name, found in records.items():
        for one in found:
            topic = names[f"PASSPORT_TOPIC_{name}"]
            producer.produce(topic, one.value, one.key, one.partition, headers=list(one.headers))
            producer.poll(0)
    assert producer.flush(30) == 0
    return names


def with_headers(one: Result, **headers: bytes) -> Result:
    """The same with other values of some headers."""
    changed = tuple((name, headers.get(name.replace("-", "_"), value)) for name, value in one.headers)
    return Result(one.topic, one.partition, one.offset, one.key, one.value, changed)


def with_value(one: Result, value: bytes) -> Result:
    """The same with another value."""
    return Result(one.topic, one.partition, one.offset, one.key, value, one.headers)
