"""A cluster of three real brokers, each of which may hang, die, or be out of one worker's reach.

    with three_brokers(session_ms=90_000, workers=2) as kafka:  # skips the test where there is no Kafka
        kafka.make_topic("t", [[1, 2], [3, 1]], {"min.insync.replicas": "2"})  # replicas of each partition
        async with kafka.network(0) as network:  # of worker 0: a link and a proxy before each broker
            start_worker(PASSPORT_KAFKA_BOOTSTRAP_SERVERS=network.addresses)
            kafka.broker(3).freeze()  # SIGSTOP; still alive to the others for `session_ms`
            network.links[1].silence(requests=True, answers=False)  # broker 1 hears nothing from this worker
            network.make_late({METADATA: 2.0})  # answers of that kind, from whichever broker
            await kafka.move("t", to=2)  # leaders; of `__consumer_offsets`, `__transaction_state`: coordinators
            kafka.broker(3).thaw()

Each broker is a JVM with a controller, too, so that any of them may go; one that died starts anew only when its session
is over, so keep that short where brokers die. Topics have three replicas, of which two must
be in sync; a follower that hangs is out of sync after 1.5 s. The listeners of a worker advertise its proxies alone, so
that no metadata leads past them; `bootstrap_servers` and `make_topic` go to the brokers themselves.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Self

from tests.infrastructure.administration import Administration
from tests.infrastructure.choose import own_server
from tests.infrastructure.kafka import SINGLE_BROKER, LocalKafka
from tests.infrastructure.kafka_proxy import Frame, KafkaProxy, OnRequest
from tests.infrastructure.link import Link

NODES = (1, 2, 3)

OFFSETS, TRANSACTIONS = "__consumer_offsets", "__transaction_state"
"""Whoever leads a partition of these coordinates groups, and transactions."""

SESSION_MS = 9000
"""So long Kafka itself counts a broker as alive that says nothing."""

_SEVERAL_BROKERS = {
    **SINGLE_BROKER,
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "replica.lag.time.max.ms": "1500",
}


class _Broker(LocalKafka):
    """One of them."""

    heap = "420m"

    def __init__(
        self, directory: Path, node_id: int, settings: Mapping[str, str], session_ms: int, workers: int
    ) -> None:
        directory.mkdir()
        self.node_id = node_id
        self.cluster_settings = {**settings, "broker.session.timeout.ms": str(session_ms)}
        self._is_frozen = False
        super().__init__(directory, proxies=workers)

    @property
    def is_awake(self) -> bool:
        """Whether it was started, and neither killed nor frozen since."""
        return self._process is not None and not self._is_frozen

    def freeze(self) -> None:
        """As any server."""
        self._is_frozen = True
        super().freeze()

    def thaw(self) -> None:
        """As any server."""
        super().thaw()
        self._is_frozen = False

    def kill(self) -> None:
        """As any server."""
        super().kill()
        self._is_frozen = False


class Network:
    """What one worker sees of the brokers: a proxy before each of them, and behind it a link."""

    def __init__(self, links: Mapping[int, Link], proxies: Mapping[int, KafkaProxy]) -> None:
        self.links, self.proxies = links, proxies

    @property
    def addresses(self) -> str:
        """For `PASSPORT_KAFKA_BOOTSTRAP_SERVERS`."""
        return ",".join(proxy.address for proxy in self.proxies.values())

    def on_request(self, hook: OnRequest) -> None:
        """See `KafkaProxy`; of requests to any broker."""
        for proxy in self.proxies.values():
            proxy.on_request = hook

    def make_late(self, seconds: Mapping[int, float], every: int = 1) -> None:
        """Hold up every n-th answer to requests of these kinds (`api_key`) from now on; none where there are no kinds.

        What comes behind it from the same broker on the same connection waits, too.
        """
        late, seen = dict(seconds), 0

        def lateness(answer: Frame) -> float:
            nonlocal seen
            seen += answer.api_key in late
            return late.get(answer.api_key, 0.0) if seen % every == 0 else 0.0

        for proxy in self.proxies.values():
            proxy.lateness = lateness


class ThreeBrokers(Administration):
    """All run while it is entered; `broker(n)` is a process of its own, to be killed, started, frozen and thawed.

    `workers` is for how many of them there is a network. With one of the `nodes`, it is a cluster of one broker.
    """

    def __init__(
        self, directory: Path, session_ms: int = SESSION_MS, workers: int = 1, nodes: Sequence[int] = NODES
    ) -> None:
        settings = _SEVERAL_BROKERS if len(nodes) > 1 else SINGLE_BROKER
        self._brokers = {
            node: _Broker(directory / f"broker-{node}", node, settings, session_ms, workers) for node in nodes
        }
        first, voters = self._brokers[1], ",".join(broker.voters for broker in self._brokers.values())
        for broker in self._brokers.values():
            broker.cluster_id, broker.voters = first.cluster_id, voters

    def broker(self, node: int) -> LocalKafka:
        """The broker of that number."""
        return self._brokers[node]

    @property
    def nodes(self) -> Sequence[int]:
        """The numbers of the brokers."""
        return tuple(self._brokers)

    @property
    def brokers(self) -> Sequence[LocalKafka]:
        """All of them."""
        return tuple(self._brokers.values())

    @property
    def bootstrap_servers(self) -> str:
        """Of the brokers that were neither killed nor frozen."""
        awake = [broker for broker in self._brokers.values() if broker.is_awake]
        return ",".join(broker.bootstrap_servers for broker in awake)

    def __enter__(self) -> Self:
        return self.start()

    def start(self) -> Self:
        """At once: none of them serves without another."""
        with ThreadPoolExecutor() as threads:
            starting = [threads.submit(broker.start) for broker in self._brokers.values()]
        try:
            for started in starting:
                started.result()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Safe for those that do not run. Nobody needs what they have on disk, so they get no time to close."""
        for broker in self._brokers.values():
            broker.kill()

    def make_coordinators(self, nodes: Collection[int]) -> None:
        """These alone coordinate groups and transactions; before any client has needed a coordinator."""
        for name in (OFFSETS, TRANSACTIONS):
            count = int(_SEVERAL_BROKERS["offsets.topic.num.partitions"])
            ring = [*nodes, *nodes]
            replicas = [ring[at % len(nodes) :][: len(nodes)] for at in range(count)]
            self.make_topic(name, replicas, {"cleanup.policy": "compact"})

    async def move(self, topic: str, to: int, partitions: Collection[int] | None = None) -> None:
        """Make a broker the leader of partitions of which it has a replica. Raises as `place`."""
        replicas = await asyncio.to_thread(self.replicas, topic)
        await self.place(
            topic,
            {
                partition: sorted(brokers, key=lambda node: node != to)
                for partition, brokers in replicas.items()
                if to in brokers and (partitions is None or partition in partitions)
            },
        )

    async def relieve(self, node: int, *topics: str) -> None:
        """Let others lead all that a broker leads of these topics. Raises as `place`."""
        for topic in topics:
            replicas = await asyncio.to_thread(self.replicas, topic)
            others_first = {at: sorted(brokers, key=lambda each: each == node) for at, brokers in replicas.items()}
            await self.place(topic, others_first)

    @asynccontextmanager
    async def network(self, worker: int) -> AsyncIterator[Network]:
        """Of one of the workers, counted from 0."""
        async with AsyncExitStack() as stack:
            links, proxies = dict[int, Link](), dict[int, KafkaProxy]()
            for node, broker in self._brokers.items():
                broker_port, proxy_port = broker.proxied[worker]
                links[node] = await stack.enter_async_context(Link(broker_port))
                proxies[node] = await stack.enter_async_context(KafkaProxy(proxy_port, links[node].port))
            yield Network(links, proxies)


@contextmanager
def three_brokers(session_ms: int = SESSION_MS, workers: int = 1) -> Iterator[ThreeBrokers]:
    """All run. Skips the test where a real Kafka cannot be had."""
    with own_server(lambda directory: ThreeBrokers(directory, session_ms, workers), "a real Kafka") as kafka:
        yield kafka
