"""A turn's transaction: it locks the lanes, gathers facts, then writes all effects at once."""

from collections.abc import Sequence, Set

from worker.domain.facts import Facts
from worker.domain.outcomes import Created
from worker.messages.events import Answer
from worker.store import sql
from worker.store.facts import Gathering
from worker.store.frames import Frame, Frames, own_of
from worker.store.port import ExpectedPosition, StoreUnavailable
from worker.store.rows import dead_letter_row, frame_columns, ledger_columns, passport_columns


class PostgresTransaction(Gathering):
    """See `worker.store.port.Transaction`. Call `gather` first: `reserve` and `record` need its locks."""

    def __init__(
        self,
        connection: sql.Connection,
        expected: Sequence[ExpectedPosition],
        facts: Facts,
        frames: Frames,
        known: Set[bytes],
    ) -> None:
        """`known` holds the ids of frames that this session has seen committed."""
        super().__init__(connection, expected, facts, frames)
        self._known = known
        self.written: dict[bytes, tuple[Frame, Created]] = {}

    async def record(
        self, created: Sequence[Created], answers: Sequence[Sequence[Answer]], positions: Sequence[int]
    ) -> None:
        """See the port."""
        # Only a created passport registers a GTIN: a claim without one must not be committed.
        await self._settle_gtins(created)
        lane_ids = [position.token.lane_id for position in self._expected]
        rows = [answer for lane_answers in answers for answer in lane_answers]
        row_lanes = [lane_id for lane_id, lane_answers in zip(lane_ids, answers, strict=True) for _ in lane_answers]
        bodies = {answer.passport_id: answer.value for answer in rows if not answer.replayed}
        framed = [
            self._frames.take_apart(passport.product, bodies[passport.passport_id], own_of(passport))
            for passport in created
        ]
        self.written = {
            frame.id: (frame, passport)
            for (frame, _), passport in zip(framed, created, strict=True)
            if frame.id not in self._known
        }
        moved = await self._connection.execute(
            sql.load("record"),
            *passport_columns(created, framed, self.numbers, self.key_ids),
            *ledger_columns(row_lanes, rows),
            lane_ids,
            positions,
            [position.emitted for position in self._expected],
            *frame_columns(self.written.values()),
        )
        # The lanes are locked, so a row stays where it is only if its new position is lower.
        if moved != f"UPDATE {len(lane_ids)}":
            raise StoreUnavailable(f"expected to move {len(lane_ids)} lanes, got {moved}: a position goes back")
        for lane_id, answer in zip(row_lanes, rows, strict=True):
            if answer.dead_letter is not None:
                # Not `executemany`: asyncpg sends its pieces without Sync, and before PostgreSQL 17 a worker that
                # freezes between two of them would hold its lane without a limit (guard B14).
                await self._connection.execute(
                    sql.load("dead_letters"), *dead_letter_row(lane_id, answer.offset, answer.dead_letter)
                )

    async def _settle_gtins(self, created: Sequence[Created]) -> None:
        """Give claimed GTINs to the companies that created a passport with them, and free the others."""
        owners = {passport.gtin: passport.company_id for passport in created if passport.gtin in self.claimed}
        if moved := {gtin: owner for gtin, owner in owners.items() if owner != self.claimed[gtin]}:
            claims = [self.claimed[gtin] for gtin in moved]
            await self._connection.execute(sql.load("settle_gtins"), list(moved), claims, list(moved.values()))
        if unused := {gtin: claim for gtin, claim in self.claimed.items() if gtin not in owners}:
            await self._connection.execute(sql.load("release_gtins"), list(unused), list(unused.values()))
