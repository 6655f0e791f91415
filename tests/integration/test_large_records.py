"""What comes out fits into its topic, headers and all, whatever an operator lets in: nothing stops a lane for good."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from confluent_kafka import Producer

from tests.integration.guards_helpers import changed, raw, running, set_topic
from tests.workbench import Workbench

pytestmark = pytest.mark.real_kafka

MIB = 1024 * 1024
PARENT = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


async def _publish(bench: Workbench, records: Sequence[tuple[bytes | None, Sequence[tuple[str, bytes]]]]) -> None:
    servers = bench.settings.kafka_bootstrap_servers
    producer = Producer({"bootstrap.servers": servers, "message.max.bytes": 10 * MIB, "enable.idempotence": True})
    for value, headers in records:
        producer.produce(bench.settings.topic_commands, value, b"key", partition=0, headers=list(headers))
    assert await asyncio.to_thread(producer.flush, 30) == 0


async def test_the_largest_command_fits_into_the_dead_letter_topic(bench: Workbench) -> None:
    """Byte for byte, headers in order: the topic takes twice as much as the command topic."""
    key, (value, headers) = b"key", raw(bench, 1, *((f"h{n}", b"x" * 16_000) for n in range(65)))
    padded = value + b" " * (MIB - 65 * 16_014 - len(value) - 250)
    await _publish(bench, [(padded, headers), (padded + b"x" * (MIB - len(padded) - 100), [])])
    async with running(bench) as one:
        await bench.wait_for_results(2)
        assert one.reopenings() == 0
    with_headers, with_value = bench.read([bench.dead_letters])
    assert (with_headers.key, with_headers.value) == (key, padded)
    assert list(with_headers.headers[:-6]) == [header for header in headers if header[0] != "authorization"]
    assert with_headers.header("dlq-reason") == "too-many-headers"
    assert (with_value.key, len(with_value.value or b"")) == (key, MIB - 100)


async def test_what_is_larger_than_the_topics_take_stops_no_lane(bench: Workbench) -> None:
    """An operator raised the limits, that of the topic under a running worker, since none would start on it.

    Seen to fail without bounds: the lane opened again for ever, and answered nobody. Many `tracestate` made an answer
    too large; a copy was too large; a header that comes back was too large.
    """
    settings = changed(bench.settings, limit_headers=1000, limit_header_bytes=MIB)
    states = [("tracestate", b"a=" + b"x" * 2900)] * 900
    long_parent = ("traceparent", b"01" + PARENT[1][2:] + b"-" + b"x" * 3 * MIB)
    records = [
        raw(bench, 0, PARENT, *states),
        (b"x" * 3 * MIB, [PARENT]),
        raw(bench, 2, long_parent),
        raw(bench, 3, PARENT, ("tracestate", b"a=1")),
    ]
    async with running(bench, settings=settings) as one:
        await set_topic(bench, bench.settings.topic_commands, "max.message.bytes", str(8 * MIB))
        await _publish(bench, records)
        results = sorted(await bench.wait_for_results(4, 30), key=lambda result: result.cause)
        assert one.reopenings() == 0
    assert [json.loads(result.value or b"").get("status") for result in results] == ["draft", 400, 400, "draft"]
    carried = [(result.header("traceparent"), result.header("tracestate")) for result in results]
    parent = PARENT[1].decode()
    assert carried == [(parent, None), (parent, None), (None, None), (parent, "a=1")]
    letters = bench.read([bench.dead_letters])
    assert [(letter.key, letter.value, letter.header("dlq-reason")) for letter in letters] == [
        (None, None, "value-too-large"),
        (None, None, "header-too-large"),
    ]
    assert [letter.header("dlq-original-offset") for letter in letters] == ["1", "2"]
    assert int(letters[0].header("dlq-omitted-bytes") or 0) > 3 * MIB
