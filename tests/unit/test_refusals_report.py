"""`passport-worker refusals` says how far it looked, and that nothing fits."""

import pytest

from worker.tools.cli.output import Page
from worker.tools.refusals.command_line import _draw
from worker.tools.refusals.report import RefusalsReport


@pytest.mark.parametrize(
    ("looked_at", "span"),
    [
        (15, "Looked at all 15 refusals that the result topics hold."),
        (1, "Looked at the only refusal that the result topics hold."),
        (0, "The result topics hold no refusals."),
    ],
)
def test_nothing_fits(looked_at: int, span: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A table without rows prints nothing, so a sentence stands in its place."""
    report = RefusalsReport(
        company=None,
        name=None,
        outcomes=("conflict",),
        since=None,
        refusals=(),
        looked_at=looked_at,
        back_to=None,
        reach="everything",
    )
    _draw(Page(), report)
    assert capsys.readouterr().out == "No refusal matches.\n"
    assert report.span == span
