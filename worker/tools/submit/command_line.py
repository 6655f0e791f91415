"""`passport-worker submit`."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from worker.observability.logs import configure_logs
from worker.tools.cli.asking import examples
from worker.tools.cli.channels import OneChannel, settings_of_one
from worker.tools.cli.channels import again as channel_again
from worker.tools.cli.errors import Failed
from worker.tools.cli.options import separated
from worker.tools.cli.output import AsJson, Page, copyable, show
from worker.tools.cli.running import collect_garbage_seldom
from worker.tools.common.report import json_safe
from worker.tools.submit.advice import retry_commands
from worker.tools.submit.answers_file import AnswersFile
from worker.tools.submit.checking import answers_path, heading_of, table_of
from worker.tools.submit.columns import Choices
from worker.tools.submit.drawing import draw
from worker.tools.submit.encodings import UTF8
from worker.tools.submit.map_file import missing_fields, suggested, write_mapping
from worker.tools.submit.options import ColumnOptions, CredentialsOptions, Pace
from worker.tools.submit.report import BAD_ROWS, DUPLICATES, REFUSED, SubmitReport
from worker.tools.submit.submitting import GO_ON, Job, dry_run_of, submit
from worker.tools.submit.table import OUTCOMES, BadFile, Changed

app = App(
    name="submit",
    help_epilogue=examples(
        "submit units.csv --dry-run",
        "submit units.csv --map EAN=gs1.gtin --set productId=6650a1b2c3d4e5f6a7b8c9d0 --pad-gtin",
        "submit units.csv --encoding cp1252 --write-map units.map.yaml",
        "submit units.csv --map-file units.map.yaml",
        "submit units.csv.answers.csv --only overage-required --confirm-overage",
    ),
)

_IN_SUMMARY = frozenset({BAD_ROWS, DUPLICATES, REFUSED})

_FILE = Parameter(help="CSV (with a header line) or NDJSON.", allow_leading_hyphen=True)
_ONLY = Parameter(help=f"With an answers file: only rows with this answer: {', '.join(OUTCOMES)}.")
_SKIP = Parameter(help="Send the good rows even if others are bad. Bad rows get the answer `invalid`.")
_DRY = Parameter(help="Check all rows, and look for duplicates, but send nothing; needs no server.")
_WRITE_MAP = Parameter(help="Write a mapping file for the columns of this file, to complete by hand, and end.")
_ANSWERS = Parameter(help="The file for the answers. Default: FILE.answers.csv or .ndjson.")


@app.default
def submit_command(
    file: Annotated[Path, _FILE],
    /,
    *,
    columns: ColumnOptions = ColumnOptions(),
    write_map: Annotated[Path | None, _WRITE_MAP] = None,
    only: Annotated[tuple[str, ...], _ONLY] = (),
    answers: Annotated[Path | None, _ANSWERS] = None,
    who: CredentialsOptions = CredentialsOptions(),
    skip_bad: Annotated[bool, _SKIP] = False,
    dry_run: Annotated[bool, _DRY] = False,
    pace: Pace = Pace(),
    channel: OneChannel = None,
    as_json: AsJson = False,
) -> NoReturn:
    """Send each row of a file as a command, and write its answer with the row to FILE.answers.csv or .ndjson.

    Columns are paths of fields: productId, gs1.gtin, gs1.serialNumber, parties.importer.legalName, … After an
    interruption or a kill, the same command continues. Exit 0 if all rows were created or replayed.
    """
    settings = settings_of_one(channel)
    pace.check()
    configure_logs(quiet=True)
    collect_garbage_seldom()
    try:
        choices = columns.choices()
        if write_map is not None:
            _write_map(file, write_map, choices, columns.encoding)
        table = table_of(file, settings.limits, choices, separated(only))
        if dry_run:
            report = dry_run_of(file, table)
        else:
            credentials = who.credentials(settings)
            with AnswersFile(answers or answers_path(file, table), table) as answers_file:
                if answers_file.path.samefile(file):
                    raise BadFile(f"--answers: expected another file than {file}")
                report = submit(Job(file, table, settings, credentials, pace, skip_bad), answers_file)
            if answers_file.path.exists():
                options = [*columns.again(), *who.again(), *channel_again(channel)]
                again = retry_commands(
                    answers_file.path, report.outcomes, options, confirms_overage=columns.confirm_overage
                )
                named = {"answers_file": json_safe(str(answers_file.path)), "retry": tuple(map(json_safe, again))}
                report = report.model_copy(update=named)
        _end(report, as_json)
    except Changed as error:
        raise Failed(f"{error}; {GO_ON}") from error
    except KeyboardInterrupt:
        raise Failed(f"interrupted; {GO_ON}") from None


def _write_map(file: Path, path: Path, choices: Choices, encoding: str | None) -> NoReturn:
    """Write a mapping file, say what is in it, and exit."""
    heading = heading_of(file, encoding and choices.encoding)
    header = heading.columns
    mapping, guessed = suggested(header, replace(choices, encoding=heading.encoding))
    missing = missing_fields(header, mapping)
    write_mapping(path, mapping, list(guessed), missing)
    page = Page()
    page.print(copyable(f"Mapping: {path}"))
    if mapping.encoding != UTF8:
        page.print(f"  encoding {mapping.encoding}{'' if encoding else ' (guessed from its bytes)'}")
    for column, field in mapping.map.items():
        page.print(copyable(f"  {column} → {field}{' (guessed from its name)' if column in guessed else ''}"))
    for column in mapping.ignore:
        page.print(copyable(f"  {column} is not sent"))
    for field in missing:
        page.print(copyable(f"  no column fills {field}: add it to the mapping"))
    page.print("Read and correct it, then try:")
    page.print(copyable(f"  {shlex.join(('passport-worker', 'submit', str(file), '--map-file', str(path)))} --dry-run"))
    sys.exit(0)


def _end(report: SubmitReport, as_json: bool) -> NoReturn:
    """Print the report, and exit with its code."""
    if as_json:
        show(report, as_json=True, draw=draw)
    draw(Page(), report)
    sys.stdout.flush()
    for problem in report.problems:
        if problem.code not in _IN_SUMMARY:
            raise Failed(problem.text)
    sys.exit(0 if report.ok else 1)
