"""Order is promised within a channel, so only the broker can hold a flood back: by a quota (deploy/companies.md)."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.conftest import MakeBench
from tests.infrastructure.kafka_tools import kafka_configs
from tests.workbench import Workbench, tenant, until

pytestmark = pytest.mark.real_kafka

WELL, FLOODING = tenant(1), tenant(2)
FLOOD = 40_000
BYTES_A_SECOND = 65_536
"""Some 130 commands a second, as each has about 500 bytes."""
BURST_SECONDS = 3.0
"""The broker slows a producer down behind its first request, which has at most a megabyte: 2,000 commands.

A quiet machine answers them in half a second, a crowded one in three."""


@asynccontextmanager
async def _flood(bench: Workbench, client: str, least: int) -> AsyncIterator[None]:
    """A client sends commands of one company as fast as it can, into the partition that all use.

    The context begins when the broker has at least so many of them.
    """
    producer = Producer(
        {
            "bootstrap.servers": bench.settings.kafka_bootstrap_servers,
            "client.id": client,
            "queue.buffering.max.messages": FLOOD,
            "log_level": 0,
        }
    )
    topic, log = bench.settings.topic_commands, TopicPartition(bench.settings.topic_commands, 0)
    watching = Consumer({"bootstrap.servers": bench.settings.kafka_bootstrap_servers, "group.id": "nobody"})
    before = watching.get_watermark_offsets(log)[1]
    for number in range(FLOOD):
        command: Any = bench.command(FLOODING, 2, f"f{number}", partition=0, productId="x", note="x" * 250)
        producer.produce(topic, **command)
    try:
        await until(lambda: watching.get_watermark_offsets(log)[1] >= before + least, 30, "the flood is there")
        yield
    finally:
        producer.purge()
        producer.flush(10)
        watching.close()


async def _waits(bench: Workbench, name: str, times: int) -> list[float]:
    """How long another company waits for each of its passports, one after the other, in seconds."""
    created = bench.settings.topic_created
    consumer = Consumer(
        {
            "bootstrap.servers": bench.settings.kafka_bootstrap_servers,
            "group.id": name,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    place = TopicPartition(created, 0)
    place.offset = consumer.get_watermark_offsets(place)[1]
    consumer.assign([place])
    waits = []
    for number in range(times):
        began = time.monotonic()
        bench.publish([bench.command(WELL, 1, f"{name}-{number}", partition=0)])
        while (message := await asyncio.to_thread(consumer.poll, 0.05)) is None:
            assert time.monotonic() - began < 120
        assert message.error() is None
        waits.append(time.monotonic() - began)
    consumer.close()
    return waits


async def test_a_producer_with_a_quota_does_not_hold_up_others(make_bench: MakeBench, tmp_path: Path) -> None:
    """Without one, its flood is in front of whatever comes next. Both in one topic with one partition."""
    bench = await make_bench(partitions=1)
    servers = bench.settings.kafka_bootstrap_servers
    limited = f"{bench.settings.group_id}-limited"
    entity = ("--alter", "--entity-type", "clients", "--entity-name", limited)
    await asyncio.to_thread(
        kafka_configs, servers, *entity, "--add-config", f"producer_byte_rate={BYTES_A_SECOND},request_percentage=50"
    )
    log = tmp_path / "worker.log"
    worker = bench.start_worker(log)
    await until(lambda: '"event": "assigned"' in log.read_text(), 30, "the worker has the partition")
    await _waits(bench, "warm", 3)
    quiet = max(await _waits(bench, "quiet", 5))
    async with _flood(bench, limited, 100):
        beside = await _waits(bench, "beside", 10)
    worker.send_signal(signal.SIGSTOP)  # or a fast one would have answered all before anybody waits
    async with _flood(bench, f"{bench.settings.group_id}-unlimited", FLOOD):
        waiting = asyncio.create_task(_waits(bench, "behind", 1))
        worker.send_signal(signal.SIGCONT)
        (behind,) = await waiting
    await asyncio.to_thread(kafka_configs, servers, *entity, "--delete-config", "producer_byte_rate,request_percentage")
    print(f"alone {quiet:.2f} s, beside a limited flood {max(beside):.2f} s, behind an unlimited one {behind:.2f} s")
    assert max(beside) < quiet + BURST_SECONDS
    assert behind > 2 * max(beside)
