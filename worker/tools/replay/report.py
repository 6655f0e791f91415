"""The report of `replay`."""

from pydantic import Field

from worker.tools.common.report import Model, Report


class ReplayedLane(Model):
    """A partition whose answers are published again."""

    topic: str
    partition: int
    start: int = Field(alias="from", description="The first offset.")
    stop: int = Field(alias="to", description="The offset after the last one.")
    next: int = Field(description="Every chosen answer below this offset is published again.")
    records: int = Field(description="How many results and dead letters.")
    bytes: int = Field(description="Bytes of their values.")
    outcomes: dict[str, int] = Field(description="How many of each outcome.")


class ReplayReport(Report):
    """`passport-worker replay`: answers of the ledger that are published again, byte for byte."""

    id: str | None = Field(description="Id of the replay, which `--resume` takes; null if nothing was published.")
    executed: bool = Field(description="Whether answers were published; otherwise this is only the plan.")
    lanes: tuple[ReplayedLane, ...]
