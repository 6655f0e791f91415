"""The report of `validate`."""

from pydantic import Field

from worker.tools.common.report import Model, Report

MOST_LINES = 10_000
"""Problems, and other remarks, that a report holds, so that memory stays bounded for any file."""


class LineRemark(Model):
    """Something about the command that begins in a line."""

    line: int
    text: str


class ValidateReport(Report):
    """`passport-worker validate`: what the worker would find wrong. The place of a problem is `line N`."""

    good: int = Field(description="How many commands have no problem.")
    bad: int
    warnings: tuple[LineRemark, ...] = Field(description="What is useless, but no problem.")
    signatures: tuple[LineRemark, ...] = Field(
        description="With --signing-key: the header `jws-signature` of each good command."
    )
    omitted: int = Field(description=f"Problems, warnings and signatures beyond the first {MOST_LINES:,} of each.")
    not_checked: str
