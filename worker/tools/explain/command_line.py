"""`passport-worker explain`."""

import json
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, NoReturn

from cyclopts import App, Parameter
from rich.text import Text

from worker.domain.places import Place
from worker.domain.timestamps import format_time
from worker.messages.rules import REFUSALS
from worker.settings import Settings
from worker.tools.cli.asking import ask_long, examples
from worker.tools.cli.channels import again, chosen, serving_also
from worker.tools.cli.errors import BadUsage
from worker.tools.cli.options import object_id
from worker.tools.cli.output import AsJson, Page, Table, copyable, show, status
from worker.tools.cli.running import settings_with_warnings
from worker.tools.common.address import EXPECTED, Address, PassportId, address_of_words, company_key, unit
from worker.tools.common.channels import channel_of
from worker.tools.common.money import money
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.selection import BadSelection
from worker.tools.common.servers import Servers
from worker.tools.explain.explain import explain
from worker.tools.explain.report import CommandReport, CredentialsReport, ExplainReport, OutcomeReport

_ONE_OF = f"{EXPECTED}; or --passport, --gtin with --serial, --company with --key"
_MOST_BODY = 20_000

app = App(
    name="explain",
    help_epilogue=examples(
        "explain 3/12017",
        "explain 6650b2c3d4e5f6a7b8c9d0e1",
        "explain 04012345000016 U1 --json",
        'explain "EuroBat GmbH" order-4711-unit-1',
    ),
)

_WHAT = Parameter(
    name="WHAT",
    help="Place of the command (topic/partition/offset, or partition/offset), id of a passport, GTIN and serial "
    "number, GS1 Digital Link, or company (id or name) and idempotency key.",
)
_SCAN = Parameter(help="Search everything: the whole ledger for a key, and all results since the command. Takes long.")
_COMPANY = Parameter(help="A company, by id or name, with --key.")
_CHANNEL = Parameter(help="The channel of a place without a topic. Everything else is then searched there alone.")


@app.default
def explain_command(
    *what: Annotated[str, _WHAT],
    passport: Annotated[str | None, Parameter(help="Id of a passport.")] = None,
    gtin: Annotated[str | None, Parameter(help="GTIN of a passport, with --serial.")] = None,
    serial: Annotated[str | None, Parameter(help="Serial number of a passport, with --gtin.")] = None,
    company: Annotated[str | None, _COMPANY] = None,
    key: Annotated[str | None, Parameter(help="An idempotency key, with --company.")] = None,
    scan: Annotated[bool, _SCAN] = False,
    channel: Annotated[str | None, _CHANNEL] = None,
    as_json: AsJson = False,
) -> NoReturn:
    """Show what became of a command and why: the rule that answered, the result and its place, or why it has no result.

    Exits with 1 if nothing is found. Shows only the kind of credentials. Only --scan finds refusals under a key.
    """
    names = {"passport": passport, "gtin": gtin, "serial": serial, "company": company, "key": key}
    given = {name: text for name, text in names.items() if text is not None}

    async def asking(servers: Servers, progress: Progress) -> ExplainReport:
        return await explain(servers, address, progress, scan=scan, channel=channel)

    settings = serving_also(settings_with_warnings(), channel)
    address = _address_in(what, given)
    if isinstance(address, Place) and not address.topic:
        address = address._replace(topic=settings.of_channel(chosen(settings, channel)).topic_commands)
    report = ask_long(asking, _empty, settings=settings)
    show(report, as_json=as_json, draw=partial(_draw, settings=settings))


def _address_in(what: Sequence[str], given: Mapping[str, str]) -> Address:
    """The address in the arguments, or in the options, which are given by name. Raises `BadUsage`.

    A place without a topic gets an empty one: only the settings know the channel's.
    """
    try:
        match given:
            case {} if what and not given:
                return address_of_words(what, "")
            case {"passport": text, **others} if not others and not what:
                return PassportId(object_id("--passport", text))
            case {"gtin": gtin, "serial": serial, **others} if not others and not what:
                return unit(gtin, serial)
            case {"company": company, "key": key, **others} if not others and not what:
                return company_key(company, key)
    except BadSelection as error:
        raise BadUsage(str(error)) from error
    raise BadUsage(_ONE_OF)


def _empty(problem: Problem) -> ExplainReport:
    return ExplainReport(
        problems=(problem,),
        asked="",
        place=None,
        state="unknown",
        notes=(),
        command=None,
        lane=None,
        outcome=None,
        dead_letter=None,
        binding=None,
        charge=None,
        trace_id=None,
        others=(),
    )


