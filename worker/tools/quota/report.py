"""The report of `quota show`."""

from datetime import date

from pydantic import Field

from worker.tools.common.report import Model, Report


class CompanyQuota(Model):
    """A company's plan, and what is used of it."""

    company: str
    name: str
    plan: str
    slots_used: int = Field(description="Passports.")
    slots_limit: int | None = Field(description="Above it passports cost, or are refused; null: none.")
    slots_share: float | None = Field(description="Used of the limit, 1 for a limit of 0; null without one.")
    writes_today: int = Field(description="Passports created on this UTC day.")
    writes_limit: int | None = Field(description="A day; null: none.")
    writes_share: float | None
    charges: int = Field(description="Passports of this month that were charged for.")
    charged_cents: int


class QuotaShowReport(Report):
    """`passport-worker quota show`: nearest to an end first."""

    day: date | None = Field(description="Of the writes, in UTC by the database's clock; the charges are of its month.")
    quotas: tuple[CompanyQuota, ...]
