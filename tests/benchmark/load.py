"""A steady load: commands at a fixed rate, from a thread, until it is left."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Event
from typing import Self

from confluent_kafka import Producer

from tests.benchmark.commands import BenchCommand
from tests.benchmark.place import Place

_TICK_SECONDS = 0.005
_MOST = 10_000_000


class Publishing:
    """A thread that publishes until it is left. Leaving it raises what `_publish` raised."""

    def __init__(self, place: Place) -> None:
        self._place, self._stopping = place, Event()
        self._thread = ThreadPoolExecutor(1, "publishing")

    def __enter__(self) -> Self:
        self._running = self._thread.submit(self._publish)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.shutdown()
        self._running.result()

    def _publish(self) -> None:
        """Publish until `_stopping` is set."""
        raise NotImplementedError


class Load(Publishing):
    """`late` is known once it was left: seconds from when the last command was due until the broker had all of them."""

    def __init__(self, place: Place, per_second: float) -> None:
        super().__init__(place)
        self._per_second = per_second
        self.late = 0.0

    def _publish(self) -> None:
        producer, topic = make_producer(self._place, linger_ms=5), self._place.settings.topic_commands
        stream = self._place.stream(_MOST)
        started, sent = time.monotonic(), 0
        while not self._stopping.wait(_TICK_SECONDS):
            due = int((time.monotonic() - started) * self._per_second)
            for one in islice(stream, due - sent):
                produce(producer, topic, one)
            sent = due
            producer.poll(0)
        assert producer.flush(120) == 0
        self.late = time.monotonic() - started - sent / self._per_second


def make_producer(place: Place, linger_ms: int) -> Producer:
    """Of commands, to all replicas."""
    return Producer({"bootstrap.servers": place.servers.bootstrap_servers, "linger.ms": linger_ms, "acks": "all"})


def produce(producer: Producer, topic: str, one: BenchCommand) -> None:
    """Hand a command over to be published."""
    producer.produce(one.topic or topic, one.value, partition=one.partition, headers=list(one.headers))
