"""`passport-worker quota`."""

from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from worker.tools.cli.asking import ask, examples
from worker.tools.cli.errors import BadUsage
from worker.tools.cli.output import AsJson, Page, Table, show
from worker.tools.common.money import money
from worker.tools.quota.quota import show_quotas
from worker.tools.quota.report import QuotaShowReport

app = App(name="quota", help="Plans, and their use by companies.")

_MOST_ROWS = 1_000
"""Rows shown to people; JSON has all of them."""


@app.command(
    name="show",
    help_epilogue=examples("quota show --refused", 'quota show "EuroBat GmbH" --json'),
)
def quota_show(
    company: Annotated[str | None, Parameter(help="Id or name of a company. Default: all companies.")] = None,
    *,
    near: Annotated[
        float | None, Parameter(help="Only companies that have used this share of their slots or of today's writes.")
    ] = None,
    refused: Annotated[bool, Parameter(help="Only companies with refused commands today, most refused first.")] = False,
    as_json: AsJson = False,
) -> NoReturn:
    """Show plan, slots, today's writes and refusals, and this month's charges (UTC) of one company or of all.

    The company nearest to a limit comes first; closed companies come last.
    """
    if near is not None and not 0 < near <= 1:
        raise BadUsage(f"--near: expected a share above 0 and up to 1, such as 0.8, got {near}")
    report = ask(lambda servers: show_quotas(servers, company, near, only_refused=refused))
    none = "No companies." if near is None else f"No company has used {near:.0%} of a limit."
    if refused:
        none = "No company has refused commands today." if near is None else f"{none[:-1]} and has refused commands."
    last = none if report.ok and not report.quotas else None
    show(report, as_json=as_json, draw=_draw, last=last)


def _draw(page: Page, report: QuotaShowReport) -> None:
    columns = (
        "company",
        "name",
        "plan",
        "slots",
        "share",
        "writes today",
        "of a day",
        "charges",
        "charged",
        "refused today",
    )
    rows = [
        (
            quota.company,
            quota.name if quota.closed_at is None else f"{quota.name} (closed)",
            quota.plan,
            _of(quota.slots_used, quota.slots_limit),
            _percent(quota.slots_share),
            _of(quota.writes_today, quota.writes_limit),
            _percent(quota.writes_share),
            quota.charges,
            money(quota.charged_cents, report.currency),
            _of(quota.refused_today, quota.answered_today or None),
        )
        for quota in report.quotas[:_MOST_ROWS]
    ]
    spare = ("of a day", "share", "charges", "plan", "writes today", "slots")
    page.print(Table(columns, rows, right=columns[3:], wraps=("name",), spare=spare))
    if (others := len(report.quotas) - _MOST_ROWS) > 0:
        page.print(f"and {others} more; --json has all of them")


def _of(used: int, limit: int | None) -> str:
    return str(used) if limit is None else f"{used} of {limit}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"
