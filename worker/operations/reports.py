"""The reports of all verbs: what `--json` prints; `schemas/operations/` is made from them."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field

from worker.messages.hints import Status
from worker.operations.report import Model, Report

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


class CheckReport(Model):
    """What became of one check."""

    id: str = Field(description="Such as `kafka.reachable`; stable.")
    status: Status = Field(
        description="ok: as expected. warning: unusual, and a worker runs. failed: a worker does not run or not well. "
        "skipped: not configured, or not to be known; the finding says why."
    )
    finding: str = Field(description="What was found, and what was expected.")
    advice: str | None = Field(description="What to do, where something is wrong.")


class DoctorReport(Report):
    """`passport-worker doctor`: what a worker needs, check by check."""

    checks: tuple[CheckReport, ...]


REPORTS: Mapping[str, type[BaseModel]] = {"doctor": DoctorReport, "lanes": LanesReport}
"""By the name of the verb."""
