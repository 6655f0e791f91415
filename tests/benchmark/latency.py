"""Latency: from a command's append to its result being readable, under load and alone."""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

from confluent_kafka import Producer

from tests.benchmark.commands import BenchCommand
from tests.benchmark.place import Place
from tests.benchmark.reader import Arrival, check_exactly_once
from tests.benchmark.throughput import WORKER

_TICK_SECONDS = 0.005
_PAUSE_SECONDS = 0.3


def latency_at(place: Place, per_second: float, seconds: float) -> list[float]:
    """Milliseconds of each command at a steady rate, sorted; the first half is not counted.

    A broker that just started compiles what this load runs, which takes a third of a small machine for many seconds.
    """
    count = int(per_second * seconds)
    place.start(*WORKER.module)
    with place.reader() as reader:
        place.warm_up(reader)
        skipped = place.sent + count // 2
        _publish_evenly(place, place.stream(count), per_second)
        place.wait(reader, f"latency at {per_second:.0f} a second")
        check_exactly_once(reader.arrivals, place.sent)
    return sorted(map(_milliseconds, reader.arrivals[skipped:]))


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


def _publish_evenly(place: Place, stream: Iterator[BenchCommand], per_second: float) -> None:
    producer, topic = _producer(place, linger_ms=5), place.settings.topic_commands
    started, sent = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - started) * per_second) - sent
        batch = list(islice(stream, max(due, 1)))
        if not batch:
            break
        for one in batch:
            _produce(producer, topic, one)
        sent += len(batch)
        producer.poll(0)
        time.sleep(_TICK_SECONDS)
    assert producer.flush(1) == 0, "the commands did not keep up with the rate"


def _producer(place: Place, linger_ms: int) -> Producer:
    return Producer({"bootstrap.servers": place.servers.bootstrap_servers, "linger.ms": linger_ms, "acks": "all"})


def _produce(producer: Producer, topic: str, one: BenchCommand) -> None:
    producer.produce(topic, one.value, partition=one.partition, headers=list(one.headers))
