"""Reads results as they become visible, and knows how far each command partition is answered."""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Self, cast
from uuid import uuid4

from confluent_kafka import Consumer, TopicPartition

from tests.workbench import Workbench


class Watch:
    """A thread that reads all results, by topic and partition of their commands, which are answered in order.

    `answered` is the next offset, `appended` the append time of the last answered command in seconds since the epoch.
    `on_answer` is told the partition of each answered command, its append time, and the seconds until it was read.
    """

    def __init__(self, bench: Workbench, on_answer: Callable[[int, float, float], None] | None = None) -> None:
        self._on_answer = on_answer
        self.answered = dict.fromkeys(bench.lanes, 0)
        self.appended = dict.fromkeys(bench.lanes, 0.0)
        self._longest = 0.0
        self._servers = bench.settings.kafka_bootstrap_servers
        self._consumer = Consumer(
            {
                "bootstrap.servers": self._servers,
                "group.id": f"chaos-{uuid4().hex}",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 100,
                "reconnect.backoff.max.ms": 500,
                "log_level": 0,
            }
        )
        channels = bench.settings.by_commands
        self._consumer.assign(
            [
                TopicPartition(topic, partition, 0)
                for commands, partition in bench.lanes
                for topic in channels[commands].result_topics
            ]
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, name="results", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)
        self._consumer.close()

    def behind(self, moment: float) -> list[tuple[str, int]]:
        """Lanes in which no command that was appended at that time or later has been answered."""
        return [lane for lane, appended in self.appended.items() if appended < moment]

    def longest_wait(self) -> float:
        """How many seconds a command has waited at most until its result was read, since this was asked last."""
        longest, self._longest = self._longest, 0.0
        return longest

    def lag(self) -> dict[tuple[str, int], int]:
        """How many offsets of each lane are not answered, where there are some. Raises `KafkaException`."""
        asking = Consumer({"bootstrap.servers": self._servers, "group.id": "nobody", "log_level": 0})
        try:
            ends = {lane: asking.get_watermark_offsets(TopicPartition(*lane), timeout=10)[1] for lane in self.answered}
        finally:
            asking.close()
        return {lane: end - self.answered[lane] for lane, end in ends.items() if end > self.answered[lane]}

    def _read(self) -> None:
        while not self._stopping.is_set():
            message = self._consumer.poll(0.1)
            if message is None:
                continue
            if message.error() is not None:
                continue  # the broker is away; where it is anything else, results stand still
            headers = dict(cast(list[tuple[str, bytes]], message.headers() or []))
            topic, partition, offset = headers["ce_causationid"].decode().rsplit("/", 2)
            lane = topic, int(partition)
            appended = datetime.fromisoformat(headers["ce_time"].decode()).timestamp()
            self.answered[lane] = max(self.answered[lane], int(offset) + 1)
            self.appended[lane] = max(self.appended[lane], appended)
            waited = time.time() - appended
            self._longest = max(self._longest, waited)
            if self._on_answer is not None:
                self._on_answer(int(partition), appended, waited)
