"""The reports of `lanes recover` and `lanes reset`."""

from pydantic import Field

from worker.tools.common.report import Model, Report


class RecoveredLane(Model):
    """A lane that lost commits, and what recovering it comes to."""

    topic: str
    partition: int
    applied: int = Field(description="A as it was found; 0 where Postgres does not know the lane.")
    emitted: int | None = Field(description="E, which is never moved.")
    published_end: int = Field(description="One past the newest command that a visible result names; 0 for none.")
    target: int = Field(description="A afterwards.")
    commands: int = Field(description="Commands that are to be restored.")
    outcomes: dict[str, int] = Field(description="How many of each outcome.")
    dead_letters: int
    charges: int = Field(description="Passports that were charged as overage.")
    keys_bound: int = Field(description="Idempotency keys that are bound.")
    refusals: dict[str, int] = Field(description="Why it cannot be recovered: how many of each code.")


class RecoverReport(Report):
    """`passport-worker lanes recover`: what was published and Postgres does not hold."""

    executed: bool = Field(description="Whether it was written; otherwise this is what would be.")
    operation: str | None = Field(description="Id of the row that was kept of it.")
    warnings: tuple[str, ...] = Field(description="What is odd, and in the way of nothing.")
    lanes: tuple[RecoveredLane, ...]


class ResetLane(Model):
    """Where a lane stands, and where it is to stand; both are the same where nothing is in its way."""

    topic: str
    partition: int
    applied: int = Field(description="A as it was found.")
    emitted: int = Field(description="E as it was found.")
    applied_after: int
    emitted_after: int


class ResetReport(Report):
    """`passport-worker lanes reset`: halted lanes, and the positions from which they can go on."""

    executed: bool = Field(description="Whether they were moved; otherwise this is what would be.")
    operation: str | None = Field(description="Id of the row that was kept of it.")
    lanes: tuple[ResetLane, ...]
