"""The reports of `dead-letters`. Texts of records are escaped, and without API keys."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from worker.tools.common.report import Model, Report


class RedrivenReport(Model):
    """One time that a command was published again."""

    times: int = Field(description="How often it was published again, including this time.")
    place: str | None = Field(
        description="Place of the new command; null if the redrive was interrupted, so that it may not exist."
    )
    operation: str = Field(description="Id of the row in the table `operation`.")


class DeadLetterReport(Model):
    """A command that could not be read or processed."""

    place: str = Field(description="Place of the command, `<topic>/<partition>/<offset>`.")
    code: str = Field(description="The reason, as in `dlq-reason`.")
    appended_at: datetime | None = Field(description="When the command was appended.")
    key: str | None = Field(description="The record's key, escaped; in a list its first 256 bytes.")
    value_bytes: int | None = Field(description="Null for a null value.")
    company: str | None = Field(description="The company, if the answer to the command or to its repetition knew it.")
    name: str | None = Field(description="Name of the company, if the catalogue has it.")
    redriven: RedrivenReport | None = Field(description="The last time that the command was published again.")


class DeadLettersListReport(Report):
    """`passport-worker dead-letters list`: newest first."""

    dead_letters: tuple[DeadLetterReport, ...]


class HeaderReport(Model):
    """A header of a record."""

    name: str
    value: str | None = Field(description="Escaped; null for a null value.")


class DeadLettersShowReport(Report):
    """`passport-worker dead-letters show`: a whole dead letter as it was stored, without credentials."""

    dead_letter: DeadLetterReport | None
    headers: tuple[HeaderReport, ...]
    value: str | None = Field(description="Escaped; --output writes its bytes.")
    redrives: tuple[RedrivenReport, ...] = Field(description="Each time that the command was published again.")


RedriveOutcome = Literal["to-publish", "to-settle", "published", "settled", "refused"]


class RedriveReport(Model):
    """A command to publish again, and what happened to it."""

    place: str
    code: str | None = Field(description="Why it is a dead letter; null if it has none.")
    outcome: RedriveOutcome = Field(
        description="to-publish: would be published. to-settle: another redrive was interrupted; the run would first "
        "find out whether that one published it. published: by this run. settled: the interrupted redrive had "
        "published it. refused: see the problems."
    )
    new_place: str | None = Field(description="Place of the new command.")
    times: int | None = Field(description="How often it was published again, including this time.")


class DeadLettersRedriveReport(Report):
    """`passport-worker dead-letters redrive`: commands that are published again."""

    executed: bool = Field(description="Whether commands were published; otherwise this is only the plan.")
    operation: str | None = Field(description="Id of the row in the table `operation`.")
    warnings: tuple[str, ...] = Field(description="Why new commands will be refused.")
    redrives: tuple[RedriveReport, ...] = Field(description="Partition by partition, in the order of offsets.")
