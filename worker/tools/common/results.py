"""Results as they become visible, for whoever watches: the demo, `submit` and `tail`."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from worker.messages.envelope import Record
from worker.messages.events import Header
from worker.messages.result_record import cause_text
from worker.messages.rules import Kind
from worker.settings import Settings
from worker.stream.cluster.connection import ANSWER_SECONDS, Cluster, client_options, close_within
from worker.stream.fetched import record_of
from worker.stream.lenient_fetch import fetch_leniently

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
        self._next: dict[TopicPartition, int] = {}
        """Behind what was handed out: a poll that fails has moved on (guard B18)."""
        self._is_spoilt = False

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
        self._next = starts
        self._seek_back()

    def _seek_back(self) -> None:
        for place, at in self._next.items():
            self._consumer.seek(place, at)

    async def _partition_counts(self) -> dict[str, int]:
        cluster = Cluster(self._settings)
        try:
            return await cluster.partition_counts([*self._kinds])
        finally:
            await cluster.close()

    async def poll(self) -> list[ResultRecord]:
        """What has come; nothing, where nothing came within `POLL_MS`. In order within a partition.

        Raises `CLUSTER_ERRORS`. A header name that is not UTF-8, at which the client fails (guard B8), is escaped.
        """
        if self._is_spoilt:
            await asyncio.sleep(POLL_MS / 1000)  # until some is fetched
            return [seen for place in [*self._consumer._fetcher._records] for seen in await self._poll_singly(place)]
        try:
            return self._seen(await self._consumer.getmany(timeout_ms=POLL_MS, max_records=_RECORDS_AT_ONCE))
        except UnicodeDecodeError:
            self._is_spoilt = True
            self._seek_back()
            return []

    async def _poll_singly(self, place: TopicPartition) -> list[ResultRecord]:
        """What was fetched of a partition, up to a bad record, which takes those with it that are asked for at once."""
        found: list[ResultRecord] = []
        while len(found) < _RECORDS_AT_ONCE:
            try:
                fetched = await self._consumer.getmany(place, max_records=1)
            except UnicodeDecodeError:
                return [*found, *await self._bad_one(place)]
            if not fetched:
                break
            found += self._seen(fetched)
        return found

    async def _bad_one(self, place: TopicPartition) -> list[ResultRecord]:
        with suppress(LookupError):  # it may have been deleted by now
            record = await fetch_leniently(self._settings, place, self._next[place])
            self._consumer.seek(place, record.offset + 1)
            self._is_spoilt = False
            return self._results(place, [record])
        return []

    def _seen(self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> list[ResultRecord]:
        return [one for place, found in fetched.items() for one in self._results(place, [*map(record_of, found)])]

    def _results(self, place: TopicPartition, records: Sequence[Record]) -> list[ResultRecord]:
        self._next[place] = records[-1].offset + 1
        return [ResultRecord(self._kinds[place.topic], *one[:-1]) for one in records]

    async def close(self) -> None:
        """Safe to call when it never started; does not wait for long for a broker that is away."""
        await close_within(self._consumer.stop(), 2.0)
