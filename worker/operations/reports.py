"""The reports of all verbs: what `--json` prints; `schemas/operations/` is made from them."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from worker.catalogue.differences import How
from worker.catalogue.rows import RowKind
from worker.messages.hints import Status
from worker.operations.explain_report import ExplainReport
from worker.operations.letter_reports import DeadLettersListReport, DeadLettersRedriveReport, DeadLettersShowReport
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
    findings: dict[str, int] = Field(
        description="How many of each code: `missing`, `different`, `doubled`, `out-of-order`, `unasked` (names a "
        "command that has no such answer), `foreign` (names none); the same with `dead-letter-`; `ledger-missing`."
    )


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


KeyState = Literal["valid", "revoked", "revoked-later"]


class KeyReport(Model):
    """An API key; the key itself is kept nowhere."""

    sha256: str = Field(description="SHA-256 of the key, in hexadecimal digits.")
    company: str = Field(description="Whose it is.")
    label: str
    revoked_at: datetime | None = Field(description="Commands that were appended then or later are refused.")
    state: KeyState = Field(description="By the database's clock.")


class KeysListReport(Report):
    """`passport-worker keys list`: by company and label."""

    keys: tuple[KeyReport, ...]


class KeysRevokeReport(Report):
    """`passport-worker keys revoke`: from when on the key is refused."""

    revoked: KeyReport | None = Field(description="As it is now; null where it is not known which key was meant.")
    changed: bool = Field(description="Whether it is refused earlier than before.")


class KeysCreateReport(Report):
    """`passport-worker keys create`: the one time that the key is seen."""

    key: str | None = Field(repr=False, description="What producers send; null where none was made.")
    created: KeyReport | None
    line: dict[str, str] | None = Field(description="What the company's `apiKeys` in a catalogue file say of it.")


class KeysRotateReport(KeysCreateReport):
    """`passport-worker keys rotate`: a key in place of another."""

    revoked: KeyReport | None = Field(description="The old key, with the end of the overlap.")


class FieldChange(Model):
    """A field of a row that would change."""

    path: str = Field(description="Within the row, such as `prefill.manufacturerName`.")
    how: How
    old: JsonValue = Field(description="As it is kept; null where there is none.")
    new: JsonValue = Field(description="As the file has it; null where there is none.")


class RowChange(Model):
    """A row that loading the file would add or change."""

    kind: RowKind
    id: str = Field(description="Of an API key its SHA-256, in hexadecimal digits.")
    company: str | None = Field(description="Whose it is; null for what belongs to no company.")
    change: Literal["added", "changed"]
    fields: tuple[FieldChange, ...] = Field(
        description="Of a row that is changed; one that is added is new as a whole."
    )


class CatalogueDiffReport(Report):
    """`passport-worker catalogue diff`, and `load --dry-run`: what loading the file would do."""

    added: int = Field(description="Rows.")
    changed: int = Field(description="Rows.")
    changes: tuple[RowChange, ...]
    warnings: tuple[str, ...] = Field(description="What is loaded as it is, and nobody can have meant.")


class CompanyQuota(Model):
    """A company's plan, and what is used of it."""

    company: str
    name: str
    plan: str
    slots_used: int = Field(description="Passports.")
    slots_limit: int | None = Field(description="Above it passports cost, or are refused; null: none.")
    slots_share: float | None = Field(description="Used of the limit, 1 for a limit of 0; null without one.")
    writes_today: int = Field(description="Passports created on this UTC day.")
    writes_limit: int | None = Field(description="A day; null: none.")
    writes_share: float | None
    charges: int = Field(description="Passports of this month that were charged for.")
    charged_cents: int


class QuotaShowReport(Report):
    """`passport-worker quota show`: nearest to an end first."""

    day: date | None = Field(description="Of the writes, in UTC by the database's clock; the charges are of its month.")
    quotas: tuple[CompanyQuota, ...]


class MinuteActivity(Model):
    """Answers of a minute, by their event."""

    minute: datetime = Field(description="Its beginning.")
    created: int
    replayed: int
    overage_required: int
    conflict: int
    rejected: int


class RefusedCompany(Model):
    """Commands of a company that were refused for one reason."""

    company: str | None = Field(
        description="Null where the credentials did not say whose they are, or too many were refused at once."
    )
    name: str | None
    code: str
    count: int


class ActivityReport(Report):
    """What workers did in the last hour, as they write it down every ten seconds; the console shows it."""

    minutes: tuple[MinuteActivity, ...] = Field(description="All of the hour, oldest first, by the database's clock.")
    refusals: tuple[RefusedCompany, ...] = Field(description="The 200 of most, largest first.")


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


REPORTS: Mapping[str, type[BaseModel]] = {
    "activity": ActivityReport,
    "audit": AuditReport,
    "catalogue-diff": CatalogueDiffReport,
    "catalogue-load": CatalogueDiffReport,
    "dead-letters-list": DeadLettersListReport,
    "dead-letters-redrive": DeadLettersRedriveReport,
    "dead-letters-show": DeadLettersShowReport,
    "doctor": DoctorReport,
    "explain": ExplainReport,
    "keys-create": KeysCreateReport,
    "keys-list": KeysListReport,
    "keys-revoke": KeysRevokeReport,
    "keys-rotate": KeysRotateReport,
    "lanes": LanesReport,
    "lanes-recover": RecoverReport,
    "lanes-reset": ResetReport,
    "replay": ReplayReport,
    "quota-show": QuotaShowReport,
}
"""By the name of the verb; of `activity`, by that of the console's address."""
