"""`passport-worker submit`."""

import asyncio
import getpass
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from worker.observability.logs import configure_logs
from worker.settings import Settings
from worker.stream.cluster.connection import CLUSTER_ERRORS, explain
from worker.tools.cli.asking import examples
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.options import separated
from worker.tools.cli.output import leave_closed_pipe, say
from worker.tools.cli.progress import Display, display
from worker.tools.cli.running import collect_garbage_seldom, run_async, settings_with_warnings
from worker.tools.cli.signals import Stop, obey
from worker.tools.common.acls import submitting_acls
from worker.tools.common.prerequisites import lacking
from worker.tools.submit.answers_file import AnswersFile, CannotWrite, InUse
from worker.tools.submit.checking import answers_path, check, table_of
from worker.tools.submit.columns import Choices
from worker.tools.submit.headers import BadCredentials, Bearer, Credentials
from worker.tools.submit.run import NoAnswers, Pace, Submission
from worker.tools.submit.table import GOOD, OUTCOMES, BadFile, Changed, Row, Table
from worker.tools.validate.signatures import signer_of

app = App(
    name="submit",
    help_format="plaintext",
    help_epilogue=examples(
        "submit units.csv --dry-run",
        "submit units.csv --map EAN=gs1.gtin --set productId=6650a1b2c3d4e5f6a7b8c9d0 --pad-gtin",
        "submit units.csv.answers.csv --only overage-required --confirm-overage",
    ),
)

API_KEY = "PASSPORT_API_KEY"
_MOST_TOLD = 100
"""Bad rows that are printed before sending. A dry run prints all of them."""
_SHOW_ROWS = 1_000
_RATE_SECONDS = 5.0
"""The shown rate is that of the last few seconds."""
_GO_ON = "the same command goes on from there"

_FILE = Parameter(help="CSV (UTF-8, with a header line) or NDJSON.", allow_leading_hyphen=True)
_MAP = Parameter(name="--map", help="COLUMN=PATH: this column fills this field.", negative=())
_SET = Parameter(name="--set", help="PATH=VALUE: a field with the same value in each row.", negative=())
_IGNORE = Parameter(name="--ignore", help="A column that is not a field.", negative=())
_PAD = Parameter(name="--pad-gtin", help="Put back zeros that a spreadsheet took from GTINs.", negative=())
_ONLY = Parameter(help=f"With an answers file: only rows with this answer: {', '.join(OUTCOMES)}.", negative=())
_SIGNING = Parameter(help="A PEM file with a private key (keys generate), to sign each command.")
_SECRET = Parameter(help=f"A file with an API key or an access token. Else {API_KEY} is used, or you are asked.")
_CONFIRM = Parameter(
    help="Accept the price of passports above the plan's quota: sets confirmOverage in each body.", negative=()
)
_SKIP = Parameter(help="Send the good rows although others are bad. Bad rows get the answer `invalid`.", negative=())
_DRY = Parameter(help="Check all rows and send nothing; needs no server.", negative=())
_RATE = Parameter(help="Most rows a second. Default: no limit.")
_IN_FLIGHT = Parameter(help="Most rows on their way at once; bounds memory.")
_PATIENCE = Parameter(help="Give up after this many seconds without any answer.")


@Parameter(name="*")
@dataclass(frozen=True)
class ColumnOptions:
    """How columns become fields."""

    renamed: Annotated[tuple[str, ...], _MAP] = ()
    fixed: Annotated[tuple[str, ...], _SET] = ()
    ignored: Annotated[tuple[str, ...], _IGNORE] = ()
    pad_gtin: Annotated[bool, _PAD] = False
    confirm_overage: Annotated[bool, _CONFIRM] = False

    def choices(self) -> Choices:
        """The options in the form that tables take. Raises `BadUsage`."""
        renamed = _pairs("--map", "COLUMN=PATH", (text.rpartition("=") for text in self.renamed))
        fixed = _pairs("--set", "PATH=VALUE", (text.partition("=") for text in self.fixed))
        return Choices(renamed, fixed, self.ignored, self.pad_gtin, self.confirm_overage)


@Parameter(name="*")
@dataclass(frozen=True)
class CredentialsOptions:
    """Who submits."""

    signing_key: Annotated[Path | None, _SIGNING] = None
    credentials_file: Annotated[Path | None, _SECRET] = None

    def credentials(self, settings: Settings) -> Credentials:
        """A signing key, or a secret from a file, the environment or the terminal. Raises `BadUsage`."""
        if self.signing_key is not None and self.credentials_file is not None:
            raise BadUsage("--signing-key: expected without --credentials-file, since the signature decides")
        return signer_of(self.signing_key, settings.audience) or _bearer(self.credentials_file)


@Parameter(name="*")
@dataclass(frozen=True)
class PaceOptions:
    """How fast."""

    rate: Annotated[float | None, _RATE] = None
    in_flight: Annotated[int, _IN_FLIGHT] = 5_000
    patience: Annotated[float, _PATIENCE] = 300

    def pace(self) -> Pace:
        """Raises `BadUsage`."""
        for name, value in (("--rate", self.rate), ("--in-flight", self.in_flight), ("--patience", self.patience)):
            if value is not None and not 0 < value <= 1_000_000:
                raise BadUsage(f"{name}: expected a number above 0 and up to 1,000,000, got {value:g}")
        return Pace(self.rate, self.in_flight, self.patience)


