"""The report of `validate`."""

from pydantic import Field

from worker.tools.common.report import Model, Report

MOST_LINES = 10_000
"""Most problems, and other remarks, in a report, so that memory stays bounded for any file."""


class LineRemark(Model):
    """A remark about the command that begins on a line."""

    line: int
    text: str


class ValidateReport(Report):
    """`passport-worker validate`: errors that the worker would find. The place of a problem is `line N`."""

    good: int = Field(description="How many commands have no problem.")
    bad: int
    warnings: tuple[LineRemark, ...] = Field(description="Useless parts of commands, which are no problem.")
    signatures: tuple[LineRemark, ...] = Field(
        description="With --signing-key: the header `jws-signature` of each good command."
    )
    omitted: int = Field(description=f"Problems, warnings and signatures beyond the first {MOST_LINES:,} of each.")
    not_checked: str
