"""A worker from its start to its crash: the real membership of the group, with its sessions, over simulated clients."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from operator import attrgetter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

import stamina.instrumentation
import structlog
from aiokafka.errors import KafkaConnectionError

from tests.contract.world import LINK_BASE, NOW_MS, TOPIC
from tests.model.clients import Cluster, Consumer, LogReader, Producer, coordinator_of
from tests.model.database import RemoteStore
from tests.model.loop import PROCESS, Loop, Process
from worker.batch.pipeline import Pipeline
from worker.batch.recovery import Processor
from worker.observability.hooks import Hooks
from worker.settings import Settings
from worker.store.port import LaneName, Store
from worker.stream import delivery, forgotten, group, producer, published, reader, sessions
from worker.stream.cluster import topic_watch
from worker.stream.cluster.connection import Cluster as RealCluster
from worker.stream.command_reader import CommandReader
from worker.stream.dependencies import LaneDependencies

if TYPE_CHECKING:
    from tests.model.world import World

SETTINGS = Settings(batch_records=4, kafka_session_timeout_seconds=2, kafka_transaction_timeout_seconds=30)
RESTART_SECONDS = 0.5


class _NoHalts(Hooks):
    def __init__(self, world: "World") -> None:
        self._world = world

    def lane_halted(self, name: LaneName) -> None:
        """Nothing that happens here is a reason to halt."""
        self._world.halted.append(name.partition)


class WorkerProcess(Process):
    """Runs memberships of the group, one after the other."""

    topic = TOPIC
    group_coordinator = coordinator_of(SETTINGS.group_id)

    def __init__(self, world: "World", name: str) -> None:
        super().__init__()
        self.world, self.name = world, name
        self.kafka, self.lanes = world.kafka, world.lanes
        self.is_dead = False
        self.hear: Callable[[], None] = lambda: None
        self._ids = 0
        context = copy_context()
        context.run(PROCESS.set, self)
        self.main = world.loop.create_task(self._work(), name=name, context=context)

    def __repr__(self) -> str:
        return self.name

    def new_id(self) -> SimpleNamespace:
        """In place of `uuid4`."""
        self._ids += 1
        return SimpleNamespace(hex=f"{self.name}.{self._ids}")

    async def ask(
        self, broker: int | None, call: Any, *args: Any, gone: type[Exception] = KafkaConnectionError, **named: Any
    ) -> Any:
        """Send a request, and wait for the answer."""
        if self.is_dead:
            raise gone("the process has crashed")
        return await self.world.network.send(self, gone, broker, call, args, named)

    def crash(self) -> None:
        """Nothing of it reaches a server any more. Its tasks end for the tidiness of the model."""
        self.is_dead = True
        self.frozen_until = 0.0
        self.world.network.cut(self)
        self.main.cancel()

    async def _work(self) -> None:
        hooks = _NoHalts(self.world)
        store = cast(Store, RemoteStore(self, self.world.database))
        shared = LaneDependencies(
            settings=SETTINGS,
            store=store,
            processor=Processor(Pipeline(store, LINK_BASE, hooks), hooks),
            command_reader=CommandReader(SETTINGS.limits, None),
            cluster=cast(RealCluster, Cluster(self)),
            hooks=hooks,
        )
        while True:
            try:
                await group.GroupMembership(shared).run()
            except Exception as error:
                self.world.network.tell(f"{self}: {type(error).__name__}: {error}")
            await asyncio.sleep(RESTART_SECONDS)


async def _nothing(*_: object) -> None:
    await asyncio.get_running_loop().create_future()


_REPLACED: dict[Any, dict[str, Any]] = {
    producer: {"AIOKafkaProducer": Producer, "sender_of": attrgetter("sender")},
    delivery: {
        "sender_of": attrgetter("sender"),
        "transaction_coordinator_of": attrgetter("coordinator"),
        "has_partitions_to_add": attrgetter("has_partitions_to_add"),
        "node_answered": lambda client, node, _: client.process.world.network.answers(node),
    },
    group: {
        "AIOKafkaConsumer": Consumer,
        "client_of": attrgetter("client"),
        "membership_of": lambda consumer: (consumer.membership.generation, consumer.client.process.name),
        "check_membership": lambda _: None,
        "pause_after_fetches": lambda _: lambda: None,
        # Lags are measured, and nothing depends on them.
        "survey": _nothing,
        "IDLE_SECONDS": 0.3,
    },
    reader: {
        "check_membership": lambda _: None,
        "fetched_partitions": attrgetter("fetched"),
        "wait_for_fetch": Consumer.wait_for_fetch,
    },
    sessions: {"uuid4": lambda: cast(WorkerProcess, PROCESS.get()).new_id()},
    topic_watch: {"WATCH_SECONDS": 5.0},
    forgotten: {"LogReader": LogReader},
    published: {"LogReader": LogReader},
}


@contextmanager
def replaced(modules: dict[Any, dict[str, Any]]) -> Iterator[None]:
    """Replace names in modules and classes for a while."""
    with ExitStack() as stack:
        for module, names in modules.items():
            stack.enter_context(patch.multiple(module, **names))
        yield


@contextmanager
def simulated() -> Iterator[None]:
    """Let the worker's modules use the model's clients, and keep silent."""
    logs = structlog.get_config()
    with replaced(_REPLACED):
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        stamina.instrumentation.set_on_retry_hooks([])
        try:
            yield
        finally:
            structlog.configure(**logs)
            stamina.instrumentation.set_on_retry_hooks(None)


@contextmanager
def virtual_time(loop: Loop, seed: int) -> Iterator[None]:
    """Let clocks show the time of the loop, and chance come from the seed."""
    state = random.getstate()
    random.seed(seed)
    now_s = NOW_MS / 1000 - loop.now
    with patch.multiple(time, monotonic=loop.time, time=lambda: now_s + loop.now):
        try:
            yield
        finally:
            random.setstate(state)