@app.default
def submit_command(  # noqa: PLR0913 - options of a command
    file: Annotated[Path, _FILE],
    /,
    *,
    columns: ColumnOptions = ColumnOptions(),
    only: Annotated[tuple[str, ...], _ONLY] = (),
    who: CredentialsOptions = CredentialsOptions(),
    skip_bad: Annotated[bool, _SKIP] = False,
    dry_run: Annotated[bool, _DRY] = False,
    paced: PaceOptions = PaceOptions(),
) -> NoReturn:
    """Make each row of a file a command, and write its answer beside it, in FILE.answers.csv or .ndjson.

    Columns are paths of fields: productId, gs1.gtin, gs1.serialNumber, parties.importer.legalName, … Interrupted or
    killed, the same command goes on. Exit 0 if all rows were created or replayed.
    """
    settings, choices, pace = settings_with_warnings(), columns.choices(), paced.pace()
    configure_logs(quiet=True)
    collect_garbage_seldom()
    try:
        table = table_of(file, settings.limits, choices, separated(only))
        if dry_run:
            _dry_run(table)
        credentials = who.credentials(settings)
        with AnswersFile(answers_path(file, table), table) as answers:
            _submit(table, answers, lambda: Submission(settings, credentials, pace, answers), settings, skip_bad)
    except BadFile as error:
        raise BadUsage(str(error)) from error
    except InUse as error:
        raise Failed(str(error)) from error
    except (NoAnswers, CannotWrite, Changed) as error:
        raise Failed(f"{error}; {_GO_ON}") from error
    except CLUSTER_ERRORS as error:
        raise Failed(f"{explain(error, settings).rstrip('.')}; {_GO_ON}") from error
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise Failed(f"interrupted; {_GO_ON}") from None
    except BrokenPipeError:
        leave_closed_pipe(1)


def _pairs(option: str, expected: str, given: Iterable[tuple[str, str, str]]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for name, between, value in given:
        if not name or not between or not value:
            raise BadUsage(f"{option}: expected {expected}, got {name + between + value!r}")
        if name in pairs:
            raise BadUsage(f"{option}: {name} is given twice")
        pairs[name] = value
    return pairs


def _bearer(file: Path | None) -> Bearer:
    try:
        if file is not None:
            return Bearer(file.read_text(encoding="utf-8-sig"))
        if (secret := os.environ.get(API_KEY)) is not None:
            return Bearer(secret)
        if sys.stdin.isatty():
            return Bearer(getpass.getpass("API key or access token: "))
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"--credentials-file: cannot read {file}: {error}") from error
    except EOFError:
        pass
    except BadCredentials as error:
        raise BadUsage(f"{API_KEY if file is None else file}: {error}") from error
    raise BadUsage(f"no credentials: expected --signing-key FILE, --credentials-file FILE, or {API_KEY} set")


class _BadRows:
    """Prints the problems of bad rows: the first `most`, or of all where it is None."""

    def __init__(self, shown: Display, most: int | None) -> None:
        self._shown, self._most = shown, most
        self._rows = self._bad = 0

    def __call__(self, row: Row) -> None:
        self._rows += 1
        if self._rows % _SHOW_ROWS == 0:
            self._shown.show("checking rows", self._rows, None)
        if row.command is None:
            self._bad += 1
            if self._most is None or self._bad <= self._most:
                for problem in row.problems:
                    say(f"row {row.number}, line {row.line}, {problem}")

    def end(self) -> None:
        """Print how many were left out."""
        if self._most is not None and self._bad > self._most:
            say(f"and {self._bad - self._most:,} more bad rows; --dry-run shows all")


def _dry_run(table: Table) -> NoReturn:
    with display() as shown:
        checked = check(table, None, _BadRows(shown, None))
    say(f"{_rows(checked.rows)}: {checked.rows - checked.bad:,} good, {checked.bad:,} bad. Nothing was sent.")
    sys.exit(1 if checked.bad else 0)


def _submit(
    table: Table, answers: AnswersFile, submission: Callable[[], Submission], settings: Settings, skip_bad: bool
) -> NoReturn:
    with display() as shown:
        bad_rows = _BadRows(shown, _MOST_TOLD)
        checked = check(table, answers, bad_rows)
        bad_rows.end()
        if checked.bad and not skip_bad:
            say(f"{_rows(checked.rows)}: {checked.bad:,} bad. Nothing was sent; --skip-bad sends the others.")
            sys.exit(1)
        stop = Stop()
        seen: deque[tuple[float, int]] = deque()

        def show_progress() -> None:
            now, done = time.monotonic(), answers.outcomes.total()
            seen.append((now, done))
            while len(seen) > 2 and seen[0][0] < now - _RATE_SECONDS:
                seen.popleft()
            began, done_then = seen[0]
            rate = (done - done_then) / (now - began) if now > began else 0.0
            shown.show("answered", done, checked.rows, f"{rate:,.0f}/s  {_counted(answers.outcomes)}")

        async def send() -> None:
            obey(stop)  # the first signal stops sending, the second one cancels
            if (finding := await lacking(settings, submitting_acls(settings))) is not None:
                raise Failed(str(finding))
            await submission().run(islice(table.rows(), checked.answered, None), stop, show_progress)

        if checked.answered < checked.rows:
            run_async(send)
    say(f"{_rows(checked.rows)}: {_counted(answers.outcomes) or 'none is answered'}. Answers: {answers.path}")
    if left := checked.rows - answers.outcomes.total():
        raise Failed(f"interrupted: {_rows(left)} without an answer; {_GO_ON}")
    sys.exit(0 if GOOD.issuperset(answers.outcomes) else 1)


def _counted(outcomes: Mapping[str, int]) -> str:
    """How many rows have which outcome."""
    return ", ".join(f"{outcomes[outcome]:,} {outcome}" for outcome in OUTCOMES if outcomes.get(outcome))


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
