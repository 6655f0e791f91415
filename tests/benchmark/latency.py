"""Latency: from a command's append to its result being readable, under load and alone."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.benchmark.load import Load, make_producer, produce
from tests.benchmark.memory import CpuWatch
from tests.benchmark.place import Place
from tests.benchmark.reader import Arrival, ResultReader, check_exactly_once
from tests.benchmark.throughput import WORKER, Contender, Speed, answer_backlog, begin

_PAUSE_SECONDS = 0.3


@dataclass(frozen=True)
class Steady:
    """Under a steady load: milliseconds of each command, sorted, and by how many seconds the load was late at its end.

    And how many cores all workers kept busy, and the broker, which is 0 where it is not a process of ours.
    """

    milliseconds: list[float]
    late: float
    worker_cores: float
    broker_cores: float


def latency_at(place: Place, per_second: float, seconds: float) -> Steady:
    """Of a worker at a steady rate of commands."""
    with place.reader() as reader:
        begin(place, WORKER, reader)
        found = answer_steadily(place, reader, per_second, seconds)
        check_exactly_once(reader.arrivals, place.sent)
    return found


def speed_and_latency(
    place: Place, contender: Contender, count: int, per_second: float, seconds: float
) -> tuple[Speed, Steady]:
    """Of the same processes: over `count` commands that wait, then at a steady rate."""
    with place.reader() as reader:
        begin(place, contender, reader)
        backlog = answer_backlog(place, reader, count)
        found = answer_steadily(place, reader, per_second, seconds)
        place.stop()
        check_exactly_once(reader.arrivals, place.sent)
    return backlog, found


def answer_steadily(place: Place, reader: ResultReader, per_second: float, seconds: float) -> Steady:
    """Measured at a steady rate of commands, of a contender that has begun.

    The first half of the time is not counted: a broker that just started compiles what this load runs, which takes a
    third of a small machine for many seconds.
    """
    with Load(place, per_second) as load:
        time.sleep(seconds / 2)
        since_ms = time.time() * 1000
        workers, broker = CpuWatch(place.pids), CpuWatch(place.servers.kafka_pids)
        time.sleep(seconds / 2)
        cores = workers.cores(), broker.cores()
    place.wait(reader, f"latency at {per_second:.0f} a second")
    counted = (one for one in reader.arrivals if one.appended_ms >= since_ms)
    return Steady(sorted(map(_milliseconds, counted)), load.late, *cores)


def latency_between(reader: ResultReader, seconds: float) -> Callable[[], list[float]]:
    """Let time pass. Afterwards, call the result for the sorted milliseconds of commands appended meanwhile."""
    since_ms = time.time() * 1000
    time.sleep(seconds)
    until_ms = time.time() * 1000

    def counted() -> list[float]:
        return sorted(_milliseconds(one) for one in reader.arrivals if since_ms <= one.appended_ms < until_ms)

    return counted


def latency_alone(place: Place, samples: int) -> list[float]:
    """Milliseconds of single commands on an idle worker, sorted."""
    with place.reader() as reader:
        begin(place, WORKER, reader)
        warm = place.sent
        producer, topic = make_producer(place, linger_ms=0), place.settings.topic_commands
        for one in place.stream(samples):
            time.sleep(_PAUSE_SECONDS)
            produce(producer, topic, one)
            producer.flush(10)
        place.wait(reader, "lone commands")
        check_exactly_once(reader.arrivals, place.sent)
    return sorted(map(_milliseconds, reader.arrivals[warm:]))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest sample that `share` of all samples do not exceed."""
    return ordered[max(0, min(len(ordered) - 1, int(len(ordered) * share + 0.999999) - 1))]


def _milliseconds(arrival: Arrival) -> float:
    return arrival.at_ms - arrival.appended_ms
