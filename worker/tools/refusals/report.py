"""The report of `passport-worker refusals`."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from worker.domain.timestamps import format_time
from worker.tools.common.report import Model, Report


class RefusalReport(Model):
    """A command that was refused. Null: the result does not say."""

    appended_at: datetime = Field(description="Append time of the command, by which it was judged.")
    refused_at: datetime = Field(description="Append time of the result.")
    company: str | None = Field(description="Null if the credentials name no company.")
    name: str | None = Field(description="Name of the company; null if Postgres is away, or does not know it.")
    outcome: str = Field(description="`overage-required`, `conflict` or `rejected`, as `tail` and metrics name it.")
    code: str = Field(description="Code of the refusal; `unknown` for a body that no worker of this version writes.")
    status: int | None = Field(description="As over HTTP.")
    error: str = Field(description="The body's `error`, followed by its details.")
    key: str = Field(description="Key of the result: the idempotency key, or the place of the command.")
    product_id: str | None = Field(description="From rule 7 on: the body is known to be valid.")
    gtin: str | None
    serial_number: str | None
    channel: str = Field(description="Channel of the command; empty for the default channel.")
    command: str = Field(description="Place of the command.")
    result: str = Field(description="Place of the result.")

    @property
    def short_place(self) -> str:
        """The place of the command as `explain` takes it: without its topic on the default channel."""
        return self.command if self.channel else self.command.partition("/")[2]

    @property
    def details(self) -> str:
        """The part of the error that says more than the code."""
        return self.error.partition(": ")[2]

    @property
    def is_without_key(self) -> bool:
        """Whether the command had no well-formed idempotency key: then the key of the result is its place."""
        return self.key == self.command.replace("/", ":")


class RefusalsReport(Report):
    """`passport-worker refusals`: the newest refusals, and how far back the result topics were read."""

    company: str | None = Field(description="Id of the chosen company.")
    name: str | None
    outcomes: tuple[str, ...] = Field(description="Chosen outcomes and codes; empty: all.")
    since: datetime | None
    refusals: tuple[RefusalReport, ...] = Field(description="Newest first.")
    looked_at: int = Field(description="Number of refusals on these outcomes' topics that were searched.")
    back_to: datetime | None = Field(
        description="All refusals that were published since then were looked at. Null: all that the topics hold, or "
        "all since the chosen time."
    )
    reach: Literal["enough", "everything", "bound"] | None = Field(
        description="Why the reading ended. enough: as many as wanted were found. everything: there are no others. "
        "bound: one call reads no more; older refusals were not looked at. Null: nothing could be read."
    )

    @property
    def failed(self) -> bool:
        """Whether no refusal could be read."""
        return self.reach is None

    @property
    def span(self) -> str:
        """How far the reading went, as a sentence."""
        back = "" if self.back_to is None else f"back to {format_time(self.back_to)}"
        looked_at = "refusal" if self.looked_at == 1 else f"{self.looked_at:,} refusals"
        if self.reach == "bound":
            return f"Looked at the newest {looked_at}, {back}. Older ones were not looked at."
        if self.reach == "enough":
            return f"Looked at the newest {looked_at}, {back}. Older ones may follow."
        since = "that the result topics hold" if self.since is None else f"since {format_time(self.since)}"
        if not self.looked_at:
            return "The result topics hold no refusals." if self.since is None else f"There are no refusals {since}."
        return f"Looked at {'the only' if self.looked_at == 1 else 'all'} {looked_at} {since}."
