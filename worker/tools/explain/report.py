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
    """Where a record stands."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """As `ce_causationid` writes it."""
        return str(Place(self.topic, self.partition, self.offset))


class CredentialsReport(Model):
    """What may be told of credentials."""

    kind: str = Field(
        description="`api-key`, `access-token`, `signature`, or what was seen in place of them, such as `none`."
    )
    label: str | None = Field(description="Of a key that the database knows; readers may not see that of an API key.")
    hash_digits: str | None = Field(description="The first digits of its SHA-256, where the database knows the key.")
    key_id: str | None = Field(
        description="Which key an access token or a signature says has signed it; nobody verified it here."
    )
    expires_at: datetime | None = Field(description="Until when an access token or a signature says it is good.")
    misfit: str | None = Field(
        None, description="The first of a signature's claims `aud`, `sha256`, `key` and `ct` that is not this record's."
    )


class AskedReport(Model):
    """What the body asks for, as far as it can be read; null is what is not there or is of another type."""

    product_id: str | None
    gtin: str | None
    serial_number: str | None
    confirm_overage: bool | None


class CommandReport(Model):
    """The record on the command topic."""

    appended_at: datetime
    key: str | None = Field(description="Of the record; bytes that are not UTF-8 are escaped.")
    key_bytes: int
    value_bytes: int
    headers: int
    idempotency_key: str | None = Field(description="Null where there is none that is well formed.")
    credentials: CredentialsReport
    asked: AskedReport | None = Field(description="Null where the record cannot be read.")


class LanePosition(Model):
    """Where the lane stands; null is what could not be known."""

    applied: int | None = Field(description="A: the next offset to decide, in Postgres.")
    emitted: int | None = Field(description="E: the next offset whose result is not visible, in Kafka.")
    ledger_from: int | None = Field(description="From here on the ledger is complete.")
    log_start: int | None
    log_end: int | None = Field(description="Behind the last record that is visible: an open transaction hides more.")


class RuleReport(Model):
    """The rule that answered, as the README counts them."""

    number: int
    name: str


class BindingReport(Model):
    """To what the idempotency key is bound."""

    company_id: str
    key: str
    passport_id: str
    since: datetime
    until: datetime = Field(description="24 hours later: then the key may be bound again.")


class ChargeReport(Model):
    """What the passport was charged as overage."""

    price_cents: int
    charged_at: datetime


class DeadLetterReport(Model):
    """The copy of a record that could not be read."""

    reason: str
    record: RecordPlace | None = Field(description="Null where it is not visible, or not any more.")


class OutcomeReport(Model):
    """How the command was answered."""

    code: str = Field(description="`created`, `replayed`, or the code of the refusal.")
    status: int | None = Field(description="As over HTTP: 201, or that of the refusal.")
    rule: RuleReport | None = Field(description="Null for an answer that this version does not write.")
    why: str = Field(description="In plain sentences.")
    event: str = Field(description="Which event it is: `created`, `overage-required`, `conflict`, `rejected`.")
    company_id: str | None
    passport_id: str | None = Field(description="Of a created or replayed passport.")
    key: str = Field(description="Of the result.")
    body: JsonValue = Field(description="Of the result.")
    source: Literal["ledger", "result"] = Field(description="Who told: the database, or the result topic.")
    emitted: bool | None = Field(description="Whether the result is visible; null where Kafka does not tell.")
    result: RecordPlace | None = Field(description="Where it was found; it may be gone with its log's retention.")

    @property
    def of_the_rule(self) -> str:
        """How its rule came out: the end of a sentence that the rule's name begins."""
        return {"created": "", "replayed": ": it is, and to the same body"}.get(self.code, ": not so")


class ExplainReport(Report):
    """`passport-worker explain`: what became of a command, and why."""

    asked: str = Field(description="What was asked for.")
    place: RecordPlace | None = Field(description="Of the command.")
    state: State = Field(
        description="answered. waiting: for its lane. dropped: from the ledger, with its day. missing: from the "
        "ledger, though it should be there. no-command: a transaction marker, or one that was aborted or compacted. "
        "beyond-the-end, expired: of the log. not-found: no place is known. unknown: a server is away."
    )
    notes: tuple[str, ...] = Field(description="What else is to be known of it, in plain sentences.")
    command: CommandReport | None
    lane: LanePosition | None
    outcome: OutcomeReport | None
    dead_letter: DeadLetterReport | None
    binding: BindingReport | None
    charge: ChargeReport | None
    trace_id: str | None
    others: tuple[RecordPlace, ...] = Field(description="With --scan: others under the same key, newest first.")
