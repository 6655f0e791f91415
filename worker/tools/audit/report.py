"""The report of `audit`."""

from pydantic import Field

from worker.tools.common.report import Model, Report


class AuditedLane(Model):
    """A partition whose results were compared with the ledger."""

    topic: str
    partition: int
    start: int = Field(alias="from", description="The first offset.")
    stop: int = Field(alias="to", description="The offset after the last one.")
    commands: int
    results: int = Field(description="How many records of result topics name these commands.")
    repeats: int = Field(description="How many results and dead letters were not the first of their command.")
    expired: int = Field(description="How many results a log, or answers the ledger, has dropped with its retention.")
    unchecked: int = Field(
        description="How many results are not visible, and may or may not have been dropped by a log: producers write "
        "the times of commands, or the log is empty and the broker does not tell its retention. No finding."
    )
    findings: dict[str, int] = Field(
        description="How many of each code: `missing`, `different`, `doubled`, `out-of-order`, `unasked` (names a "
        "command that has no such answer), `foreign` (names no command); the same codes with `dead-letter-`; "
        "`ledger-missing`."
    )


class AuditReport(Report):
    """`passport-worker audit`: whether each command has exactly one result, with the ledger's bytes."""

    lanes: tuple[AuditedLane, ...]
    elsewhere: dict[str, int] = Field(
        default_factory=dict, description="How many findings of each code in partitions where no lane has results."
    )
