"""The reports of all verbs: what `--json` prints; `schemas/operations/` is made from them."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field, JsonValue

from worker.catalogue.differences import How
from worker.catalogue.rows import RowKind
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


REPORTS: Mapping[str, type[BaseModel]] = {
    "lanes": LanesReport,
    "keys-create": KeysCreateReport,
    "keys-list": KeysListReport,
    "keys-revoke": KeysRevokeReport,
    "keys-rotate": KeysRotateReport,
    "catalogue-diff": CatalogueDiffReport,
    "catalogue-load": CatalogueDiffReport,
    "quota-show": QuotaShowReport,
}
"""By the name of the verb."""
