"""The report of `backup-taken`."""

from datetime import datetime

from pydantic import Field

from worker.tools.common.report import Report


class BackupTakenReport(Report):
    """`passport-worker backup-taken`: the backup that was noted."""

    taken_at: datetime = Field(description="When the backup was taken: commits up to then are in it.")
    operation: str | None = Field(description="Id of its row in the table `operation`; null: nothing was noted.")
