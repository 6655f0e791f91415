"""The report of `doctor`."""

from pydantic import Field

from worker.messages.hints import Status
from worker.tools.common.report import Model, Report


class CheckReport(Model):
    """The result of one check."""

    id: str = Field(description="Stable id of the check, such as `kafka.reachable`.")
    status: Status = Field(
        description="ok: as expected. warning: unusual, but a worker runs. failed: a worker does not run, or not well. "
        "skipped: not configured, or impossible to check; the finding says why."
    )
    finding: str = Field(description="What was found, and what was expected.")
    advice: str | None = Field(description="What to do; null if nothing is wrong.")


class DoctorReport(Report):
    """`passport-worker doctor`: whether everything is ready for a worker, check by check."""

    checks: tuple[CheckReport, ...]
