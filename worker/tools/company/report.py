"""The report of `company close`."""

from datetime import datetime

from pydantic import Field

from worker.tools.common.report import Report


class CompanyCloseReport(Report):
    """`passport-worker company close`: what closing a company changes, or would change."""

    executed: bool = Field(
        default=False, description="Whether the company was closed; otherwise the report says what would be."
    )
    operation: str | None = Field(default=None, description="Id of the row in the table `operation`.")
    company: str | None = Field(default=None, description="Id of the company; null if none was found.")
    name: str | None = Field(default=None, description="Name of the company.")
    closed_at: datetime | None = Field(
        default=None, description="Commands appended then or later get 401; null: the company is open."
    )
    api_keys: int = Field(default=0, description="API keys that were valid, and are or would be revoked.")
    signing_keys: int = Field(default=0, description="Signing keys that were valid, and are or would be revoked.")
    passports: int = Field(default=0, description="Passports of the company, which stay.")
