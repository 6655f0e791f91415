"""Whether a flood on one channel holds up another one: latency of a calm channel, with and without the flood."""

import itertools
import json
import time
from collections.abc import Iterator
from random import Random
from threading import Event, Thread
from typing import Self

from confluent_kafka import Producer

from tests.benchmark.catalogue import product
from tests.benchmark.commands import BenchCommand, commands
from tests.benchmark.hostile import hostile
from tests.benchmark.latency import latency_between
from tests.benchmark.load import Load, produce
from tests.benchmark.place import Place
from tests.benchmark.throughput import WORKER, begin

FLOODED = "flooded"
"""The channel that floods; the default one is calm."""

CALM_PER_SECOND = 50.0
_LARGE_EVERY = 500


class Flood:
    """Publishes to the flooded channel what a producer can: valid, invalid, unauthorised and huge commands."""

    def __init__(self, place: Place) -> None:
        self._place, self._stopping = place, Event()
        self._thread = Thread(target=self._publish, name="flood", daemon=True)
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)

    def _publish(self) -> None:
        settings = self._place.settings.of_channel(FLOODED)
        producer = Producer({"bootstrap.servers": self._place.servers.bootstrap_servers, "linger.ms": 20})
        for command in _mixture(self._place):
            while not self._stopping.is_set():
                try:
                    produce(producer, settings.topic_commands, command)
                    break
                except BufferError:
                    producer.poll(0.05)
            if self._stopping.is_set():
                producer.purge()
                return
            self.sent += 1
            producer.poll(0)


def _mixture(place: Place) -> Iterator[BenchCommand]:
    dice, large = Random(place.token), hostile("megabyte", 10**9, place.partitions)
    valid = commands(10**9, place.shape, place.partitions, f"{place.token}-flood")
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
            yield BenchCommand(number % place.partitions, wrong, [("authorization", credentials)])


def calm_latencies(place: Place, seconds: float) -> tuple[list[float], list[float]]:
    """Sorted milliseconds of commands on the calm channel while the other is quiet, and while it is flooded."""
    with place.reader() as reader:
        begin(place, WORKER, reader)
        with Load(place, CALM_PER_SECOND):
            time.sleep(2.0)
            quiet = latency_between(reader, seconds)
            with Flood(place):
                time.sleep(2.0)
                flooded = latency_between(reader, seconds)
        place.wait(reader, "calm commands")
    return quiet(), flooded()
