"""`passport-worker quota`."""

from typing import Annotated, NoReturn

from cyclopts import App, Parameter
from rich.console import Console

from worker.tools.cli.asking import AsJson, ask, examples
from worker.tools.cli.errors import BadUsage
from worker.tools.cli.options import company_id
from worker.tools.cli.output import show, table
from worker.tools.quota.quota import show_quotas
from worker.tools.quota.report import QuotaShowReport

app = App(name="quota", help="Plans, and their use by companies.", help_format="plaintext")

_MOST_ROWS = 1_000
"""Rows shown to people; JSON has all of them."""


@app.command(
    name="show",
    help_epilogue=examples("quota show --near 0.8", "quota show 6650a0b1c2d3e4f5a6b7c8d9 --json"),
)
def quota_show(
    company: Annotated[str | None, Parameter(name="COMPANY", help="Id of a company. Default: all companies.")] = None,
    /,
    *,
    near: Annotated[
        float | None, Parameter(help="Only companies that have used this share of their slots or of today's writes.")
    ] = None,
    as_json: AsJson = False,
) -> NoReturn:
    """Plan, slots, today's writes and this month's charges (UTC) of one company or of all, nearest to a limit first."""
    if near is not None and not 0 < near <= 1:
        raise BadUsage(f"--near: expected a share above 0 and up to 1, such as 0.8, got {near}")
    only = None if company is None else company_id(company)
    report = ask(lambda servers: show_quotas(servers, only, near))
    show(report, as_json=as_json, draw=lambda console: _draw(console, report))


def _draw(console: Console, report: QuotaShowReport) -> None:
    columns = ("company", "name", "plan", "slots", "share", "writes today", "of a day", "charges", "cents")
    rows = [
        (
            quota.company,
            quota.name,
            quota.plan,
            _of(quota.slots_used, quota.slots_limit),
            _percent(quota.slots_share),
            _of(quota.writes_today, quota.writes_limit),
            _percent(quota.writes_share),
            quota.charges,
            quota.charged_cents,
        )
        for quota in report.quotas[:_MOST_ROWS]
    ]
    console.print(table(columns, rows, right=columns[3:]))
    if (others := len(report.quotas) - _MOST_ROWS) > 0:
        console.print(f"and {others} more that are further from their limits; --json has all of them")


def _of(used: int, limit: int | None) -> str:
    return str(used) if limit is None else f"{used} of {limit}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"
