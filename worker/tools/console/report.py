"""The report of the last hour's activity, which the console shows."""

from datetime import datetime

from pydantic import Field

from worker.tools.common.report import Model, Report

HOUR = 60
"""Minutes."""


class MinuteActivity(Model):
    """Numbers of answers in one minute."""

    minute: datetime = Field(description="Start of the minute.")
    created: int
    replayed: int
    overage_required: int
    conflict: int
    rejected: int


class RefusedCompany(Model):
    """Number of a company's commands that were refused for one reason."""

    company: str | None = Field(
        description="Null if the credentials name no company, if too many companies were refused at once, or if the "
        "reader may not see companies."
    )
    name: str | None
    code: str
    count: int


class ActivityReport(Report):
    """Activity of all workers in the last hour. Workers write it every ten seconds."""

    minutes: tuple[MinuteActivity, ...] = Field(
        description="The hour's minutes, oldest first, by the database's clock."
    )
    refusals: tuple[RefusedCompany, ...] = Field(description="The 200 largest numbers, largest first.")

    @property
    def last_minute(self) -> MinuteActivity | None:
        """The last whole minute. After the current one come those of workers whose clocks are ahead."""
        return self.minutes[HOUR - 2] if len(self.minutes) >= HOUR else None
