"""The parts of a run do what its lines say: a fault that breaks nothing would let every worker pass."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import pytest
from confluent_kafka import KafkaException, Producer

from tests.chaos.faults import FAULTS, deal
from tests.chaos.load import Mix
from tests.chaos.stranger import LIST_TRANSACTIONS, fence, transactional_ids
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.kafka_proxy import METADATA, KafkaProxy
from tests.infrastructure.link import Link
from tests.infrastructure.three_brokers import Network
from tests.workbench import Workbench, settings_of
from worker.tools.demo.embedded import HOST

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    """In front of a server that says everything twice."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data * 2)
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server, Link(server.sockets[0].getsockname()[1]) as link:
        yield link


async def _say(ends: Ends, text: bytes, seconds: float = 10.0) -> bytes:
    ends[1].write(text)
    return await asyncio.wait_for(ends[0].readexactly(2 * len(text)), seconds)


async def test_a_link_carries_both_ways(link: Link) -> None:
    """Also when it is slow."""
    ends = await asyncio.open_connection(HOST, link.port)
    assert await _say(ends, b"a") == b"aa"
    link.latency_seconds = 0.4
    with pytest.raises(TimeoutError):
        await _say(ends, b"b", 0.3)
    assert await ends[0].readexactly(2) == b"bb"


@pytest.mark.parametrize(("requests", "answers"), [(True, False), (False, True), (True, True)])
async def test_a_silence_holds_what_is_said_and_delivers_it_late(link: Link, requests: bool, answers: bool) -> None:
    """Over connections from before the silence and over new ones."""
    old = await asyncio.open_connection(HOST, link.port)
    link.silence(requests=requests, answers=answers)
    new = await asyncio.open_connection(HOST, link.port)
    for ends in (old, new):
        with pytest.raises(TimeoutError):
            await _say(ends, b"a", 0.3)
    link.hear()
    for ends in (old, new):
        assert await ends[0].readexactly(2) == b"aa"


async def test_a_cut_resets_and_loses_what_was_held_back(link: Link) -> None:
    """The client sees a reset, no orderly end; new connections work."""
    ends = await asyncio.open_connection(HOST, link.port)
    link.silence(requests=True, answers=True)
    ends[1].write(b"a")
    await asyncio.sleep(0.1)
    link.cut()
    link.hear()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(ends[0].read(1), 5)
    assert await _say(await asyncio.open_connection(HOST, link.port), b"b") == b"bb"


@pytest.mark.real_kafka
async def test_answers_of_one_kind_are_late(servers: Infrastructure) -> None:
    """By as much as was said; all others come at once."""
    kafka = servers.kafka
    if kafka is None:
        pytest.skip("needs a Kafka with a listener for a proxy, which only the tests' own has")
    async with KafkaProxy(kafka.proxy_port, kafka.proxied_port) as proxy:
        network = Network({}, {kafka.node_id: proxy})
        for late in ({LIST_TRANSACTIONS: 0.6}, {METADATA: 0.6}, {}):
            network.make_late(late)
            began = time.monotonic()
            await transactional_ids([kafka.proxy_port], "")
            assert (time.monotonic() - began > 0.6) is (LIST_TRANSACTIONS in late)


@pytest.mark.real_kafka
async def test_a_stranger_takes_a_transactional_id_over(servers: Infrastructure, bench: Workbench) -> None:
    """The broker lists it, and refuses its owner from then on."""
    name, port = f"{bench.settings.group_id}.one", int(servers.bootstrap_servers.rpartition(":")[2])
    owner = Producer({"bootstrap.servers": servers.bootstrap_servers, "transactional.id": name, "log_level": 0})
    await asyncio.to_thread(owner.init_transactions, 20)
    assert await transactional_ids([port], bench.settings.group_id) == [name]
    await asyncio.to_thread(fence, servers.bootstrap_servers, name)
    owner.begin_transaction()
    owner.produce(bench.settings.topic_created, b"x")
    with pytest.raises(KafkaException):
        await asyncio.to_thread(owner.commit_transaction, 20)


def test_a_seed_deals_the_same_faults_and_all_kinds_of_them() -> None:
    """Each as often as it is in the deck."""
    two_decks = 2 * sum(often for _, often in FAULTS.values())
    dealt = deal(Random(1), two_decks, tuple(FAULTS))
    assert Counter(dealt) == {kind: 2 * often for kind, (_, often) in FAULTS.items()}
    assert dealt == deal(Random(1), two_decks, tuple(FAULTS))


def test_a_seed_publishes_the_same_commands() -> None:
    """Of which many are repeated."""
    bench = Workbench({}, settings_of({}))
    one, same = ([Mix(bench, seed).command(number) for number in range(4000)] for seed in (1, 1))
    assert one == same
    values = Counter(command["value"] for command in one)
    assert 0.1 < sum(times > 1 for times in values.values()) / len(one) < 0.4
