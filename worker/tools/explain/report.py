"""The report of `passport-worker explain`."""

from datetime import datetime
from typing import Literal

from pydantic import Field, JsonValue

from worker.domain.places import Place
from worker.tools.common.report import Model, Report

State = Literal[
    "answered", "waiting", "dropped", "missing", "no-command", "beyond-the-end", "expired", "not-found", "unknown"
]


class RecordPlace(Model):
    """The place of a record."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """The text of the place, as in `ce_causationid`."""
        return str(Place(self.topic, self.partition, self.offset))


class CredentialsReport(Model):
    """Credentials of a command, as far as a report may show them."""

    kind: str = Field(
        description="`api-key`, `access-token`, `signature`, or what the command has instead, such as `none`."
    )
    label: str | None = Field(
        description="Label of a key that the database knows; a reader's role may not see labels of API keys."
    )
    hash_digits: str | None = Field(description="The first digits of its SHA-256, if the database knows the key.")
    key_id: str | None = Field(description="The key that an access token or a signature names; not verified here.")
    expires_at: datetime | None = Field(description="When an access token or a signature says that it expires.")
    misfit: str | None = Field(
        None,
        description="The first of a signature's claims `aud`, `sha256`, `key` and `ct` that does not match the record.",
    )


class AskedReport(Model):
    """The values that the body asks for. A value is null if it is missing, of another type, or unreadable."""

    product_id: str | None
    gtin: str | None
    serial_number: str | None
    confirm_overage: bool | None


class CommandReport(Model):
    """The record on the command topic."""

    appended_at: datetime
    key: str | None = Field(description="Key of the record; bytes that are not UTF-8 are escaped.")
    key_bytes: int
    value_bytes: int
    headers: int
    idempotency_key: str | None = Field(description="Null if the command has no well-formed one.")
    credentials: CredentialsReport
    asked: AskedReport | None = Field(description="Null if the record cannot be read.")


class LanePosition(Model):
    """Positions of the lane; null if a server could not be asked."""

    applied: int | None = Field(description="A: the next offset to decide, in Postgres.")
    emitted: int | None = Field(description="E: the next offset whose result is not visible, in Kafka.")
    ledger_from: int | None = Field(description="The offset from which the ledger is complete.")
    log_start: int | None
    log_end: int | None = Field(
        description="The offset after the last visible record: an open transaction hides those after it."
    )


class RuleReport(Model):
    """The rule that answered, with its number in the README."""

    number: int
    name: str


class BindingReport(Model):
    """The passport to which the idempotency key is bound."""

    company_id: str
    key: str
    passport_id: str
    since: datetime
    until: datetime = Field(description="24 hours later; from then on the key may be bound again.")


class ChargeReport(Model):
    """The charge for a passport beyond the plan's slots."""

    price_cents: int
    currency: str = Field(description="Of the settings (PASSPORT_CURRENCY).")
    charged_at: datetime


class DeadLetterReport(Model):
    """The copy of a record that could not be read."""

    reason: str
    record: RecordPlace | None = Field(description="Null if it is not visible, or no longer visible.")


class OutcomeReport(Model):
    """How the command was answered."""

    code: str = Field(description="`created`, `replayed`, or the code of the refusal.")
    status: int | None = Field(description="As over HTTP: 201, or the status of the refusal.")
    rule: RuleReport | None = Field(description="Null for an answer that this version of the worker does not write.")
    why: str = Field(description="Why the command got this answer, in plain sentences.")
    event: str = Field(description="The kind of event: `created`, `overage-required`, `conflict`, `rejected`.")
    company_id: str | None
    company_name: str | None = Field(description="Null if Postgres is away, or does not know the company.")
    passport_id: str | None = Field(description="Id of the created or replayed passport.")
    key: str = Field(description="Key of the result.")
    body: JsonValue = Field(description="Body of the result.")
    source: Literal["ledger", "result"] = Field(
        description="Where the answer was read: the database, or the result topic."
    )
    emitted: bool | None = Field(description="Whether the result is visible; null if Kafka could not be asked.")
    result: RecordPlace | None = Field(
        description="Place of the result; null if it was not found, such as after its topic's retention."
    )

    @property
    def of_the_rule(self) -> str:
        """The result of the rule, to end the sentence that the name of the rule begins."""
        return {"created": "", "replayed": ": it is, and to the same body"}.get(self.code, ": failed")


class ExplainReport(Report):
    """`passport-worker explain`: what became of a command, and why."""

    asked: str = Field(description="The address that was asked for.")
    place: RecordPlace | None = Field(description="Place of the command.")
    state: State = Field(
        description="answered. waiting: its lane has not decided it yet. dropped: its answer left the ledger with its "
        "day. missing: the ledger should have an answer, but has none. no-command: a transaction marker, or a record "
        "that was aborted or compacted. beyond-the-end: the log ends before it. expired: the log begins after it. "
        "not-found: no place is known. unknown: a server is away."
    )
    notes: tuple[str, ...] = Field(description="Further notes, in plain sentences.")
    command: CommandReport | None
    lane: LanePosition | None
    outcome: OutcomeReport | None
    dead_letter: DeadLetterReport | None
    binding: BindingReport | None
    charge: ChargeReport | None
    trace_id: str | None
    others: tuple[RecordPlace, ...] = Field(description="With --scan: other commands under the same key, newest first.")
