"""The reports of `passport-worker dead-letters`; texts of records are escaped, and API keys in them left out."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from worker.tools.common.report import Model, Report


class RedrivenReport(Model):
    """That a command was published again."""

    times: int = Field(description="How often, with this time.")
    place: str | None = Field(description="The new command; null: interrupted, so that it is not known whether it is.")
    operation: str = Field(description="Id of the row in the table `operation`.")


class DeadLetterReport(Model):
    """A command that could not be read or processed."""

    place: str = Field(description="Of the command, `<topic>/<partition>/<offset>`.")
    code: str = Field(description="Why; as `dlq-reason`.")
    appended_at: datetime | None = Field(description="When the command was appended.")
    key: str | None = Field(description="The record's key, in a list its first 256 bytes; escaped.")
    value_bytes: int | None = Field(description="Null for a null value.")
    company: str | None = Field(description="Whose it is, where its answer or that of its repetition knew.")
    redriven: RedrivenReport | None = Field(description="The last time that it was published again.")


class DeadLettersListReport(Report):
    """`passport-worker dead-letters list`: newest first."""

    dead_letters: tuple[DeadLetterReport, ...]


class HeaderReport(Model):
    """A header of a record."""

    name: str
    value: str | None = Field(description="Escaped; null for a null value.")


class DeadLettersShowReport(Report):
    """`passport-worker dead-letters show`: all of one, as it was kept: without credentials."""

    dead_letter: DeadLetterReport | None
    headers: tuple[HeaderReport, ...]
    value: str | None = Field(description="Escaped; --output writes its bytes.")
    redrives: tuple[RedrivenReport, ...] = Field(description="Each time that it was published again.")


RedriveOutcome = Literal["to-publish", "to-settle", "published", "settled", "refused"]


class RedriveReport(Model):
    """What became of publishing a command again."""

    place: str
    code: str | None = Field(description="Why it is a dead letter; null where it is none.")
    outcome: RedriveOutcome = Field(
        description="to-publish: it would be. to-settle: another redrive was interrupted, and it would be found out "
        "whether it has published. published: now. settled: by the other redrive, as was found out. "
        "refused: see the problems."
    )
    new_place: str | None = Field(description="The new command.")
    times: int | None = Field(description="How often it was published again, with this time.")


class DeadLettersRedriveReport(Report):
    """`passport-worker dead-letters redrive`: commands that are published again."""

    executed: bool = Field(description="Whether they were; otherwise this is what would be.")
    operation: str | None = Field(description="Id of the row that was kept of it.")
    warnings: tuple[str, ...] = Field(description="What the new commands will be refused for.")
    redrives: tuple[RedriveReport, ...] = Field(description="In the order of their offsets, partition by partition.")