def _draw(page: Page, report: ExplainReport, settings: Settings) -> None:
    """Draw one row per fact, from the record to its event, so that each identifier can be copied."""
    rows: list[tuple[str, object]] = [("asked for", report.asked), ("command", report.place)]
    if report.command is not None:
        rows += _command(report.command)
    rows += _facts(report)
    if (outcome := report.outcome) is None:
        rows.append(("outcome", status(report.state)))
    else:
        rows += _outcome(report, outcome)
    if report.ok or outcome is not None or report.command is not None:  # otherwise the problem below says the same
        rows += [("note", note) for note in report.notes]
    rows += [("also", other) for other in report.others]
    page.print(Table(_COLUMNS, (row for row in rows if row[1] is not None), wraps=(_COLUMNS[1],)))
    if outcome is not None:
        page.print(_body(outcome))
        if outcome.code in _REFUSED:
            company = () if outcome.company_id is None else ("--company", outcome.company_id)
            name = None if report.place is None else channel_of(settings, report.place.topic)
            options = (*company, "--outcome", outcome.code, *again(name or None))
            page.print(copyable(f"Others like it: passport-worker refusals {shlex.join(options)}"))


_COLUMNS = ("fact", "what became of it")
_REFUSED = frozenset(row.code for row in REFUSALS.values())


def _command(command: CommandReport) -> list[tuple[str, object]]:
    size = f"{command.value_bytes} bytes, {command.headers} headers"
    rows: list[tuple[str, object]] = [("appended", format_time(command.appended_at)), ("record key", command.key)]
    if (asked := command.asked) is None:
        rows.append(("body", f"cannot be read ({size})"))
    else:
        confirmed = ", overage confirmed" if asked.confirm_overage else ""
        rows += [
            ("body", f"{size}{confirmed}"),
            ("product", asked.product_id),
            ("GTIN", asked.gtin),
            ("serial", asked.serial_number),
        ]
    return [*rows, ("key", command.idempotency_key), ("credentials", _credentials(command.credentials))]


def _credentials(credentials: CredentialsReport) -> str:
    until = "" if credentials.expires_at is None else f", valid until {format_time(credentials.expires_at)}"
    label = "" if credentials.label is None else f" {credentials.label}"
    match credentials.kind:
        case "api-key":
            digits = "" if credentials.hash_digits is None else f" ({credentials.hash_digits}…)"
            return f"API key{label}{digits}"
        case "access-token":
            return f"access token of key {credentials.key_id}{until}"
        case "signature":
            misfit = credentials.misfit
            wrong = "" if misfit is None else f", whose claim {misfit} does not match this record"
            return f"signature of key{label} {credentials.key_id}{until}{wrong}"
    return credentials.kind


def _facts(report: ExplainReport) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    if (outcome := report.outcome) is not None:
        rows += [("company", outcome.company_name), ("company id", outcome.company_id)]
    if (bound := report.binding) is not None:
        rows.append(("key bound to", f"{bound.passport_id} since {format_time(bound.since)}"))
    if (charge := report.charge) is not None:
        rows.append(("charged", f"{money(charge.price_cents, charge.currency)} at {format_time(charge.charged_at)}"))
    if (lane := report.lane) is not None:
        positions = {"A": lane.applied, "E": lane.emitted, "log ends at": lane.log_end}
        rows.append(("lane", ", ".join(f"{name}={at}" for name, at in positions.items() if at is not None) or None))
    return [*rows, ("trace", report.trace_id)]


def _outcome(report: ExplainReport, outcome: OutcomeReport) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    if outcome.rule is not None:
        rows.append(("rule", f"{outcome.rule.number}: {outcome.rule.name}{outcome.of_the_rule}"))
    code = status(outcome.code)
    rows += [
        ("outcome", code if outcome.status is None else code.append(f" ({outcome.status})", "default")),
        ("why", outcome.why),
        ("passport", outcome.passport_id),
    ]
    visible = {True: "is visible", False: "is not visible yet", None: "not known whether it is visible"}
    rows += [("event", f"{outcome.event}, {visible[outcome.emitted]}"), ("result", outcome.result)]
    rows.append(("result key", outcome.key))
    if (letter := report.dead_letter) is not None:
        rows += [("dead letter", f"{letter.reason}, at {letter.record or 'no visible place'}")]
    return rows


def _body(outcome: OutcomeReport) -> Text:
    """The whole body in one line, as it was published: an excerpt would be of no use."""
    body = json.dumps(outcome.body, ensure_ascii=False, separators=(",", ":"))
    return copyable(body) if len(body) <= _MOST_BODY else Text(f"The body has {len(body):,} characters: --json has it.")
