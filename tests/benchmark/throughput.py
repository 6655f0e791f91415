"""Throughput: commands a second from the moment a backlog becomes readable to its last result."""

import time
from dataclasses import dataclass

from tests.benchmark.assignments import wait_until_shared
from tests.benchmark.memory import CpuWatch, peak_megabytes, resident_megabytes
from tests.benchmark.place import Place
from tests.benchmark.reader import ResultReader, check_exactly_once
from tests.benchmark.refused import FAULTS


@dataclass(frozen=True)
class Contender:
    """A program that answers commands, in so many processes."""

    name: str
    module: tuple[str, ...]
    processes: int = 1


PIPE_FLOOR = Contender("pipe floor", ("tests.benchmark.pipe_floor",))
PEER = Contender("peer", ("tests.benchmark.peer",))
WORKER = Contender("worker", ("worker", "run"))
TWO_WORKERS = Contender("two workers", ("worker", "run"), 2)


@dataclass(frozen=True)
class Speed:
    """What a contender did: commands a second, its and the broker's CPU a command, and its largest process's memory.

    The broker's is 0 where it is not a process of ours. Memory is the resident set after the run, and the largest ever.
    """

    per_second: float
    cpu_microseconds: float
    broker_microseconds: float
    megabytes: float
    peak_megabytes: float


def speed(place: Place, contender: Contender, count: int) -> Speed:
    """Measured over `count` commands, of which exactly one result each was seen."""
    with place.reader() as reader:
        begin(place, contender, reader)
        found = answer_backlog(place, reader, count)
        time.sleep(0.2)  # for results that nobody asked for
        place.stop()
        kind = b"rejected" if place.shape.altered in FAULTS else b"created"
        check_exactly_once(reader.arrivals, place.sent, kind)
    return found


def begin(place: Place, contender: Contender, reader: ResultReader) -> None:
    """Start a contender; it is warm, and several processes have shared the partitions, when this is over."""
    for _ in range(contender.processes):
        place.start(*contender.module)
    place.warm_up(reader)
    if contender.processes > 1:
        wait_until_shared(place, contender.processes)
        place.warm_up(reader)  # a member that joins late takes lanes over: they are open now


def answer_backlog(place: Place, reader: ResultReader, count: int) -> Speed:
    """Measured over `count` commands of a contender that has begun."""
    gate = place.gate()
    gate.fill(place.stream(count))
    time.sleep(0.5)
    workers, broker, started = CpuWatch(place.pids), CpuWatch(place.servers.kafka_pids), time.monotonic()
    gate.open()
    last = place.wait(reader, "a backlog")[place.sent - 1]
    used = [one.seconds() / count * 1e6 for one in (workers, broker)]
    memory = [max(map(one, place.pids)) for one in (resident_megabytes, peak_megabytes)]
    return Speed(count / (last.at - started), *used, *memory)
