"""The report of `quota show`."""

from datetime import date, datetime

from pydantic import Field

from worker.tools.common.report import Model, Report


class CompanyQuota(Model):
    """A company's plan, and its use."""

    company: str
    name: str
    plan: str
    slots_used: int = Field(description="Number of passports.")
    slots_limit: int | None = Field(description="Passports above it are charged or refused; null: no limit.")
    slots_share: float | None = Field(description="Used part of the limit; 1 for a limit of 0; null without a limit.")
    writes_today: int = Field(description="Passports created on this UTC day.")
    writes_limit: int | None = Field(description="Limit per day; null: no limit.")
    writes_share: float | None
    charges: int = Field(description="Number of charged passports of this month.")
    charged_cents: int
    answered_today: int = Field(description="Commands answered on this UTC day, by the workers' clocks.")
    refused_today: int = Field(description="How many of these were refused.")
    closed_at: datetime | None = Field(
        description="Commands of the company that were appended then or later get 401; null: it is open."
    )


class QuotaShowReport(Report):
    """`passport-worker quota show`: nearest to a limit first, or most refused first."""

    day: date | None = Field(
        description="UTC day of the writes, by the database's clock. Charges are those of its month."
    )
    currency: str = Field(description="Currency of the charges (`PASSPORT_CURRENCY`), whose smallest unit is a cent.")
    quotas: tuple[CompanyQuota, ...]
