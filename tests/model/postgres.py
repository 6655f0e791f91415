"""Postgres: a row a lane, and the ledger. Each method is one transaction; row locks make it happen at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.steps import Broken
from tests.model.variant import Variant


class Result(NamedTuple):
    """What a command is answered with; `decided_by` tells one decision from another."""

    lane: int
    offset: int
    decided_by: str

    def __repr__(self) -> str:
        return f"{self.lane}:{self.offset} of {self.decided_by}"


class FencingToken(NamedTuple):
    """The right to write for a lane until somebody raises its epoch, and the list of ids as it was before."""

    epoch: int
    listed: frozenset[str]


class Part(NamedTuple):
    """A lane's part of a turn: whose hold it is, where the lane has to stand, the E that is known, and its commands."""

    epoch: int
    applied: int
    emitted: int
    offsets: tuple[int, ...]

    @property
    def follows_on(self) -> bool:
        """Whether the lane's next commands are just these."""
        return self.offsets == tuple(range(self.applied, self.applied + len(self.offsets)))


@dataclass(slots=True)
class LaneRow:
    """`applied` is A, `emitted` is a lower bound of E; `producers` are the ids that may still have something open."""

    epoch: int = 0
    generation: int = 0
    applied: int = 0
    emitted: int = 0
    producers: frozenset[str] = frozenset()


class Postgres:
    """What all workers share."""

    def __init__(self, lanes: range, variant: Variant) -> None:
        self.rows = {lane: LaneRow() for lane in lanes}
        self.ledger: dict[tuple[int, int], Result] = {}
        self._variant = variant

    def register(self, lanes: tuple[int, ...], id: str, generation: int, force: bool) -> dict[int, FencingToken]:
        """Step 2. Lanes that a newer generation holds are left out, unless by `force`."""
        holds = {}
        for lane in lanes:
            row = self.rows[lane]
            if row.generation <= generation or force:
                row.epoch += 1
                row.generation = generation
                holds[lane] = FencingToken(row.epoch, row.producers)
                row.producers = frozenset({id}) if self._variant.only_last_owner else row.producers | {id}
        return holds

    def list_only(self, epochs: Mapping[int, int], id: str) -> frozenset[int]:
        """Step 4, for the lanes whose epoch is still the given one: they are the answer."""
        checked = not self._variant.list_cut_unchecked
        ours = frozenset(lane for lane, epoch in epochs.items() if self.rows[lane].epoch == epoch or not checked)
        for lane in ours:
            self.rows[lane].producers = frozenset({id})
        return ours

    def take_off(self, lanes: tuple[int, ...], id: str) -> None:
        """Nothing that the protocol does."""
        for lane in lanes:
            self.rows[lane].producers -= {id}

    def applied(self, epochs: Mapping[int, int]) -> dict[int, int]:
        """A of the lanes whose epoch is still the given one."""
        return {lane: self.rows[lane].applied for lane, epoch in epochs.items() if self.rows[lane].epoch == epoch}

    def lower_bounds(self, lanes: tuple[int, ...]) -> dict[int, int]:
        """Of E."""
        return {lane: self.rows[lane].emitted for lane in lanes}

    def results(self, lane: int, start: int, stop: int) -> tuple[Result, ...]:
        """The ledger rows [start, stop)."""
        rows = tuple(self.ledger[lane, offset] for offset in range(start, stop) if (lane, offset) in self.ledger)
        if len(rows) < stop - start:
            raise Broken(f"lost: of lane {lane} the ledger has only {rows} in [{start}, {stop})")
        return rows

    def commit(self, turn: Mapping[int, Part], decided_by: str) -> dict[int, tuple[Result, ...]] | None:
        """Results and A of a turn. A lane that was lost is left out, its neighbours go on.

        None, and nothing done, where the commands of a lane are not its next ones.
        """
        if not (self._variant.batches_unchecked or all(part.follows_on for part in turn.values())):
            return None
        done = {}
        for lane, part in turn.items():
            row = self.rows[lane]
            if row.epoch == part.epoch and row.applied == part.applied:
                row.applied, row.emitted = part.offsets[-1] + 1, max(row.emitted, part.emitted)
                done[lane] = tuple(Result(lane, offset, decided_by) for offset in part.offsets)
                self.ledger.update({result[:2]: result for result in done[lane]})
        return done
