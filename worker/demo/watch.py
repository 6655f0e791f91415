"""Reads the result and dead-letter topics as any consumer would, `read_committed`, from where they end at the start."""

import json
import time
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.demo.tally import Result
from worker.messages.events import Kind
from worker.settings import Settings
from worker.stream.connection import Cluster, client_options

POLL_MS = 50

_REASONS = {
    "Unreadable command": "unreadable",
    "Unauthorized": "unknown credentials",
    "Validation error": "invalid",
    "Product not found": "product not found",
    "subscription_inactive": "subscription inactive",
    "dpp_hard_block": "quota reached, no overage",
}

_COLUMNS = {
    Kind.CREATED: "created",
    Kind.OVERAGE_REQUIRED: "overage",
    Kind.CONFLICT: "conflict",
    Kind.REJECTED: "rejected",
}


class Watcher:
    """One consumer without a group, so that it leaves nothing behind on a cluster that is not ours."""

    def __init__(
        self, settings: Settings, on_result: Callable[[Result, float], None], on_dead_letter: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._columns = {topic: _COLUMNS[kind] for kind, topic in zip(Kind, settings.result_topics, strict=True)}
        self._dead_letters = settings.dead_letter_topic
        self._on_result, self._on_dead_letter = on_result, on_dead_letter
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            fetch_max_wait_ms=POLL_MS,
        )

    async def start(self) -> None:
        """Whatever is committed after this is seen by `run`."""
        counts = await self._partition_counts()
        places = [TopicPartition(topic, partition) for topic, count in counts.items() for partition in range(count)]
        await self._consumer.start()
        self._consumer.assign(places)
        for place, end in (await self._consumer.end_offsets(places)).items():
            self._consumer.seek(place, end)

    async def _partition_counts(self) -> dict[str, int]:
        cluster = Cluster(self._settings)
        try:
            return await cluster.partition_counts([*self._columns, self._dead_letters])
        finally:
            await cluster.close()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
            now = time.monotonic()
            for place, records in fetched.items():
                for record in records:
                    self._take(place, record, now)

    async def close(self) -> None:
        """Safe to call when it never started."""
        await self._consumer.stop()

    def _take(self, place: TopicPartition, record: ConsumerRecord, now: float) -> None:
        headers = {name: value.decode("utf-8", "replace") for name, value in record.headers if value is not None}
        if place.topic == self._dead_letters:
            where = (headers[f"dlq-original-{name}"] for name in ("topic", "partition", "offset"))
            self._on_dead_letter("/".join(where))
        else:
            self._on_result(_result(self._columns[place.topic], place, headers, json.loads(record.value)), now)


def _result(column: str, place: TopicPartition, headers: dict[str, str], body: dict[str, Any]) -> Result:
    if headers.get("idempotency-replayed") == "true":
        column = "replayed"
    status = 201 if column in ("created", "replayed") else int(body["status"])
    return Result(
        headers["ce_causationid"], (place.topic, place.partition), column, status, _reason(column, body), body
    )


def _reason(column: str, body: dict[str, Any]) -> str:
    """Why it came out so, in a few words of our own; the bodies have sentences."""
    if column == "created":
        return "created, overage charged" if "overage" in body else "created"
    if column == "replayed":
        return "replayed"
    if column == "overage":
        return "overage to be confirmed"
    if column == "conflict":
        return "serial exists" if body["conflict"] == "serial_exists" else "GTIN of another company"
    if body["status"] == 429:
        return "daily writes spent"
    return _REASONS.get(body["error"], "key used with another body")
