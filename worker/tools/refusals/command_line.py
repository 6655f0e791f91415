"""`passport-worker refusals`."""

from datetime import UTC, datetime
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from worker.tools.cli.asking import ask, examples
from worker.tools.cli.channels import AllChannels, settings_of_all
from worker.tools.cli.errors import BadUsage
from worker.tools.cli.options import duration, known_names
from worker.tools.cli.output import AsJson, Page, Table, copyable, show, status
from worker.tools.refusals.newest import Bound
from worker.tools.refusals.refusals import MOST, OUTCOMES, Wanted, refusals
from worker.tools.refusals.report import RefusalReport, RefusalsReport

# One to two seconds, for a company that is refused seldom.
BOUND = Bound(200_000, 400_000_000, 9.0)

app = App(
    name="refusals",
    help_epilogue=examples(
        "refusals --since 1h",
        'refusals --company "EuroBat GmbH" --outcome conflict,product-not-found',
        "refusals -n 1000 --json | jq -r '.refusals[] | [.command, .code] | @tsv'",
    ),
)

_COMPANY = Parameter(help="Only refusals of this company: its id or its name.")
_OUTCOME = Parameter(help=f"Only these outcomes, separated by commas: {', '.join(OUTCOMES)}.")
_SINCE = Parameter(help="Only refusals that were published in this time: 90s, 15m, 1h, 7d.")
_LIMIT = Parameter(name=("--limit", "-n"), help=f"How many to show, at most {MOST:,}.")


@app.default
def refusals_command(
    *,
    company: Annotated[str | None, _COMPANY] = None,
    outcome: Annotated[tuple[str, ...], _OUTCOME] = (),
    since: Annotated[str | None, _SINCE] = None,
    limit: Annotated[int, _LIMIT] = 50,
    channel: AllChannels = None,
    as_json: AsJson = False,
) -> NoReturn:
    """Show the newest refusals, newest first. `explain` shows more about each.

    Reads the result topics backwards from their ends: at most 200,000 refusals, 400 MB or 9 seconds. Says how far it
    looked.
    """
    outcomes = known_names("--outcome", outcome, OUTCOMES)
    if not 1 <= limit <= MOST:
        raise BadUsage(f"--limit: expected a number from 1 to {MOST:,}, got {limit}")
    begin = None if since is None else datetime.now(UTC) - duration("--since", since)
    wanted = Wanted(company, outcomes, begin, limit)
    settings = settings_of_all(channel)
    report = ask(lambda servers: refusals(servers, wanted, BOUND), settings)
    show(report, as_json=as_json, draw=_draw, last=None if report.failed else report.span)


_COLUMNS = ("date", "time (UTC)", "company", "company id", "code", "key", "GTIN", "serial", "place")
# The place is never left out: `explain` shows all the others for it.
_SPARE = ("date", "company id", "GTIN", "key", "serial")


def _draw(page: Page, report: RefusalsReport) -> None:
    page.print(Table(_COLUMNS, map(_row, report.refusals), wraps=("company",), spare=_SPARE))
    if not (report.refusals or report.failed):
        page.print("No refusal matches.")
    if report.refusals:
        place = report.refusals[0].short_place
        page.print(copyable(f"More about the first one: passport-worker explain {place}"))


def _row(refusal: RefusalReport) -> tuple[object, ...]:
    at, key = refusal.appended_at, None if refusal.is_without_key else refusal.key
    unit = (refusal.gtin, refusal.serial_number, refusal.short_place)
    return (f"{at:%Y-%m-%d}", f"{at:%H:%M:%S}", refusal.name, refusal.company, status(refusal.code), key, *unit)
