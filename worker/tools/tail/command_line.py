"""`passport-worker tail`."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, NoReturn

from cyclopts import App, Parameter

from worker.domain.gs1 import gtin_problem
from worker.messages.rules import OUTCOMES
from worker.observability.logs import configure_logs
from worker.settings import Settings
from worker.stream.cluster.connection import CLUSTER_ERRORS, Cluster, explain
from worker.stream.cluster.permissions import result_acls
from worker.tools.cli.asking import examples
from worker.tools.cli.channels import OneChannel, settings_of_one
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.options import duration, known_names
from worker.tools.cli.output import Page
from worker.tools.cli.running import obey, run_async, warn
from worker.tools.cli.streams import leave_closed_pipe
from worker.tools.common.prerequisites import lacking
from worker.tools.common.results import ResultRecord, ResultWatcher
from worker.tools.tail.line import Lines, Unit, json_line, outcome_of, unit_of
from worker.tools.tail.names import CompanyNames
from worker.tools.tail.past import MOST_SEARCHED, PastResults, shown_ms

app = App(
    name="tail",
    help_epilogue=examples(
        "tail -n 20",
        "tail --outcome conflict,rejected --since 1h",
        "tail --json | jq -r 'select(.status == 429) | .company'",
    ),
)

_OUTCOME = Parameter(help=f"Only these outcomes, separated by commas: {', '.join(OUTCOMES)}.")
_SINCE = Parameter(help="Start with results of this age: 90s, 15m, 1h, 7d. Default: only new results.")
_NEWEST = Parameter(name=("-n", "--newest"), help="Start with this many of the newest matching results.")
_JSON = Parameter(name="--json", help="Print one JSON object per line.")
_MOST_NEWEST = 10_000
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Filter:
    """Chooses the results to show. Unset fields match all results."""

    company: str | None = None
    outcomes: frozenset[str] = frozenset()
    key: str | None = None
    gtin: str | None = None
    serial: str | None = None

    def lets_pass(self, record: ResultRecord) -> bool:
        """Whether to show a result. Headers and key are looked at first, since bodies are slow to read."""
        return (
            (self.company is None or record.header("ce_companyid") == self.company)
            and (self.key is None or record.key == self.key.encode("utf-8", "surrogateescape"))
            and (not self.outcomes or outcome_of(record) in self.outcomes)
            and ((self.gtin is None and self.serial is None) or self._fits(unit_of(record)))
        )

    def _fits(self, unit: Unit | None) -> bool:
        return unit is not None and self.gtin in (None, unit.gtin) and self.serial in (None, unit.serial)


@app.default
def tail_command(
    *,
    company: Annotated[str | None, Parameter(help="Only results of this company: its id or its name.")] = None,
    outcome: Annotated[tuple[str, ...], _OUTCOME] = (),
    key: Annotated[str | None, Parameter(help="Only results under this idempotency key.")] = None,
    gtin: Annotated[str | None, Parameter(help="Only results that name this GTIN.")] = None,
    serial: Annotated[str | None, Parameter(help="Only results that name this serial number.")] = None,
    since: Annotated[str | None, _SINCE] = None,
    newest: Annotated[int | None, _NEWEST] = None,
    channel: OneChannel = None,
    as_json: Annotated[bool, _JSON] = False,
) -> NoReturn:
    """Show results as they become visible, until Ctrl-C, after older ones in order of time with --since or -n.

    Joins no group, and needs no database. With PASSPORT_DATABASE_URL set, it shows the names of companies. Refusals
    before rule 7 name no GTIN: they show their key. Times are UTC.
    """
    outcomes = frozenset(known_names("--outcome", outcome, OUTCOMES))
    if newest is not None and not 1 <= newest <= _MOST_NEWEST:
        raise BadUsage(f"-n: expected a number from 1 to {_MOST_NEWEST:,}, got {newest}")
    if gtin is not None and (problem := gtin_problem(gtin)):
        raise BadUsage(f"--gtin: {problem}")
    begin = None if since is None else datetime.now(UTC) - duration("--since", since)
    settings = settings_of_one(channel)
    configure_logs(quiet=True)

    async def tail() -> NoReturn:
        obey(None)
        names = CompanyNames(settings)
        wanted = Filter(None if company is None else await names.id_of(company), outcomes, key, gtin, serial)
        await _Tail(settings, wanted, names, as_json=as_json).run(begin, newest)

    try:
        run_async(tail)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(0)
    except BrokenPipeError:
        leave_closed_pipe(0)
    except CLUSTER_ERRORS as error:
        raise Failed(explain(error, settings)) from error


class _Tail:
    """Prints results: first old ones, if asked for, then new ones as they come."""

    def __init__(self, settings: Settings, wanted: Filter, names: CompanyNames, *, as_json: bool) -> None:
        self._settings, self._wanted, self._names = settings, wanted, names
        self._page = Page()
        self._lines = None if as_json else Lines(self._page.width if sys.stdout.isatty() else None, names.by_id)

    async def run(self, since: datetime | None, newest: int | None) -> NoReturn:
        """Print until the task is cancelled. Raises `Failed`, and `CLUSTER_ERRORS`."""
        settings = self._settings
        if (finding := await lacking(settings, result_acls(settings))) is not None:
            raise Failed(str(finding))
        cluster, watcher = Cluster(settings), ResultWatcher(settings)
        try:
            past = PastResults(settings, cluster)
            await past.look(since)
            if self._lines is not None:
                self._page.print(self._lines.heading())
            if newest is not None:
                records, is_whole = await past.newest(newest, self._wanted.lets_pass)
                await self._show(records)
                if not is_whole:
                    warn(f"only the newest {MOST_SEARCHED:,} results were searched; --since searches further")
            elif since is not None:
                async for records in past.all(_AT_ONCE):
                    await self._show(records)
            # From the ends of the past results, so that no result is left out or shown twice.
            await watcher.start_at(past.ends)
            while True:
                await self._show(sorted(await watcher.poll(), key=shown_ms))
        finally:
            await watcher.close()
            await cluster.close()

    async def _show(self, records: Sequence[ResultRecord]) -> None:
        shown = [record for record in records if self._wanted.lets_pass(record)]
        if not shown:
            return
        await self._names.learn(record.header("ce_companyid") for record in shown)
        for record in shown:
            if self._lines is None:
                print(json_line(record, self._names.by_id))
            else:
                self._page.print(self._lines.of(record), soft_wrap=True)
        sys.stdout.flush()
