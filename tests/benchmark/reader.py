"""Reads results as they become visible to a `read_committed` consumer, and notes when each did."""

import gc
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self, cast
from uuid import uuid4

from confluent_kafka import Consumer, Message, TopicPartition


@dataclass(frozen=True)
class Arrival:
    """A result, and the clocks when it became readable: `at` is monotonic, `at_ms` since the epoch."""

    at: float
    at_ms: float
    message: Message

    @property
    def headers(self) -> dict[str, bytes]:
        """All headers; none of ours repeats."""
        return dict(cast(list[tuple[str, bytes]], self.message.headers() or []))

    @property
    def cause(self) -> str:
        """`<topic>/<partition>/<offset>` of the command."""
        return self.headers["ce_causationid"].decode()

    @property
    def partition(self) -> int:
        """Of the command."""
        return int(self.cause.split("/")[1])

    @property
    def appended_ms(self) -> float:
        """`ce_time`, the command's append time, by the clock of the machine that broker and reader share."""
        return datetime.fromisoformat(self.headers["ce_time"].decode()).timestamp() * 1000


class ResultReader:
    """A thread that reads all partitions of some topics from their beginning."""

    def __init__(self, bootstrap_servers: str, topics: Sequence[str], partitions: int) -> None:
        self.arrivals: list[Arrival] = []
        self._stopping = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap_servers,
                "group.id": f"bench-reader-{uuid4().hex}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 5,
            }
        )
        self._consumer.assign([TopicPartition(topic, one, 0) for topic in topics for one in range(partitions)])
        self._thread = threading.Thread(target=self._read, name="results", daemon=True)

    def _read(self) -> None:
        while not self._stopping.is_set():
            message = self._consumer.poll(0.05)
            if message is None:
                continue
            assert message.error() is None, message.error()
            self.arrivals.append(Arrival(time.monotonic(), time.time() * 1000, message))

    def wait_for(self, count: int, seconds: float) -> list[Arrival]:
        """The arrivals once there are `count`; fails when the number stands still for `seconds`."""
        seen, moved_at = 0, time.monotonic()
        while len(self.arrivals) < count:
            if len(self.arrivals) != seen:
                seen, moved_at = len(self.arrivals), time.monotonic()
            if time.monotonic() - moved_at > seconds:
                raise TimeoutError(f"{seen} of {count} results, and none more in {seconds:.0f} s")
            time.sleep(0.005)
        return self.arrivals

    def __enter__(self) -> Self:
        gc.disable()  # a collection over all arrivals would stop the clock that the next ones are noted by
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        gc.enable()
        self._stopping.set()
        self._thread.join(10)
        self._consumer.close()


def check_exactly_once(arrivals: Sequence[Arrival], expected: int, kind: bytes = b"created") -> None:
    """Exactly `expected` results, none twice, all of them of this kind."""
    counted = Counter(one.cause for one in arrivals)
    doubled = [cause for cause, times in counted.items() if times > 1]
    assert not doubled, f"{len(doubled)} commands have more than one result, such as {doubled[0]}"
    assert len(counted) == expected, f"{len(counted)} results of {expected} commands"
    others = [one for one in arrivals if kind not in one.headers["ce_type"]]
    assert not others, f"{len(others)} commands were not {kind.decode()}, such as {others[0].message.value()!r}"
