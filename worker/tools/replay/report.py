"""The report of `replay`."""

from pydantic import Field

from worker.tools.common.report import Model, Report


class ReplayedLane(Model):
    """A partition whose answers are published once more."""

    topic: str
    partition: int
    start: int = Field(alias="from", description="The first offset.")
    stop: int = Field(alias="to", description="The offset behind the last one.")
    next: int = Field(description="All that was chosen below it is published again.")
    records: int = Field(description="Results and dead letters.")
    bytes: int = Field(description="Of their values.")
    outcomes: dict[str, int] = Field(description="How many of each outcome's code.")


class ReplayReport(Report):
    """`passport-worker replay`: answers of the ledger, once more, byte for byte."""

    id: str | None = Field(description="What `--resume` takes; null while nothing is executed.")
    executed: bool = Field(description="Whether it was published; otherwise this is what would be.")
    lanes: tuple[ReplayedLane, ...]
