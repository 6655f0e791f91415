"""The report of what workers did in the last hour, which the console shows."""

from datetime import datetime

from pydantic import Field

from worker.tools.common.report import Model, Report


class MinuteActivity(Model):
    """Answers of a minute, by their event."""

    minute: datetime = Field(description="Its beginning.")
    created: int
    replayed: int
    overage_required: int
    conflict: int
    rejected: int


class RefusedCompany(Model):
    """Commands of a company that were refused for one reason."""

    company: str | None = Field(
        description="Null where the credentials did not say whose they are, or too many were refused at once."
    )
    name: str | None
    code: str
    count: int


class ActivityReport(Report):
    """What workers did in the last hour, as they write it down every ten seconds; the console shows it."""

    minutes: tuple[MinuteActivity, ...] = Field(description="All of the hour, oldest first, by the database's clock.")
    refusals: tuple[RefusedCompany, ...] = Field(description="The 200 of most, largest first.")
