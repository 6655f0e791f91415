"""The peer: FastStream and asyncpg as usually written, one transaction a message, not exactly once. Run as a module."""

from collections.abc import Mapping
from datetime import date

import asyncpg
from faststream import FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

from tests.benchmark import loop
from tests.benchmark.by_hand import Deed, deed, make_lanes, numbers_of_companies, write_frames
from worker.settings import Settings
from worker.store.facts import key_id
from worker.store.sql import Connection

_SLOTS = "UPDATE company_usage SET slots_used = slots_used + 1 WHERE company_number = $1"
_DAYS = (
    "INSERT INTO daily_writes AS w VALUES ($1, $2, 1) "
    "ON CONFLICT (company_number, day) DO UPDATE SET writes = w.writes + 1"
)
_PASSPORT = (
    "INSERT INTO passport (id, company_number, gtin, serial, created_at, frame_id) VALUES ($1, $2, $3, $4, $5, $6)"
)
_KEY = (
    "INSERT INTO idempotency_key (id, day, fingerprint, passport_id, created_at, company_number) "
    "VALUES ($1, $2, $3, $4, $5, $6)"
)
_LEDGER = (
    'INSERT INTO ledger (lane_id, "offset", appended_at, kind, replayed, key, company_id, passport_id) '
    "VALUES ($1, $2, $3, 1, false, $4, $5, $6)"
)
_LANE = "UPDATE lane SET applied = $2 WHERE id = $1"


async def write_one(connection: Connection, one: Deed, lane_id: int, numbers: Mapping[str, int]) -> None:
    """The rows of one passport, in one transaction."""
    company_id, passport_id = one.product.company_id, bytes.fromhex(one.passport_id)
    number = numbers[company_id]
    day: date = one.appended_at.date()
    await write_frames(connection, [one])
    async with connection.transaction():
        await connection.execute(_SLOTS, number)
        await connection.execute(_DAYS, number, day)
        await connection.execute(
            _PASSPORT, passport_id, number, one.product.gtin, one.serial, one.appended_at, one.frame.id
        )
        key = key_id(company_id, one.key)
        await connection.execute(_KEY, key, day, one.fingerprint, passport_id, one.appended_at, number)
        await connection.execute(_LEDGER, lane_id, one.offset, one.appended_at, one.key, company_id, passport_id)
        await connection.execute(_LANE, lane_id, one.offset + 1)


async def main() -> None:
    """Message after message until killed."""
    settings = Settings()
    pool = await asyncpg.create_pool(settings.database_url, min_size=1, max_size=8)
    async with pool.acquire() as connection:
        lanes = await make_lanes(connection, settings.group_id, settings.topic_commands, settings.topic_partitions)
        numbers = await numbers_of_companies(connection)
    broker = KafkaBroker(settings.kafka_bootstrap_servers)

    async def create(message: KafkaMessage) -> None:
        record = message.raw_message
        assert not isinstance(record, tuple)
        one = deed(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            record.value or b"",
            dict(record.headers),
        )
        async with pool.acquire() as connection:
            await write_one(connection, one, lanes[one.partition], numbers)
        headers = {name: value.decode() for name, value in one.headers}
        await broker.publish(
            one.body, settings.topic_created, key=one.key.encode(), partition=one.partition, headers=headers
        )

    subscribe = broker.subscriber(
        settings.topic_commands,
        group_id=settings.group_id,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )
    subscribe(create)
    await FastStream(broker).run()


if __name__ == "__main__":
    loop.run(main)
