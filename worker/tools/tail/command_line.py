"""`passport-worker tail`."""

import asyncio
import json
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

from cyclopts import App, Parameter

from worker.domain.places import Place
from worker.domain.timestamps import clamp_ms, format_ms
from worker.messages.answers import body_of_value
from worker.messages.hints import printable
from worker.messages.rules import OUTCOMES, REPLAYED
from worker.observability.logs import configure_logs
from worker.settings import Settings
from worker.stream.cluster.connection import CLUSTER_ERRORS, explain
from worker.stream.cluster.permissions import result_acls
from worker.tools.cli.asking import examples
from worker.tools.cli.errors import BadUsage, Failed
from worker.tools.cli.options import company_id, duration, separated
from worker.tools.cli.output import leave_closed_pipe, say
from worker.tools.cli.running import run_async, settings_with_warnings
from worker.tools.cli.signals import obey
from worker.tools.common.answering import answer_of
from worker.tools.common.prerequisites import lacking
from worker.tools.common.results import ResultRecord, ResultWatcher

app = App(
    name="tail",
    help_format="plaintext",
    help_epilogue=examples(
        "tail --outcome conflict,rejected --since 1h",
        "tail --json | jq -r 'select(.status == 429) | .company'",
    ),
)

_STATUS = re.compile("[0-9]{3}")
_OUTCOME = Parameter(help=f"Only these outcomes: {', '.join(OUTCOMES)}.", negative=())
_SINCE = Parameter(help="Start with results of this age: 90s, 15m, 1h, 7d. Default: only new results.")
_JSON = Parameter(name="--json", help="Print one JSON object a line.", negative=())


@dataclass(frozen=True, slots=True)
class Filter:
    """Chooses the results to show. Unset fields let all of them pass."""

    company: str | None = None
    outcomes: frozenset[str] = frozenset()
    key: str | None = None

    def lets_pass(self, record: ResultRecord) -> bool:
        """Whether to show a result. Only headers and key are looked at, since bodies are slow to read."""
        return (
            (self.company is None or record.header("ce_companyid") == self.company)
            and (self.key is None or record.key == self.key.encode("utf-8", "surrogateescape"))
            and (not self.outcomes or _outcome(record) in self.outcomes)
        )


@app.default
def tail_command(
    *,
    company: Annotated[str | None, Parameter(help="Only results of this company.")] = None,
    outcome: Annotated[tuple[str, ...], _OUTCOME] = (),
    key: Annotated[str | None, Parameter(help="Only results under this idempotency key.")] = None,
    since: Annotated[str | None, _SINCE] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> NoReturn:
    """Show results as they become visible, until Ctrl-C. Joins no group, and needs no database."""
    outcomes = frozenset(separated(outcome))
    if unknown := outcomes.difference(OUTCOMES):
        raise BadUsage(f"--outcome: expected one of {', '.join(OUTCOMES)}, got {min(unknown)!r}")
    wanted = Filter(None if company is None else company_id(company), outcomes, key)
    begin = None if since is None else datetime.now(UTC) - duration("--since", since)
    settings = settings_with_warnings()
    configure_logs(quiet=True)
    try:
        run_async(lambda: _tail(settings, wanted, begin, as_json=as_json))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(0)
    except BrokenPipeError:
        leave_closed_pipe(0)
    except CLUSTER_ERRORS as error:
        raise Failed(explain(error, settings)) from error


async def _tail(settings: Settings, wanted: Filter, since: datetime | None, *, as_json: bool) -> NoReturn:
    obey(None)
    if (finding := await lacking(settings, result_acls(settings))) is not None:
        raise Failed(str(finding))
    watcher = ResultWatcher(settings)
    try:
        await watcher.start(since)
        while True:
            shown = [record for record in await watcher.poll() if wanted.lets_pass(record)]
            for record in shown:
                say(json_line(record) if as_json else line(record))
            if shown:
                sys.stdout.flush()
    finally:
        await watcher.close()


def line(record: ResultRecord) -> str:
    """A line for people: append time of the command, outcome, status, company, key, and Digital Link or error."""
    fields = fields_of(record)
    end = fields["digitalLinkUri"] or fields["error"]
    cells = (fields["time"], f"{fields['outcome']:<16}", fields["status"], fields["company"], fields["key"], end)
    return printable("  ".join("-" if cell is None else str(cell) for cell in cells))


def json_line(record: ResultRecord) -> str:
    """A line for programs, with the place and the whole body of the result. ASCII, without control characters."""
    place = str(Place(record.topic, record.partition, record.offset))
    fields = {**fields_of(record), "result": place, "body": body_of_value(record.value or b"")}
    return json.dumps(fields, separators=(",", ":")).replace("\x7f", "\\u007f")


def fields_of(record: ResultRecord) -> dict[str, Any]:
    """The fields of both forms; absent values are None."""
    answer = answer_of(record)
    return {
        "time": record.header("ce_time") or format_ms(clamp_ms(record.timestamp_ms)),
        "outcome": answer.outcome,
        "status": int(answer.status) if _STATUS.fullmatch(answer.status) else None,
        "company": record.header("ce_companyid"),
        "key": answer.key,
        "passportId": answer.passport_id or None,
        "digitalLinkUri": answer.digital_link_uri or None,
        "error": answer.error or None,
        "command": answer.place or None,
    }


def _outcome(record: ResultRecord) -> str:
    return REPLAYED if record.is_replayed else "" if record.kind is None else record.kind.label
