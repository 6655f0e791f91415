"""Guards B17 and B20: an error is not "no offset", and a request whose answer is lost is not sent a second time."""

import asyncio
import io
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import MakeBench
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.kafka_proxy import (
    ADD_PARTITIONS,
    END_TXN,
    OFFSET_FETCH,
    PRODUCE,
    TXN_OFFSET_COMMIT,
    Cut,
    Deliver,
    Frame,
    KafkaProxy,
    pass_on,
)
from tests.integration.guards_helpers import changed, commands, publish, running
from tests.invariants import check_invariants
from tests.workbench import Workbench
from worker.settings import Settings
from worker.stream import producer as producer_module
from worker.stream.cluster.offset_fetch_v7 import OffsetFetchResponse_v7

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


async def _applied(bench: Workbench) -> int:
    """How many commands Postgres has answers to."""
    connection = await bench.connect()
    try:
        return int(await connection.fetchval("SELECT coalesce(sum(applied), 0) FROM lane"))
    finally:
        await connection.close()


async def test_b17_an_error_is_not_taken_for_no_offset(bench: Workbench, proxy: KafkaProxy, tmp_path: Path) -> None:
    """A worker is killed in the midst of a backlog, and the next one's first looks for E are answered with errors.

    Seen to fail where such an answer meant "no offset": E was then the lower bound that Postgres has, and the last
    batches were emitted twice.
    """
    await publish(bench, commands(bench, 0, 9000, None))
    errors, left = [(14, False), (15, False), (16, False), (25, False), (16, True), (88, True)], 0

    def on_answer(answer: Frame) -> bytes:
        nonlocal left
        if (answer.api_key, answer.api_version) != (OFFSET_FETCH, OffsetFetchResponse_v7.API_VERSION) or not left:
            return answer.payload
        left -= 1
        return _error(answer, *errors[0])

    proxy.on_answer = on_answer
    while errors:
        left, before = 2, await _applied(bench)
        worker = bench.start_worker(
            tmp_path / "worker.log", PASSPORT_KAFKA_BOOTSTRAP_SERVERS=proxy.address, PASSPORT_BATCH_RECORDS="100"
        )
        while await _applied(bench) < before + 300:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert left == 0
        worker.kill()
        errors.pop(0)
    assert await _applied(bench) < 9000
    bench.start_worker(tmp_path / "worker.log")
    await bench.wait_for_results(9000)
    await check_invariants(bench)


# B20


class Late:
    """Breaks the connection at one request of a kind and delivers that request later, when `deliver` is called."""

    def __init__(self, api_key: int) -> None:
        self._api_key = api_key
        self._held: Deliver | None = None
        self.armed = False
        self.delivered = False

    def token(self, request: Frame, deliver: Deliver) -> None:
        """Raises `Cut` for the first request of the kind once it is armed."""
        if self.armed and request.api_key == self._api_key:
            self.armed, self._held = False, deliver
            raise Cut

    async def deliver(self) -> None:
        """The held request reaches the broker now, and is answered."""
        if self._held is not None:
            held, self._held = self._held, None
            await held()
            self.delivered = True


@pytest.fixture
def many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction of some dozens of results takes several produce requests, one after the other."""
    monkeypatch.setattr(producer_module, "RECORD_BATCH_BYTES", 4000)


@pytest.mark.usefixtures("many_requests")
async def test_b20_a_late_end_of_one_transaction_does_not_commit_half_of_the_next(
    make_bench: MakeBench, proxy: KafkaProxy
) -> None:
    """EndTxn reaches the broker when the next transaction has sent the first of its results.

    Seen to fail while aiokafka sent EndTxn again by itself: these results were committed without their offset, the
    others were refused, and all of them were emitted again.
    """
    bench = await make_bench(partitions=1)
    late, produced = Late(END_TXN), 0

    async def on_request(request: Frame, deliver: Deliver) -> None:
        nonlocal produced
        late.token(request, deliver)
        if request.api_key == END_TXN:
            produced = 0
        elif request.api_key == PRODUCE:
            produced += 1
            if produced > 1:
                await late.deliver()

    proxy.on_request = on_request
    async with running(bench, settings=_through(proxy, bench.settings)) as one:
        await publish(bench, commands(bench, 0, 50))
        await one.emitted(50)
        late.armed = True
        await publish(bench, commands(bench, 50, 100))
        await one.emitted(100)
        await publish(bench, commands(bench, 100, 150))
        await one.emitted(150)
        assert late.delivered
    await check_invariants(bench)


async def test_b20_a_late_offset_does_not_undo_a_later_one(make_bench: MakeBench, proxy: KafkaProxy) -> None:
    """TxnOffsetCommit reaches the broker when the next transaction is about to end.

    Seen to fail while aiokafka sent it again by itself: the older offset was committed with the next transaction, and
    whoever opened the lane then emitted that one's results again.
    """
    bench = await make_bench(partitions=1)
    late, ended = Late(TXN_OFFSET_COMMIT), 0

    async def on_request(request: Frame, deliver: Deliver) -> None:
        nonlocal ended
        late.token(request, deliver)
        if request.api_key == END_TXN and not late.armed:
            ended += 1
            if ended == 2:
                await late.deliver()

    proxy.on_request = on_request
    async with running(bench, settings=_through(proxy, bench.settings)) as one:
        await publish(bench, commands(bench, 0, 10))
        await one.emitted(10)
        ended, late.armed = 0, True
        await publish(bench, commands(bench, 10, 20))
        await one.emitted(20)
        await publish(bench, commands(bench, 20, 30))
        await one.emitted(30)
        assert late.delivered
        assert await one.committed() == 30
    async with running(bench) as one:
        await one.emitted(30)
    await check_invariants(bench)


@pytest.mark.usefixtures("many_requests")
@pytest.mark.parametrize(
    "api_key",
    [END_TXN, TXN_OFFSET_COMMIT, *(pytest.param(key, marks=pytest.mark.repeat) for key in (ADD_PARTITIONS, PRODUCE))],
)
async def test_b20_whatever_arrives_late_doubles_nothing(
    make_bench: MakeBench, proxy: KafkaProxy, api_key: int
) -> None:
    """Under load, each fourth request of a kind loses its connection and arrives 5 to 100 ms later.

    AddPartitions cannot do harm: it only adds a partition that this or the next transaction of the lane writes to
    anyway, or that gets a marker more. Produce cannot: the broker knows each batch by its sequence number, and whatever
    was sent under an epoch that has been fenced is refused.
    """
    bench = await make_bench(partitions=6)
    dice, lates, seen = random.Random(api_key), set[asyncio.Task[bytes]](), 0

    async def arrive(deliver: Deliver) -> bytes:
        await asyncio.sleep(dice.uniform(0.005, 0.1))
        return await deliver()

    async def on_request(request: Frame, deliver: Deliver) -> None:
        nonlocal seen
        if request.api_key == api_key:
            seen += 1
            if seen % 4 == 0:
                lates.add(asyncio.create_task(arrive(deliver)))
                raise Cut

    proxy.on_request = on_request
    published = 0
    async with running(bench, settings=_through(proxy, changed(bench.settings, batch_records=100))):
        while len(lates) < 12:
            assert published < 20_000, f"only {len(lates)} requests were late"
            more = commands(bench, published, published + 120)
            await publish(bench, ({**one, "partition": n % 6} for n, one in enumerate(more)))
            published += 120
            await asyncio.sleep(0.05)
        proxy.on_request = pass_on
        await bench.wait_for_results(published)
    await asyncio.gather(*lates)
    await check_invariants(bench)
