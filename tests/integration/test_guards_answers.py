"""Guard B17: an error is not "no offset"."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.kafka_proxy import (
    OFFSET_FETCH,
    Frame,
    KafkaProxy,
)
from tests.integration.guards_helpers import changed, commands, publish
from tests.invariants import check_invariants
from tests.workbench import Workbench
from worker.settings import Settings
from worker.stream.offset_fetch_v7 import OffsetFetchResponse_v7

pytestmark = pytest.mark.real_kafka


@pytest.fixture
async def proxy(servers: Infrastructure) -> AsyncIterator[KafkaProxy]:
    """In front of the shared broker."""
    if servers.kafka is None:
        pytest.skip("needs a broker that advertises a proxy, which one named in the environment or in Docker does not")
    async with KafkaProxy(servers.kafka.proxy_port, servers.kafka.proxied_port) as proxy:
        yield proxy


def _through(proxy: KafkaProxy, settings: Settings) -> Settings:
    return changed(settings, kafka_bootstrap_servers=proxy.address)


# B17


def _error(answer: Frame, code: int, of_partition: bool) -> bytes:
    """The answer to an OffsetFetch for one partition as an error: of that partition, or of the whole, without any."""
    header, body = answer.payload[:_FLEXIBLE_HEADER], answer.payload[_FLEXIBLE_HEADER:]
    ((topic, ((partition, *_),), _),) = OffsetFetchResponse_v7.decode(io.BytesIO(body)).topics
    topics: list[object] = [(topic, [(partition, -1, -1, "", code, {})], {})] if of_partition else []
    error: bytes = OffsetFetchResponse_v7(0, topics, 0 if of_partition else code, {}).encode()
    return header + error


_FLEXIBLE_HEADER = 5
"""Bytes of the correlation id and of no tagged fields."""


async def test_b17_an_error_is_not_taken_for_no_offset(bench: Workbench, proxy: KafkaProxy, tmp_path: Path) -> None:
    """A worker is killed in the midst of a backlog, and the next one's first looks for E are answered with errors.

    Seen to fail where such an answer meant "no offset": E was then the lower bound that Postgres has, and the last
    batches were emitted twice.
    """
    await publish(bench, commands(bench, 0, 9000, None))
    errors, left, answered = [(14, False), (15, False), (16, False), (25, False), (16, True), (88, True)], 0, 0

    def on_answer(answer: Frame) -> bytes:
        nonlocal left
        if (answer.api_key, answer.api_version) != (OFFSET_FETCH, OffsetFetchResponse_v7.API_VERSION) or not left:
            return answer.payload
        left -= 1
        return _error(answer, *errors[0])

    proxy.on_answer = on_answer
    while errors:
        left = 2
        worker = bench.start_worker(
            tmp_path / "worker.log", PASSPORT_KAFKA_BOOTSTRAP_SERVERS=proxy.address, PASSPORT_BATCH_RECORDS="100"
        )
        answered = len(await bench.wait_for_results(answered + 300))
        assert left == 0
        worker.kill()
        errors.pop(0)
    bench.start_worker(tmp_path / "worker.log")
    await bench.wait_for_results(9000)
    await check_invariants(bench)
