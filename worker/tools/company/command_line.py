"""`passport-worker company`."""

import sys
from datetime import UTC, datetime
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from worker.domain.command import is_object_id
from worker.messages.hints import printable
from worker.tools.cli.asking import NOTHING_DONE, ActOptions, ask, examples
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.output import AsJson, Page, copyable, show
from worker.tools.cli.running import warn
from worker.tools.cli.streams import leave_closed_pipe
from worker.tools.common.catalogue.rows import time_text
from worker.tools.company.close import close
from worker.tools.company.export import CannotWrite, CompanyExport
from worker.tools.company.report import CompanyCloseReport

app = App(name="company", help="The data of a company that asks for it, or that leaves.")

Company = Annotated[str, Parameter(name="COMPANY", help="Id or name of a company.")]


@app.command(
    name="export",
    help_epilogue=examples(
        'company export "EuroBat GmbH" > eurobat.ndjson',
        "company export 6650a0b1c2d3e4f5a6b7c8d9 --after 6650b2c3d4e5f6a7b8c9d0e1 >> eurobat.ndjson",
    ),
)
def company_export(
    company: Company,
    /,
    *,
    after: Annotated[
        str | None, Parameter(help="Continue after the passport with this id, the last one of an interrupted export.")
    ] = None,
) -> None:
    """Print a company's data, one JSON object per line: itself, keys without hashes, products, passports with charges.

    The last line has the kind `end`. If it is missing, the export was interrupted: --after continues it. Passports come
    in the order of GTIN and serial number, so those created meanwhile may be left out. For a complete export,
    close the company first.
    """
    if after is not None and not is_object_id(after):
        raise BadUsage(f"--after: expected the id of a passport (24 hexadecimal digits), got {after!r}")
    export = CompanyExport(company, after and after.lower(), sys.stdout.buffer.write)
    try:
        problem = ask(export.run)
        sys.stdout.flush()
    except Failed as error:
        raise Failed(_advised(str(error), export)) from error
    except CannotWrite as error:
        _leave(error.__cause__)
    except OSError as error:
        _leave(error)
    if problem is not None:
        raise Failed(_advised(problem.text, export))


def _advised(why: str, export: CompanyExport) -> str:
    return f"{why}\nContinue with --after {export.last}" if export.passports else why


def _leave(error: BaseException | None) -> NoReturn:
    """Exit after lines could not be written. Their number is unknown, and the reader of a pipe may have enough."""
    if not isinstance(error, BrokenPipeError):
        why = error.strerror if isinstance(error, OSError) else error
        print(f"passport-worker: cannot write the output: {why}", file=sys.stderr)
        print("Continue with --after and the `_id` of the last whole line.", file=sys.stderr)
    leave_closed_pipe(1)


@app.command(
    name="close",
    help_epilogue=examples(
        'company close "EuroBat GmbH"', 'company close "EuroBat GmbH" --execute --reason "contract ended"'
    ),
)
def company_close(
    company: Company,
    /,
    *,
    acting: ActOptions = ActOptions(),
    as_json: AsJson = False,
) -> NoReturn:
    """Refuse a company's commands from now on with 401, whatever their credentials, and revoke all of its keys.

    Commands appended before are answered as usual. Its passports stay. A catalogue file opens the company again only
    with `closedAt: null`. Without --execute it only says what it would do.
    """
    author = acting.author_if_executed()
    report = ask(lambda servers: close(servers, company, author))
    if as_json and report.ok and not report.executed:
        warn(NOTHING_DONE)
    show(report, as_json=as_json, draw=_draw)


def _draw(page: Page, report: CompanyCloseReport) -> None:
    if not report.ok:
        return
    owner = printable(f"{report.name} ({report.company})")
    keys = f"API keys: {report.api_keys}, signing keys: {report.signing_keys}"
    stay = f"Its passports stay ({report.passports})."
    since = report.closed_at and time_text(report.closed_at)
    if report.executed:
        page.print(copyable(f'closedAt: "{since}"'))
        print(f"{owner} is closed. Revoked {keys}. {stay}", file=sys.stderr)
        print("The line is for the company in your catalogue file.", file=sys.stderr)
    elif (
        report.closed_at is not None
        and report.closed_at <= datetime.now(UTC)
        and not (report.api_keys or report.signing_keys)
    ):
        page.print(f"{owner} is closed from {since} on: nothing would change.")
    else:
        page.print(f"Would refuse all commands of {owner} from now on, and revoke its keys ({keys}).")
        page.print(stay)
        page.print(NOTHING_DONE)
