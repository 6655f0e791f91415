"""The inside of a turn's transaction: lanes are locked first, then facts gathered, then all effects written at once."""

from collections.abc import Sequence, Set

from worker.domain.command import Command
from worker.domain.facts import Facts
from worker.domain.outcomes import Created
from worker.messages.events import Answer
from worker.store import sql
from worker.store.facts import Gathering
from worker.store.frames import Frame, Frames, own_of
from worker.store.port import ExpectedPosition, LostLane, StoreUnavailable
from worker.store.rows import dead_letter_row, frame_columns, ledger_columns, passport_columns


async def lock_lanes(connection: sql.Connection, expected: Sequence[ExpectedPosition]) -> None:
    """Raises `LostLane` of those that are not ours any more, `StoreUnavailable` where one is somewhere else."""
    rows = await connection.fetch(sql.load("lock_lanes"), [one.token.lane_id for one in expected])
    applied = {(row["id"], row["epoch"], row["holder"]): row["applied"] for row in rows}
    lost = [one.token for one in expected if one.token.held not in applied]
    if lost:
        raise LostLane(lost)
    for one in expected:
        found = applied[one.token.held]
        if found != one.applied:
            raise StoreUnavailable(f"{one.token.name}: expected to be at {one.applied}, found {found}")


class PostgresTransaction:
    """See `worker.store.port.Transaction`."""

    def __init__(
        self, connection: sql.Connection, expected: Sequence[ExpectedPosition], frames: Frames, known: Set[bytes]
    ) -> None:
        """`known` are ids of frames that this session has seen in the database."""
        self._connection, self._expected = connection, expected
        self._frames, self._known = frames, known
        self.written: dict[bytes, tuple[Frame, Created]] = {}
        self._gathering = Gathering(connection, Facts(), frames)

    async def gather(self, commands: Sequence[Command], facts: Facts) -> None:
        """See the port."""
        self._gathering = Gathering(self._connection, facts, self._frames)
        await self._gathering.gather(commands)

    async def reserve(self, created: Sequence[Created], facts: Facts) -> None:
        """Lock what these passports change, in the protocol's order, without a decision; `facts` are filled."""
        owners = {one.gtin: one.company_id for one in created}
        self._gathering = Gathering(self._connection, facts, self._frames)
        await self._gathering.reserve({one.company_id for one in created}, owners)

    async def record(
        self, created: Sequence[Created], answers: Sequence[Sequence[Answer]], positions: Sequence[int]
    ) -> None:
        """See the port."""
        await self._settle_gtins(created)
        lane_ids = [one.token.lane_id for one in self._expected]
        rows = [answer for own in answers for answer in own]
        row_lanes = [lane_id for lane_id, own in zip(lane_ids, answers, strict=True) for _ in own]
        bodies = {answer.passport_id: answer.value for answer in rows if not answer.replayed}
        kept = [self._frames.take_apart(one.product, bodies[one.passport_id], own_of(one)) for one in created]
        self.written = {
            frame.id: (frame, one) for (frame, _), one in zip(kept, created, strict=True) if frame.id not in self._known
        }
        moved = await self._connection.execute(
            sql.load("record"),
            *passport_columns(created, kept, self._gathering.numbers, self._gathering.key_ids),
            *ledger_columns(row_lanes, rows),
            lane_ids,
            positions,
            [one.emitted for one in self._expected],
            *frame_columns(self.written.values()),
        )
        if moved != f"UPDATE {len(lane_ids)}":
            raise StoreUnavailable(f"expected to move {len(lane_ids)} lanes on, got {moved}: a position goes back")
        for lane_id, answer in zip(row_lanes, rows, strict=True):
            if answer.dead_letter is not None:
                # Each by itself: a worker that is frozen between the pieces of an `executemany`, which asyncpg writes
                # without Sync, would keep its lane for ever before PostgreSQL 17 (guard B14).
                await self._connection.execute(
                    sql.load("dead_letters"), *dead_letter_row(lane_id, answer.offset, answer.dead_letter)
                )

    async def _settle_gtins(self, created: Sequence[Created]) -> None:
        """Claims become the registrations of those who created a passport; the others are taken back."""
        claimed = self._gathering.claimed
        if not claimed:
            return
        owners = {one.gtin: one.company_id for one in created if one.gtin in claimed}
        moved = {gtin: owner for gtin, owner in owners.items() if owner != claimed[gtin]}
        if moved:
            await self._connection.execute(sql.load("settle_gtins"), list(moved), list(moved.values()))
        unused = [gtin for gtin in claimed if gtin not in owners]
        if unused:
            await self._connection.execute(sql.load("release_gtins"), unused)
