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
    """A thread that reads all results, by partition of their commands; commands of a partition are answered in order.

    `answered` is the next offset, `appended` the append time of the last answered command in seconds since the epoch.
    `on_answer` is told the partition of each answered command, its append time, and the seconds until it was read.
    """

    def __init__(self, bench: Workbench, on_answer: Callable[[int, float, float], None] | None = None) -> None:
        self._on_answer = on_answer
        self._partitions = bench.settings.topic_partitions
        self.answered = dict.fromkeys(range(self._partitions), 0)
        self.appended = dict.fromkeys(range(self._partitions), 0.0)
        self._longest = 0.0
        self._commands = bench.settings.topic_commands
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
        topics = bench.settings.result_topics
        self._consumer.assign([TopicPartition(topic, one, 0) for topic in topics for one in self.answered])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, name="results", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)
        self._consumer.close()

    def behind(self, moment: float) -> list[int]:
        """Partitions in which no command that was appended at that time or later has been answered."""
        return [partition for partition, appended in self.appended.items() if appended < moment]

    def longest_wait(self) -> float:
        """How many seconds a command has waited at most until its result was read, since this was asked last."""
        longest, self._longest = self._longest, 0.0
        return longest

    def lag(self) -> dict[int, int]:
        """How many offsets of each partition are not answered, where there are some. Raises `KafkaException`."""
        asking = Consumer({"bootstrap.servers": self._servers, "group.id": "nobody", "log_level": 0})
        try:
            places = [TopicPartition(self._commands, one) for one in self.answered]
            ends = {one.partition: asking.get_watermark_offsets(one, timeout=10)[1] for one in places}
        finally:
            asking.close()
        return {one: end - self.answered[one] for one, end in ends.items() if end > self.answered[one]}

    def _read(self) -> None:
        while not self._stopping.is_set():
            message = self._consumer.poll(0.1)
            if message is None:
                continue
            if message.error() is not None:
                continue  # the broker is away; where it is anything else, results stand still
            headers = dict(cast(list[tuple[str, bytes]], message.headers() or []))
            _, partition, offset = headers["ce_causationid"].decode().rsplit("/", 2)
            appended = datetime.fromisoformat(headers["ce_time"].decode()).timestamp()
            self.answered[int(partition)] = max(self.answered[int(partition)], int(offset) + 1)
            self.appended[int(partition)] = max(self.appended[int(partition)], appended)
            waited = time.time() - appended
            self._longest = max(self._longest, waited)
            if self._on_answer is not None:
                self._on_answer(int(partition), appended, waited)
