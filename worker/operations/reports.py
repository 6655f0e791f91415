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


class AuditedLane(Model):
    """Commands of a partition whose results were compared with the ledger."""

    topic: str
    partition: int
    start: int = Field(alias="from", description="The first offset.")
    stop: int = Field(alias="to", description="The offset behind the last one.")
    commands: int
    results: int = Field(description="Records of result topics that name these commands.")
    repeats: int = Field(description="How many of them, and of dead letters, were not the first.")
    expired: int = Field(description="Results that the log has dropped with its retention.")
    findings: dict[str, int] = Field(description="How many of each code.")


class AuditReport(Report):
    """`passport-worker audit`: whether each command has exactly one result, with the ledger's bytes."""

    lanes: tuple[AuditedLane, ...]


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


REPORTS: Mapping[str, type[BaseModel]] = {
    "audit": AuditReport,
    "doctor": DoctorReport,
    "lanes": LanesReport,
    "lanes-recover": RecoverReport,
}
"""By the name of the verb."""
