"""A broker that makes topics by itself makes none for us: it would have one partition and the producers' time."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from confluent_kafka.admin import AdminClient

from tests.infrastructure.choose import own_server
from tests.infrastructure.kafka import LocalKafka
from tests.workbench import run_command
from worker.settings import Settings
from worker.stream.cluster.connection import Cluster, client_options
from worker.stream.log_reader import LogReader
from worker.tools.demo.embedded import HOST, free_port


class GenerousKafka(LocalKafka):
    """Makes every topic that it is asked for, as a broker does whose settings nobody touched."""

    def _settings(self) -> dict[str, str]:
        return {**super()._settings(), "auto.create.topics.enable": "true"}

    def move(self, port: int) -> None:
        """Serve at another port from the next start on."""
        text = self._properties.read_text()
        self._properties.write_text(text.replace(f"{HOST}:{self.port}", f"{HOST}:{port}"))
        self.port = port


@pytest.fixture(scope="module")
def generous() -> Iterator[GenerousKafka]:
    """A broker of our own, empty."""
    with own_server(GenerousKafka, "a real Kafka") as kafka:
        yield kafka


def _topics(kafka: LocalKafka) -> set[str]:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    return {name for name in admin.list_topics(timeout=20).topics if not name.startswith("__")}


async def _ask(settings: Settings, client: str) -> None:
    """Ask for the command topic until two seconds have passed."""
    topic, options = settings.topic_commands, client_options(settings)
    async with asyncio.timeout(2.0):
        if client == "consumer":
            async with AIOKafkaConsumer(topic, group_id="g", **options) as consumer:
                await consumer.getone()
        elif client == "producer":
            async with AIOKafkaProducer(**options) as producer:
                await producer.partitions_for(topic)
        elif client == "questions":
            assert await Cluster(settings).partition_counts([topic]) == {}
        else:
            await LogReader(Cluster(settings)).bounds(topic, [0])


@pytest.mark.parametrize("client", ["consumer", "producer", "questions", "log-reader"])
async def test_no_client_makes_a_topic_by_asking_for_it(generous: LocalKafka, client: str) -> None:
    """Each way in which the worker talks to Kafka. Seen to fail with aiokafka's `MetadataRequest`: each made it."""
    settings = Settings(kafka_bootstrap_servers=generous.bootstrap_servers, topic_commands=f"asked-by.{client}")
    with suppress(TimeoutError, KafkaError):
        await _ask(settings, client)
    assert settings.topic_commands not in _topics(generous)


def test_run_before_topics_create_makes_none(generous: LocalKafka, database_url: str) -> None:
    """It says that they are missing, and `topics create` makes them as they should be.

    Seen to fail without our `MetadataRequest`: it said so, and there they were, with one partition each.
    """
    own = {
        "PASSPORT_KAFKA_BOOTSTRAP_SERVERS": generous.bootstrap_servers,
        "PASSPORT_DATABASE_URL": database_url,
        "PASSPORT_HTTP_PORT": "0",
    }
    assert run_command("migrate", **own).returncode == 0
    done = run_command("run", **own)
    assert (done.returncode, "missing topics: " in done.stderr) == (1, True)
    assert not any(name.startswith("dpp.passport.") for name in _topics(generous))
    assert "differs" not in run_command("topics", "create", **own).stdout


@asynccontextmanager
async def _client(*addresses: str) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(**client_options(Settings(kafka_bootstrap_servers=",".join(addresses))))
    try:
        await client.bootstrap()
        yield client
    finally:
        await client.close()


async def test_b26_metadata_are_asked_for_at_a_bounded_rate(generous: GenerousKafka) -> None:
    """A fetcher that finds no leader asks again as soon as it has an answer.

    Seen to fail: nearly 2,000 requests a second, for one partition without a leader, and a core of CPU.
    """
    async with _client(generous.bootstrap_servers) as client:
        began, updates = time.monotonic(), 0
        while time.monotonic() - began < 0.5:
            assert await client.force_metadata_update()
            updates += 1
    assert 2 <= updates <= 11


async def test_b27_brokers_that_come_back_elsewhere_are_found(generous: GenerousKafka) -> None:
    """By the addresses of the settings, which still lead to them (KIP-899).

    Seen to fail: a consumer asked the addresses that it had last been told, for ever, and nobody noticed.
    """
    old, new = generous.port, free_port()
    async with _client(f"{HOST}:{old}", f"{HOST}:{new}") as client:
        generous.kill()
        generous.move(new)
        await asyncio.to_thread(generous.start)
        async with asyncio.timeout(30):
            while not await client.force_metadata_update():
                pass
        assert {broker.port for broker in client.cluster.brokers()} == {new}
