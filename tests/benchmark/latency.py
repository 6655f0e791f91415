"""Latency: from a command's append to its result being readable, under load and alone."""

import time
from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from confluent_kafka import Producer

from tests.benchmark.commands import BenchCommand
from tests.benchmark.place import Place
from tests.benchmark.reader import Arrival, check_exactly_once
from tests.benchmark.throughput import WORKER

_TICK_SECONDS = 0.005
_PAUSE_SECONDS = 0.3


def latency_at(place: Place, per_second: float, seconds: float) -> tuple[list[float], float]:
    """Milliseconds of each command at a steady rate, sorted, and by how many seconds the load was late at its end.

    The first half of the commands is not counted: a broker that just started compiles what this load runs, which takes
    a third of a small machine for many seconds.
    """
    count = int(per_second * seconds)
    place.start(*WORKER.module)
    with place.reader() as reader:
        place.warm_up(reader)
        skipped = place.sent + count // 2
        late = _publish_evenly(place, count, per_second)
        place.wait(reader, f"latency at {per_second:.0f} a second")
        check_exactly_once(reader.arrivals, place.sent)
    return sorted(map(_milliseconds, reader.arrivals[skipped:])), late


def latency_alone(place: Place, samples: int) -> list[float]:
    """Milliseconds of single commands on an idle worker, sorted."""
    place.start(*WORKER.module)
    with place.reader() as reader:
        place.warm_up(reader)
        warm = place.sent
        producer, topic = _producer(place, linger_ms=0), place.settings.topic_commands
        for one in place.stream(samples):
            time.sleep(_PAUSE_SECONDS)
            _produce(producer, topic, one)
            producer.flush(10)
        place.wait(reader, "lone commands")
        check_exactly_once(reader.arrivals, place.sent)
    return sorted(map(_milliseconds, reader.arrivals[warm:]))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest sample that `share` of all samples do not exceed."""
    return ordered[max(0, min(len(ordered) - 1, int(len(ordered) * share + 0.999999) - 1))]


def _milliseconds(arrival: Arrival) -> float:
    """`ce_time` is the command's append time, by the clock of the machine that broker and reader share."""
    appended = datetime.fromisoformat(arrival.headers["ce_time"].decode())
    return arrival.at_ms - appended.timestamp() * 1000


def _publish_evenly(place: Place, count: int, per_second: float) -> float:
    """Seconds from when the last command was due until the broker had it; few where the rate was kept."""
    producer, topic, stream = _producer(place, linger_ms=5), place.settings.topic_commands, place.stream(count)
    started, sent = time.monotonic(), 0
    while sent < count:
        time.sleep(_TICK_SECONDS)
        due = min(int((time.monotonic() - started) * per_second), count)
        for one in islice(stream, due - sent):
            _produce(producer, topic, one)
        sent = due
        producer.poll(0)
    assert producer.flush(120) == 0
    return time.monotonic() - started - count / per_second


def _producer(place: Place, linger_ms: int) -> Producer:
    return Producer({"bootstrap.servers": place.servers.bootstrap_servers, "linger.ms": linger_ms, "acks": "all"})


def _produce(producer: Producer, topic: str, one: BenchCommand) -> None:
    producer.produce(topic, one.value, partition=one.partition, headers=list(one.headers))
