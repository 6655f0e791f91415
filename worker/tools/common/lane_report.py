"""Where a lane stands, as `lanes`, `doctor` and the console report it."""

from typing import Literal

from pydantic import Field

from worker.tools.common.report import Model, Report

LaneState = Literal["in-step", "behind", "unowned", "never-run", "halted", "unknown"]


class LaneReport(Model):
    """A partition of the command topic, and what both servers know of it; null is what could not be known."""

    topic: str
    partition: int
    applied: int | None = Field(description="A: the next offset to decide, in Postgres.")
    emitted: int | None = Field(description="E: the next offset whose result is not visible, in Kafka.")
    ledger_from: int | None = Field(description="From here on the ledger is complete.")
    log_start: int | None
    log_end: int | None
    lag_records: int | None = Field(description="Offsets from E to the end of the log.")
    lag_seconds: float | None = Field(description="Age of the record at E; 0 where none waits.")
    generation: int | None = Field(description="Of the group, when the lane was opened last.")
    member: str | None = Field(description="Whom the group has given the partition.")
    host: str | None = Field(description="Where that member connects from.")
    state: LaneState
    advice: str | None = Field(description="What to do, where something is wrong.")


class LanesReport(Report):
    """`passport-worker lanes`: where every lane stands."""

    group: str
    lanes: tuple[LaneReport, ...]
