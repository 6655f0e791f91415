"""Throughput: commands a second from the moment a backlog becomes readable to its last result."""

import asyncio
import time
from dataclasses import dataclass

from tests.benchmark.memory import cpu_seconds, resident_megabytes
from tests.benchmark.place import Place
from tests.benchmark.reader import check_exactly_once

_MEMBERS = "SELECT count(DISTINCT member) FROM lane WHERE group_id = $1 AND applied IS NOT NULL"


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
    """What a contender did: commands a second, its CPU a command, and its processes' memory after the run."""

    per_second: float
    cpu_microseconds: float
    megabytes: float


def speed(place: Place, contender: Contender, count: int) -> Speed:
    """Measured over `count` commands, of which exactly one result each was seen."""
    for _ in range(contender.processes):
        place.start(*contender.module)
    with place.reader() as reader:
        place.warm_up(reader)
        if contender.processes > 1:
            _wait_for_members(place, contender.processes)
        gate = place.gate()
        gate.fill(place.stream(count))
        time.sleep(0.5)
        used, started = _cpu_seconds(place), time.monotonic()
        gate.open()
        last = place.wait(reader, contender.name)[place.sent - 1]
        used = _cpu_seconds(place) - used
        megabytes = max(resident_megabytes(one.pid) for one in place.processes)
        time.sleep(0.2)  # for results that nobody asked for
        place.stop()
        check_exactly_once(reader.arrivals, place.sent)
    return Speed(count / (last.at - started), used / count * 1e6, megabytes)


def _cpu_seconds(place: Place) -> float:
    return sum(cpu_seconds(one.pid) for one in place.processes)


def _wait_for_members(place: Place, count: int) -> None:
    """Until so many processes hold lanes; a member that joins late takes lanes over."""
    deadline = time.monotonic() + 60
    while asyncio.run(place.fetch(_MEMBERS, place.settings.group_id))[0][0] < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{count} processes do not share the lanes\n{place.log_tail()}")
        time.sleep(0.1)
    time.sleep(1.0)
