"""`passport-worker explain`."""

import json
from typing import Annotated, NoReturn

from cyclopts import App, Parameter
from rich.console import Console

from worker.domain import gs1
from worker.domain.timestamps import format_time
from worker.tools.cli.asking import AsJson, ask_long, examples
from worker.tools.cli.errors import BadUsage
from worker.tools.cli.options import company_id, object_id
from worker.tools.cli.output import show, table
from worker.tools.common.progress import Progress
from worker.tools.common.report import Problem
from worker.tools.common.selection import BadSelection, place_of
from worker.tools.common.servers import Servers
from worker.tools.explain.explain import explain
from worker.tools.explain.locate import Address, CompanyKey, PassportId, Serial, key_problem
from worker.tools.explain.report import CommandReport, CredentialsReport, ExplainReport

app = App(
    name="explain",
    help_format="plaintext",
    help_epilogue=examples("explain 3/12017", "explain --gtin 04012345000016 --serial U1 --json"),
)

_ONE_OF = "expected one of: PLACE, --passport, --gtin with --serial, --company with --key"
_MOST_BODY = 600

_PLACE = Parameter(name="PLACE", help="Of the command: topic/partition/offset, or partition/offset.")
_SCAN = Parameter(help="Look everywhere: reads the whole ledger for a key, all results since; takes long.", negative=())


@app.default
def explain_command(  # noqa: PLR0913 - options of a command
    place: Annotated[str | None, _PLACE] = None,
    /,
    *,
    passport: Annotated[str | None, Parameter(help="Id of a passport.")] = None,
    gtin: Annotated[str | None, Parameter(help="Of a passport, with --serial.")] = None,
    serial: Annotated[str | None, Parameter(help="Serial number of a passport, with --gtin.")] = None,
    company: Annotated[str | None, Parameter(help="Id of a company, with --key.")] = None,
    key: Annotated[str | None, Parameter(help="An idempotency key, with --company.")] = None,
    scan: Annotated[bool, _SCAN] = False,
    as_json: AsJson = False,
) -> NoReturn:
    """Tell what became of a command and why: the rule that answered, the result and where it stands; or why not.

    Exit 1 where nothing is found. Of credentials only their kind is shown. Refusals under a key are found by --scan.
    """
    names = {"place": place, "passport": passport, "gtin": gtin, "serial": serial, "company": company, "key": key}
    given = {name: text for name, text in names.items() if text is not None}

    async def asking(servers: Servers, progress: Progress) -> ExplainReport:
        address = address_of(given, servers.settings.topic_commands)
        return await explain(servers, address, progress, scan=scan)

    address_of(given, "any")  # bad usage is told before any server is asked
    report = ask_long(asking, _nothing)
    show(report, as_json=as_json, draw=lambda console: _draw(console, report))


def address_of(given: dict[str, str], topic: str) -> Address:
    """What was typed, by the names of the options. Raises `BadUsage`."""
    match given:
        case {"place": text, **others} if not others:
            try:
                return place_of(text, topic)
            except BadSelection as error:
                raise BadUsage(f"PLACE: {error}") from error
        case {"passport": text, **others} if not others:
            return PassportId(object_id("--passport", text))
        case {"gtin": gtin, "serial": serial, **others} if not others:
            if problem := gs1.gtin_problem(gtin):
                raise BadUsage(f"--gtin: {problem}")
            if problem := gs1.serial_problem(serial):
                raise BadUsage(f"--serial: {problem}")
            return Serial(gtin, serial)
        case {"company": company, "key": key, **others} if not others:
            if problem := key_problem(key):
                raise BadUsage(f"--key: {problem}")
            return CompanyKey(company_id(company), key)
    raise BadUsage(_ONE_OF)


def _nothing(problem: Problem) -> ExplainReport:
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


def _draw(console: Console, report: ExplainReport) -> None:
    """From the record to its event, in the order in which it happened; `table` escapes what records say."""
    parts = (_record(report), _command(report), _facts(report), _rule(report), _outcome(report), _event(report))
    names = ("record", "command", "facts", "rule", "outcome", "event")
    rows = [("asked", report.asked), *((name, text) for name, text in zip(names, parts, strict=True) if text)]
    if report.ok or report.outcome is not None or report.command is not None:
        rows += [("note", one) for one in report.notes]
    rows += [("also", str(one)) for one in report.others]
    console.print(table(("step", "what became of it"), rows))


def _record(report: ExplainReport) -> str:
    if report.place is None or report.command is None:
        return "" if report.place is None else str(report.place)
    one = report.command
    key = "no key" if one.key is None else f"key {one.key} ({one.key_bytes} bytes)"
    return f"{report.place}, appended {format_time(one.appended_at)}, {key}, value of {one.value_bytes} bytes"


def _command(report: ExplainReport) -> str:
    one = report.command
    if one is None:
        return ""
    key = "no idempotency key" if one.idempotency_key is None else f"idempotency key {one.idempotency_key}"
    return f"{_asked(one)}; {key}; {_credentials(one.credentials)}"


def _asked(command: CommandReport) -> str:
    asked = command.asked
    if asked is None:
        return "not to be read"
    confirmed = ", overage confirmed" if asked.confirm_overage else ""
    return f"product {asked.product_id}, GTIN {asked.gtin}, serial number {asked.serial_number}{confirmed}"


def _credentials(one: CredentialsReport) -> str:
    if one.kind == "api-key":
        label = "" if one.label is None else f" {one.label}"
        return f"API key{label}" + ("" if one.hash_digits is None else f" ({one.hash_digits}…)")
    if one.kind == "access-token":
        until = "" if one.expires_at is None else f", good until {format_time(one.expires_at)}"
        return f"access token of key {one.key_id}{until}"
    if one.kind == "signature":
        misfit = "" if one.misfit is None else f", whose claim {one.misfit} is not this record's"
        until = "" if one.expires_at is None else f", good until {format_time(one.expires_at)}"
        return f"signature of key {one.label or ''} {one.key_id}{until}{misfit}".replace("  ", " ")
    return f"credentials: {one.kind}"


def _facts(report: ExplainReport) -> str:
    told = []
    if (bound := report.binding) is not None:
        told.append(f"the key is bound to passport {bound.passport_id} since {format_time(bound.since)}")
    if (charge := report.charge) is not None:
        told.append(f"{charge.price_cents} cents were charged at {format_time(charge.charged_at)}")
    if (lane := report.lane) is not None:
        told.append(f"the lane is at A={lane.applied}, E={lane.emitted}")
    if report.trace_id is not None:
        told.append(f"trace {report.trace_id}")
    return "; ".join(told)


def _rule(report: ExplainReport) -> str:
    one = report.outcome
    return "" if one is None or one.rule is None else f"{one.rule.number}: {one.rule.name}{one.of_the_rule}"


def _outcome(report: ExplainReport) -> str:
    one = report.outcome
    return report.state if one is None else f"{one.code} ({one.status}). {one.why}"


def _event(report: ExplainReport) -> str:
    one = report.outcome
    if one is None:
        return ""
    visible = {True: "visible", False: "not visible yet", None: "not known whether visible"}[one.emitted]
    place = visible if one.result is None else f"at {one.result}"
    body = json.dumps(one.body, ensure_ascii=False, separators=(",", ":"))
    shown = body if len(body) <= _MOST_BODY else f"{body[:_MOST_BODY]}… (--json has all)"
    letter = report.dead_letter
    copy = "" if letter is None else f"; dead letter ({letter.reason}) at {letter.record or 'no visible place'}"
    return f"{one.event} {place}, key {one.key}{copy}: {shown}"
