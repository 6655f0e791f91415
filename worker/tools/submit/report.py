"""The report of `submit`."""

from pydantic import Field

from worker.tools.common.report import Model, Report

BAD_ROWS, DUPLICATES, REFUSED = "bad-rows", "duplicates", "refused"
"""Codes of problems with rows. All others ended the verb early."""


class FaultyRow(Model):
    """A row with a fault."""

    row: int = Field(description="Number of the row; 1 is the first one after the header line.")
    line: int = Field(description="Line of the file where the row begins.")
    got: str = Field(description="The value that is wrong, if only a part of the row is.")


class FaultGroup(Model):
    """Rows with equal faults."""

    text: str = Field(description="What is wrong, and in which column or field.")
    advice: str = Field(description="What to do; may be empty.")
    rows: int = Field(description="Number of rows with this fault.")
    first: tuple[FaultyRow, ...] = Field(description="The first ten of them.")


class RefusalReason(Model):
    """Rows that were refused for the same reason."""

    outcome: str = Field(description="`overage-required`, `conflict` or `rejected`.")
    status: str = Field(description="The status of the answers, such as 401.")
    error: str = Field(description="The error of the answers.")
    rows: int = Field(description="Number of these rows.")


class SubmitReport(Report):
    """Rows of a file, their faults and their answers."""

    file: str = Field(description="The file, as it was named.")
    answers_file: str | None = Field(default=None, description="The file with the answers; null if none was written.")
    dry_run: bool = Field(description="Whether rows were only checked.")
    rows: int = Field(description="Number of rows.")
    bad: int = Field(description="Number of rows that the worker would refuse because of their fields.")
    faults: tuple[FaultGroup, ...] = Field(description="Faults of bad rows, equal ones together.")
    other_faults: int = Field(default=0, description="Number of faults beyond 100 different ones.")
    duplicates: tuple[FaultGroup, ...] = Field(
        default=(), description="Rows with the GTIN and serial number of an earlier row. Only a dry run looks for them."
    )
    answered_earlier: int = Field(default=0, description="Number of rows that an earlier run has answered.")
    answered: int = Field(default=0, description="Number of rows that got their answer in this run.")
    unanswered: int = Field(default=0, description="Number of rows without an answer. The same command sends them.")
    outcomes: dict[str, int] = Field(
        default_factory=dict, description="Number of answers by outcome, those of earlier runs included."
    )
    reasons: tuple[RefusalReason, ...] = Field(
        default=(), description="Reasons of all refusals, the most frequent one first."
    )
    advice: str = Field(default="", description="What to do about credentials that were refused; may be empty.")
    retry: tuple[str, ...] = Field(default=(), description="Commands that send refused rows again.")
