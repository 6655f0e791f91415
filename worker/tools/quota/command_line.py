"""`passport-worker quota`."""

from typing import Annotated, NoReturn

from cyclopts import App, Parameter
from rich.console import Console

from worker.tools.cli.asking import AsJson, ask, examples
from worker.tools.cli.errors import BadUsage
from worker.tools.cli.options import company_id
from worker.tools.cli.output import show, table
from worker.tools.quota.quota import show_quotas
from worker.tools.quota.report import CompanyQuota, QuotaShowReport

app = App(name="quota", help="What companies have used of their plans.", help_format="plaintext")

_MOST_ROWS = 1_000
"""So many are shown to people; JSON has all of them."""


@app.command(
    name="show",
    help_epilogue=examples("quota show --near 0.8", "quota show 6650a0b1c2d3e4f5a6b7c8d9 --json"),
)
def quota_show(
    company: Annotated[str | None, Parameter(name="COMPANY", help="Its id, 24 hexadecimal digits; else all.")] = None,
    /,
    *,
    near: Annotated[
        float | None, Parameter(help="Only those that have used this share of their slots or of today's writes.")
    ] = None,
    as_json: AsJson = False,
) -> NoReturn:
    """Plan, slots, today's writes and this month's charges (UTC) of one company or of all, nearest to an end first."""
    if near is not None and not 0 < near <= 1:
        raise BadUsage(f"--near: expected a share above 0 and up to 1, such as 0.8, got {near}")
    one = None if company is None else company_id(company)
    report = ask(lambda servers: show_quotas(servers, one, near))
    show(report, as_json=as_json, draw=lambda console: _draw(console, report))


def _draw(console: Console, report: QuotaShowReport) -> None:
    columns = ("company", "name", "plan", "slots", "share", "writes today", "of a day", "charges", "cents")
    rows = [_row(one) for one in report.quotas[:_MOST_ROWS]]
    console.print(table(columns, rows, right=columns[3:]))
    if (others := len(report.quotas) - _MOST_ROWS) > 0:
        console.print(f"and {others} more that are further from an end; --json has all of them")


def _row(one: CompanyQuota) -> tuple[object, ...]:
    return (
        one.company,
        one.name,
        one.plan,
        _of(one.slots_used, one.slots_limit),
        _percent(one.slots_share),
        _of(one.writes_today, one.writes_limit),
        _percent(one.writes_share),
        one.charges,
        one.charged_cents,
    )


def _of(used: int, limit: int | None) -> str:
    return str(used) if limit is None else f"{used} of {limit}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"
