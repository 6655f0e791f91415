"""Guards B9 and B15, and what the worker asks of its topics before it starts."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiokafka.errors import InvalidReplicationFactorError, KafkaConnectionError
from confluent_kafka import KafkaError, Producer
from structlog.testing import capture_logs

from tests.batches import batch_of
from tests.contract.world import NOW_MS
from tests.integration.guards_helpers import changed, raise_partitions, running, set_topic
from tests.workbench import Workbench, until
from worker.app import make_worker
from worker.messages.events import Answer
from worker.messages.rules import Kind
from worker.observability.hooks import Hooks
from worker.preflight import Preflight, findings
from worker.service import CannotStart
from worker.settings import Settings
from worker.store.port import LaneName
from worker.store.postgres import PostgresStore
from worker.stream.cluster.connection import Cluster
from worker.stream.cluster.credentials import Refused
from worker.stream.producer import Emitter
from worker.tools.common.topics import create_topics
from worker.tools.demo.embedded import free_port

pytestmark = pytest.mark.real_kafka


@pytest.fixture
async def cluster(bench: Workbench) -> AsyncIterator[Cluster]:
    """Questions to the shared broker."""
    cluster = Cluster(bench.settings)
    yield cluster
    await cluster.close()


# B9


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_b9_a_compressed_bomb_is_refused_by_the_broker(bench: Workbench, codec: str) -> None:
    """The size limit of the command topic counts inflated bytes: 20 MB of blanks in a small batch do not get in.

    Seen to fail without `compression.type` in `wanted_topics`: the broker took the batch.
    """
    errors = list[KafkaError | None]()
    servers = bench.settings.kafka_bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "compression.type": codec, "message.max.bytes": 30_000_000})
    bomb = b" " * 20_000_000
    producer.produce(bench.settings.topic_commands, bomb, on_delivery=lambda error, _: errors.append(error))
    assert await asyncio.to_thread(producer.flush, 60) == 0
    assert [error and error.code() for error in errors] == [KafkaError.MSG_SIZE_TOO_LARGE]


# B15


async def test_b15_a_topic_that_cannot_be_made_is_an_error(bench: Workbench, cluster: Cluster) -> None:
    """An error code for a topic is raised, and names it.

    Seen to fail without the look at `topic_errors`: it claimed success, and there was no topic.
    """
    settings = changed(bench.settings, topic_commands=f"{bench.settings.topic_commands}.new", topic_replication=3)
    with pytest.raises(InvalidReplicationFactorError, match=f"topic {settings.topic_commands}"):
        await create_topics(cluster, settings)
    assert await cluster.partition_counts([settings.topic_commands]) == {}


# Before the start


async def _fatal(cluster: Cluster, settings: Settings) -> list[str]:
    """What keeps a worker from starting on these topics."""
    checks = Preflight(settings, PostgresStore(settings.database, 1), cluster).of_kafka
    return [str(one) for one in await findings(checks) if one.is_fatal]


async def test_a_broker_that_is_away_is_no_refusal(bench: Workbench) -> None:
    """Nor is one that speaks another protocol: that is waited for, and the reason is told; aiokafka only logs it."""
    away = changed(bench.settings, kafka_bootstrap_servers=f"127.0.0.1:{free_port()}")
    with pytest.raises(KafkaConnectionError, match="connection refused") as caught:
        await Cluster(away).ping()
    assert not isinstance(caught.value, Refused)
    with pytest.raises(KafkaConnectionError, match=r"ConnectionResetError|SSLError") as caught:
        await Cluster(changed(bench.settings, kafka_security_protocol="SSL")).ping()
    assert not isinstance(caught.value, Refused)


async def test_topics_as_they_were_made_are_fit(bench: Workbench, cluster: Cluster) -> None:
    """What `topics create` makes, `run` accepts, and a second `topics create` finds nothing to say."""
    assert await _fatal(cluster, bench.settings) == []
    assert await create_topics(cluster, bench.settings) == ([], [])


async def test_producer_time_is_refused_unless_it_is_allowed(bench: Workbench, cluster: Cluster) -> None:
    """A command topic with CreateTime stops the worker, with advice; the setting that the advice names lets it run."""
    await set_topic(bench, bench.settings.topic_commands, "message.timestamp.type", "CreateTime")
    assert await _fatal(cluster, bench.settings) == [
        f"{bench.settings.topic_commands} has message.timestamp.type=CreateTime, but every rule goes by the append "
        "time. Set it to LogAppendTime, or set PASSPORT_ALLOW_PRODUCER_TIME=true to trust the producers' clocks."
    ]
    assert await _fatal(cluster, changed(bench.settings, allow_producer_time=True)) == []
    with pytest.raises(CannotStart, match="CreateTime"):
        await asyncio.wait_for(make_worker(bench.settings).run(), 30)


async def test_missing_topics_are_named(bench: Workbench, cluster: Cluster) -> None:
    """A worker without its topics stops, and says which command makes them."""
    prefix = bench.settings.topic_commands
    settings = changed(bench.settings, topic_created=f"{prefix}.no1", topic_rejected=f"{prefix}.no2")
    assert await _fatal(cluster, settings) == [
        f"missing topics: {prefix}.no1, {prefix}.no2. Run `passport-worker topics create`."
    ]


async def test_a_session_starts_while_a_channel_lacks_its_topics(bench: Workbench, cluster: Cluster) -> None:
    """Somebody deleted them beneath running workers. Its lanes go on when the topics are there again.

    Seen to fail: it waited for them for 5 s, and then another session did, which answered nobody on any channel.
    """
    settings = changed(bench.settings, channels="acme")
    acme = settings.of_channel("acme")
    emitter = Emitter(settings, f"{settings.group_id}.one", Hooks())
    try:
        await emitter.start()
        own, others = (LaneName("group", topic, 1) for topic in settings.by_commands)
        assert emitter.find_obstacle(own) is None
        assert emitter.find_obstacle(others) == f"Kafka knows no topic {acme.topic_created}"
        await emitter.emit([batch_of(own, 1, Answer(0, NOW_MS, Kind.REJECTED, "key", b"{}"))])
        await create_topics(cluster, acme)
        await until(lambda: emitter.find_obstacle(others) is None, 10, "its topics are there")
        assert emitter.find_obstacle(own) is None
    finally:
        await emitter.close()


async def test_topics_create_makes_what_is_missing_and_reports_what_differs(bench: Workbench, cluster: Cluster) -> None:
    """Each difference says what is, what was expected and what to do, and nothing that exists is changed."""
    await set_topic(bench, bench.settings.topic_commands, "compression.type", "gzip")
    await set_topic(bench, bench.settings.topic_created, "max.message.bytes", "1000")
    settings = changed(bench.settings, topic_partitions=5, topic_conflict=f"{bench.settings.topic_conflict}.new")
    created, drift = await create_topics(cluster, settings)
    assert created == [settings.topic_conflict]
    others = (settings.topic_overage_required, settings.topic_rejected, settings.dead_letter_topic)
    expected = [
        f"{settings.topic_commands}: compression.type is gzip, expected uncompressed: ",
        f"{settings.topic_created}: max.message.bytes is 1000, expected 2097152 or more: ",
        *(
            f"{topic}: has 2 partitions, expected 5. "
            for topic in (settings.topic_commands, settings.topic_created, *others)
        ),
    ]
    assert len(drift) == len(expected)
    for one in expected:
        (sentence,) = [sentence for sentence in drift if sentence.startswith(one)]
        assert "with kafka-" in sentence
    assert (await cluster.topic_settings(settings.topic_created))["max.message.bytes"] == "1000"
    assert await cluster.partition_counts([settings.topic_conflict]) == {settings.topic_conflict: 5}


async def test_topics_that_could_stop_a_lane_are_refused_all_at_once(bench: Workbench, cluster: Cluster) -> None:
    """With topic, setting, what is and what is expected; see `tests/unit/test_topics.py` for each.

    Seen to fail without `differences`: it ran, and an answer that did not fit made its lane reopen for ever.
    """
    settings = bench.settings
    await set_topic(bench, settings.topic_created, "max.message.bytes", "1048576")
    await set_topic(bench, settings.dead_letter_topic, "cleanup.policy", "compact")
    await raise_partitions(bench, settings.topic_commands, 3)
    with pytest.raises(CannotStart) as caught:
        await asyncio.wait_for(make_worker(settings).run(), 30)
    told = str(caught.value)
    assert f"{settings.topic_created}: max.message.bytes is 1048576, expected 2097152 or more: " in told
    assert f"{settings.dead_letter_topic}: cleanup.policy is compact, expected delete: " in told
    for topic in (*settings.result_topics, settings.dead_letter_topic):
        assert f"{topic}: has 2 partitions, expected 3. " in told


async def test_what_is_only_unusual_is_logged(bench: Workbench) -> None:
    """And the worker runs."""
    await set_topic(bench, bench.settings.topic_created, "cleanup.policy", "compact")
    with capture_logs() as logs:
        async with running(bench):
            pass
    (warning,) = [one for one in logs if one["event"] == "unusual"]
    assert warning["check"] == "topics.retention"
    assert warning["finding"].startswith(
        f"{bench.settings.topic_created}: cleanup.policy is compact, expected delete: "
    )
    assert "kafka-configs.sh" in warning["advice"]


_REFUSED_BY_BROKERS = {
    "cleanup.policy": ("compact", None, 10),
    "segment.bytes": ("1048576", b"key", 1_900_000),
    "max.message.bytes": ("1048576", b"key", 1_900_000),
    "message.timestamp.before.max.ms": ("0", b"key", 10),
}


@pytest.mark.parametrize("setting", _REFUSED_BY_BROKERS)
async def test_what_is_refused_at_the_start_is_what_brokers_refuse(bench: Workbench, setting: str) -> None:
    """A dead letter without a key, a large answer, and an answer whose time is a second ago when it arrives.

    The last one on a topic whose records keep their producer's time, as earlier versions made them.
    """
    value, key, size = _REFUSED_BY_BROKERS[setting]
    topic, errors = bench.settings.dead_letter_topic, list[KafkaError | None]()
    producer = Producer({"bootstrap.servers": bench.settings.kafka_bootstrap_servers, "message.max.bytes": 4_000_000})

    def send() -> None:
        producer.produce(
            topic,
            b"v" * size,
            key,
            timestamp=int(time.time() * 1000) - 1000,
            on_delivery=lambda error, _: errors.append(error),
        )
        producer.flush(30)

    await set_topic(bench, topic, "message.timestamp.type", "CreateTime")
    await asyncio.to_thread(send)
    assert errors == [None]
    await set_topic(bench, topic, setting, value)
    async with asyncio.timeout(10):
        while errors[-1] is None:  # the leader learns of the setting a moment later
            await asyncio.to_thread(send)
