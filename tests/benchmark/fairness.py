"""Whether a flood on one channel holds up another one: latency of a calm channel, without a flood and beside it."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from confluent_kafka import Producer

from tests.benchmark.catalogue import product
from tests.benchmark.commands import BenchCommand, commands
from tests.benchmark.hostile import hostile
from tests.benchmark.latency import latency_between
from tests.benchmark.load import Load, Publishing
from tests.benchmark.place import Place
from tests.benchmark.throughput import WORKER, begin

FLOODED = "flooded"
"""The channel that floods; the default one is calm."""

CALM_PER_SECOND = 50.0
_LARGE_EVERY = 500
_SETTLE_SECONDS, _RESTART_SECONDS = 2.0, 5.0


class Flood(Publishing):
    """Publishes to the flooded channel what a producer can: valid, invalid, unauthorised and huge commands."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.acknowledged = 0

    def _publish(self) -> None:
        topic = self._place.settings.of_channel(FLOODED).topic_commands
        servers = self._place.servers.bootstrap_servers
        producer = Producer({"bootstrap.servers": servers, "linger.ms": 20, "message.max.bytes": 2_000_000})
        for command in _mixture(self._place):
            while not self._stopping.is_set():
                try:
                    producer.produce(
                        topic, command.value, None, command.partition, self._note, headers=list(command.headers)
                    )
                    break
                except BufferError:
                    producer.poll(0.05)
            if self._stopping.is_set():
                producer.purge()
                return
            producer.poll(0)

    def _note(self, error: object, _: object) -> None:
        self.acknowledged += error is None


def _mixture(place: Place) -> Iterator[BenchCommand]:
    partitions = place.partitions
    dice, large = Random(place.token), hostile("megabyte", 10**9, partitions)
    valid = commands(10**9, place.shape, partitions, f"{place.token}-flood")
    owner = product(0)
    known, unknown = (f"Bearer {key}".encode() for key in (owner.api_key, "tp_unknown"))
    wrong = json.dumps({"productId": owner.product_id, "gs1": {"gtin": "0", "serialNumber": ""}}).encode()
    for number in itertools.count():
        if number % _LARGE_EVERY == 0:
            yield next(large)
        elif dice.random() < 0.4:
            yield next(valid)
        else:
            credentials = known if dice.random() < 0.5 else unknown
            yield BenchCommand(number % partitions, wrong, [("authorization", credentials)])


@dataclass(frozen=True)
class Calm:
    """Sorted milliseconds of commands on the calm channel, by what goes on beside it.

    `unread` is beside a flood that no worker reads: what it costs to share cores and disk with its producer and the
    broker. `backlog` is beside what a flood has left, when its producer is still. And its records a second.
    """

    quiet: list[float]
    unread: list[float]
    backlog: list[float]
    flooded: list[float]
    flood_per_second: float


def calm_latencies(place: Place, seconds: float) -> Calm:
    """Measured over so many seconds each. `place` has the flooded channel."""

    def latencies() -> Callable[[], list[float]]:
        time.sleep(_SETTLE_SECONDS)
        return latency_between(reader, seconds)

    with place.reader() as reader:
        place.environment["PASSPORT_CHANNELS"] = ""
        begin(place, WORKER, reader)
        with Load(place, CALM_PER_SECOND):
            quiet = latencies()
            with Flood(place):
                unread = latencies()
            place.stop()
            place.environment["PASSPORT_CHANNELS"] = FLOODED
            place.start(*WORKER.module)
            time.sleep(_RESTART_SECONDS)
            backlog = latencies()
            with Flood(place) as flood:
                flooded = latencies()
                per_second = flood.acknowledged / (seconds + _SETTLE_SECONDS)
        place.wait(reader, "calm commands")
    return Calm(quiet(), unread(), backlog(), flooded(), per_second)
