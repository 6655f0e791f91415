"""Results as they become visible, for whoever watches: the demo, `submit` and `tail`."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.messages.envelope import Record
from worker.messages.events import Header, cause_text
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.stream.cluster.connection import ANSWER_SECONDS, Cluster, client_options, close_within
from worker.stream.fetched import record_of

POLL_MS = 50
_RECORDS_AT_ONCE = 1000
_FETCH_BYTES = 4 * 1024 * 1024
"""Of all partitions of a broker together: as many again wait until they are asked for."""


class ResultRecord(NamedTuple):
    """A record of a result topic, or, where `kind` is None, of the dead-letter topic."""

    kind: Kind | None
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]

    @property
    def cause(self) -> str:
        """`<topic>/<partition>/<offset>` of the command; empty where a stranger's record names none."""
        return cause_text(self.headers).decode("utf-8", "replace")

    @property
    def is_replayed(self) -> bool:
        """Whether it is an earlier created event, for a command that repeats the key."""
        return self.header("idempotency-replayed") == "true"

    def header(self, name: str) -> str | None:
        """The last value of that name, as text; None where there is none."""
        for one, value in reversed(self.headers):
            if one == name and value is not None:
                return value.decode("utf-8", "replace")
        return None


class ResultWatcher:
    """Reads the result topics as any consumer would, `read_committed`, and on wish that of dead letters.

    It is in no group, so that it leaves nothing behind on a cluster that is not ours.
    """

    def __init__(self, settings: Settings, *, dead_letters: bool = False) -> None:
        self._settings = settings
        self._kinds: dict[str, Kind | None] = dict(zip(settings.result_topics, Kind, strict=True))
        if dead_letters:
            self._kinds[settings.dead_letter_topic] = None
        self._consumer = AIOKafkaConsumer(
            **client_options(settings),
            isolation_level="read_committed",
            enable_auto_commit=False,
            fetch_max_wait_ms=POLL_MS,
            fetch_max_bytes=_FETCH_BYTES,
        )

    async def start(self, since: datetime | None = None) -> None:
        """Whatever is committed after this is seen by `poll`, and what was appended since then.

        Raises `CLUSTER_ERRORS`.
        """
        counts = await self._partition_counts()
        places = [TopicPartition(topic, partition) for topic, count in counts.items() for partition in range(count)]
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._consumer.start()
            self._consumer.assign(places)
            starts = await self._consumer.end_offsets(places)
            if since is not None:
                moment = round(since.timestamp() * 1000)
                found = await self._consumer.offsets_for_times(dict.fromkeys(places, moment))
                starts |= {place: at.offset for place, at in found.items() if at is not None}
        for place, at in starts.items():
            self._consumer.seek(place, at)

    async def _partition_counts(self) -> dict[str, int]:
        cluster = Cluster(self._settings)
        try:
            return await cluster.partition_counts([*self._kinds])
        finally:
            await cluster.close()

    async def poll(self) -> list[ResultRecord]:
        """What has come; nothing, where nothing came within `POLL_MS`. In order within a partition.

        Raises `CLUSTER_ERRORS`. A header name that is not UTF-8 is escaped.
        """
        return self._seen(await self._consumer.getmany(timeout_ms=POLL_MS, max_records=_RECORDS_AT_ONCE))

    def _seen(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> list[ResultRecord]:
        return [one for place, found in fetched.items() for one in self._results(place, [*map(record_of, found)])]

    def _results(self, place: TopicPartition, records: Sequence[Record]) -> list[ResultRecord]:
        return [ResultRecord(self._kinds[place.topic], *one[:-1]) for one in records]

    async def close(self) -> None:
        """Safe to call when it never started; does not wait for long for a broker that is away."""
        await close_within(self._consumer.stop(), 2.0)
