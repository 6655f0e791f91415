"""Making Postgres hold again what was published: whether it fits, and taking lanes out of the hands of workers."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple

from worker.domain.outcomes import Created
from worker.messages.events import Answer
from worker.store import sql
from worker.store.port import FencingToken, LaneName, LostLane, Registered
from worker.store.rows import token_columns

MOST_PLACES = 5


class Refused(NamedTuple):
    """Something that is planned cannot be: `total` such in the partition, of which this is one of the first."""

    code: str
    partition: int
    offset: int
    detail: str
    total: int


class Plan:
    """What is planned, in tables that only this connection sees. Raises `DATABASE_ERRORS`."""

    def __init__(self, connection: sql.Connection) -> None:
        self._connection = connection
        self._companies: set[str] = set()

    async def begin(self) -> None:
        """Make the tables."""
        await self._connection.execute("SET statement_timeout = '600s'")
        await self._connection.execute(sql.load("plan_tables", __package__))

    async def add(self, partition: int, rows: Sequence[tuple[Answer, Created | None]]) -> None:
        """Plan to restore these answers of a lane, and the passports that they made."""
        passports = [
            (partition, one.offset, made.passport_id, made.company_id, made.gtin, made.serial, _digest(one))
            for one, made in rows
            if made is not None
        ]
        replays = [(partition, one.offset, one.passport_id, _digest(one)) for one, _ in rows if one.replayed]
        companies = []
        for one, _ in rows:
            if one.company_id is not None and one.company_id not in self._companies:
                self._companies.add(one.company_id)
                companies.append((partition, one.offset, one.company_id))
        for table, found in (("passport", passports), ("replay", replays), ("company", companies)):
            await self._connection.copy_records_to_table(f"planned_{table}", records=found, schema_name="pg_temp")

    async def refused(self) -> list[Refused]:
        """All that cannot be, with `MOST_PLACES` places of each code and partition."""
        await self._connection.execute("ANALYZE planned_passport, planned_replay, planned_company")
        return [
            Refused(*row) for row in await self._connection.fetch(sql.load("plan_refusals", __package__), MOST_PLACES)
        ]

    async def ledger_rows(self, lane_id: int, start: int, stop: int) -> tuple[int, int | None]:
        """How many rows the ledger has at these offsets of a lane, and the first of them."""
        row = await self._connection.fetchrow(sql.load("ledger_rows_in", __package__), lane_id, start, stop)
        assert row is not None
        return row["rows"], row["first"]

    async def above_their_plan(self) -> list[tuple[str, int, int]]:
        """Of the companies that are concerned: id, slots used, and what the plan has, where that is less."""
        rows = await self._connection.fetch(sql.load("slots_above_plan", __package__), sorted(self._companies))
        return [(row["company_id"], row["slots_used"], row["max_dpps"]) for row in rows]


def _digest(answer: Answer) -> bytes:
    return sha256(answer.value).digest()


async def raise_epochs(connection: sql.Connection, group_id: str, topic: str) -> dict[int, Registered]:
    """Every lane of a group on a topic is ours, by partition, with the producers that may have something open."""
    rows = await connection.fetch(sql.load("raise_epochs", __package__), group_id, topic)
    return {
        row["partition"]: Registered(
            FencingToken(LaneName(group_id, topic, row["partition"]), row["id"], row["epoch"], row["holder"]),
            frozenset(row["producers"]),
        )
        for row in rows
    }


async def list_producer(
    connection: sql.Connection, tokens: Collection[FencingToken], producer: str
) -> dict[int, FencingToken]:
    """Whoever takes these lanes next fences that producer alone, which holds them now; tokens by partition.

    Raises `LostLane` of those that are taken already.
    """
    rows = await connection.fetch(sql.load("list_only"), *token_columns(tokens), producer)
    ours = {lane_id for (lane_id,) in rows}
    if lost := [token for token in tokens if token.lane_id not in ours]:
        raise LostLane(lost)
    return {token.name.partition: replace(token, holder=producer) for token in tokens}


async def make_lanes(connection: sql.Connection, names: Sequence[LaneName]) -> None:
    """Lanes that the database does not know."""
    for name in names:
        await connection.execute(sql.load("make_lane", __package__), name.group_id, name.topic, name.partition)


async def move_applied(connection: sql.Connection, token: FencingToken, applied: int, to: int) -> None:
    """A lane that stands at `applied` goes on at `to`. Raises `LostLane` where it does not stand there any more."""
    arguments = token.lane_id, token.epoch, to, applied, token.holder
    if await connection.fetchval(sql.load("move_applied", __package__), *arguments) is None:
        raise LostLane([token])
