"""The reports of `lanes recover` and `lanes reset`."""

from pydantic import Field

from worker.tools.common.report import Model, Report


class RecoveredLane(Model):
    """A chosen lane, and how much of it has to be restored: nothing if it lost no commits."""

    topic: str
    partition: int
    applied: int = Field(description="A before the verb; 0 if Postgres does not know the lane.")
    emitted: int | None = Field(description="E, which recovery never moves.")
    published_end: int = Field(description="One past the newest command with a visible result; 0 without one.")
    target: int = Field(description="One past everything that was published. A moves there, unless it is further.")
    commands: int = Field(description="How many commands are to be restored.")
    outcomes: dict[str, int] = Field(description="How many of each outcome.")
    dead_letters: int
    charges: int = Field(description="How many passports were charged as overage.")
    keys_bound: int = Field(description="How many idempotency keys are bound.")
    refusals: dict[str, int] = Field(description="Why the lane cannot be recovered: how many of each code.")


class RecoverReport(Report):
    """`passport-worker lanes recover`: what was published, but is missing in Postgres."""

    executed: bool = Field(
        description="Whether it was written, or a part of it before a failure; otherwise this is only the plan."
    )
    operation: str | None = Field(description="Id of the row in the table `operation`.")
    warnings: tuple[str, ...] = Field(description="What is unusual, but does not prevent the recovery.")
    lanes: tuple[RecoveredLane, ...]


class ResetLane(Model):
    """The positions of a lane, and those that it is to have: the same if it is not halted."""

    topic: str
    partition: int
    applied: int = Field(description="A before the verb.")
    emitted: int = Field(description="E before the verb.")
    applied_after: int
    emitted_after: int


class ResetReport(Report):
    """`passport-worker lanes reset`: lanes of a channel, and the positions from which halted ones can run."""

    executed: bool = Field(description="Whether lanes were moved; otherwise this is only the plan.")
    operation: str | None = Field(description="Id of the row in the table `operation`.")
    lanes: tuple[ResetLane, ...]
    halted_elsewhere: tuple[str, ...] = Field((), description="Other channels with halted lanes, for --channel.")
