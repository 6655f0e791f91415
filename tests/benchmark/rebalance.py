"""Rebalances: a second worker joins and one leaves under load; how long until results flow again."""

import signal
import time
from dataclasses import dataclass
from itertools import pairwise

from tests.benchmark.assignments import wait_until_shared
from tests.benchmark.load import Load
from tests.benchmark.place import STALL_SECONDS, Place
from tests.benchmark.reader import Arrival, ResultReader, check_exactly_once
from tests.benchmark.throughput import WORKER, begin


@dataclass(frozen=True)
class Resumed:
    """Seconds from the assignment until results flow: the first of a command appended after it, one of each partition.

    `silence` is the longest time without any result, from the change until then.
    """

    first: float
    all_partitions: float
    silence: float


def rebalance(place: Place, per_second: float, settle_seconds: float) -> tuple[Resumed, Resumed]:
    """A worker joins another, then the older one leaves, each after `settle_seconds` of a steady load.

    Exactly one result a command all the same.
    """
    with place.reader() as reader:
        begin(place, WORKER, reader)
        with Load(place, per_second):
            time.sleep(settle_seconds)
            changed_ms = time.time() * 1000
            place.start(*WORKER.module)
            joined = _resumed(place, reader, changed_ms)
            time.sleep(settle_seconds)
            changed_ms = time.time() * 1000
            leaving = place.processes.pop(0)
            leaving.send_signal(signal.SIGTERM)
            left = _resumed(place, reader, changed_ms)
            leaving.wait(15)
        place.wait(reader, "after the rebalances")
        check_exactly_once(reader.arrivals, place.sent)
    return joined, left


def _resumed(place: Place, reader: ResultReader, changed_ms: float) -> Resumed:
    assigned_ms = wait_until_shared(place, len(place.processes), changed_ms)
    firsts: dict[int, Arrival] = {}
    deadline, seen = time.monotonic() + STALL_SECONDS, 0
    while len(firsts) < place.partitions:
        if time.monotonic() > deadline:
            missing = sorted(set(range(place.partitions)) - firsts.keys())
            raise TimeoutError(f"no new results of partitions {missing} after a rebalance\n{place.log_tail()}")
        time.sleep(0.05)
        until = len(reader.arrivals)
        for one in reader.arrivals[seen:until]:
            if one.appended_ms > assigned_ms:
                firsts.setdefault(one.partition, one)
        seen = until
    moments = sorted((one.at_ms - assigned_ms) / 1000 for one in firsts.values())
    return Resumed(moments[0], moments[-1], _silence(reader.arrivals, changed_ms))


def _silence(arrivals: list[Arrival], since_ms: float) -> float:
    """The longest time between two results, in seconds."""
    moments = [since_ms, *(one.at_ms for one in arrivals if one.at_ms > since_ms)]
    return max(later - one for one, later in pairwise(moments)) / 1000
