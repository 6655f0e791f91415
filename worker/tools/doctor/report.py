"""The report of `doctor`."""

from pydantic import Field

from worker.messages.hints import Status
from worker.tools.common.report import Model, Report


class CheckReport(Model):
    """What became of one check."""

    id: str = Field(description="Such as `kafka.reachable`; stable.")
    status: Status = Field(
        description="ok: as expected. warning: unusual, and a worker runs. failed: a worker does not run or not well. "
        "skipped: not configured, or not to be known; the finding says why."
    )
    finding: str = Field(description="What was found, and what was expected.")
    advice: str | None = Field(description="What to do, where something is wrong.")


class DoctorReport(Report):
    """`passport-worker doctor`: what a worker needs, check by check."""

    checks: tuple[CheckReport, ...]
