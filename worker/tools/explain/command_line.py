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
from worker.tools.explain.report import CommandReport, CredentialsReport, ExplainReport, OutcomeReport

app = App(
    name="explain",
    help_format="plaintext",
    help_epilogue=examples("explain 3/12017", "explain --gtin 04012345000016 --serial U1 --json"),
)

_ONE_OF = "expected one of: PLACE, --passport, --gtin with --serial, --company with --key"
_MOST_BODY = 600

_PLACE = Parameter(name="PLACE", help="Place of the command: topic/partition/offset, or partition/offset.")
_SCAN = Parameter(
    help="Search everything: the whole ledger for a key, and all results since the command. Takes long.", negative=()
)


@app.default
def explain_command(  # noqa: PLR0913 - options of a command
    place: Annotated[str | None, _PLACE] = None,
    /,
    *,
    passport: Annotated[str | None, Parameter(help="Id of a passport.")] = None,
    gtin: Annotated[str | None, Parameter(help="GTIN of a passport, with --serial.")] = None,
    serial: Annotated[str | None, Parameter(help="Serial number of a passport, with --gtin.")] = None,
    company: Annotated[str | None, Parameter(help="Id of a company, with --key.")] = None,
    key: Annotated[str | None, Parameter(help="An idempotency key, with --company.")] = None,
    scan: Annotated[bool, _SCAN] = False,
    as_json: AsJson = False,
) -> NoReturn:
    """Tell what became of a command and why: the rule that answered, and the result and its place, or why it has none.

    Exits with 1 if nothing is found. Shows only the kind of credentials. Only --scan finds refusals under a key.
    """
    names = {"place": place, "passport": passport, "gtin": gtin, "serial": serial, "company": company, "key": key}
    given = {name: text for name, text in names.items() if text is not None}

    async def asking(servers: Servers, progress: Progress) -> ExplainReport:
        address = address_of(given, servers.settings.topic_commands)
        return await explain(servers, address, progress, scan=scan)

    address_of(given, "any")  # reports bad usage before any server is asked
    report = ask_long(asking, _empty)
    show(report, as_json=as_json, draw=lambda console: _draw(console, report))


def address_of(given: dict[str, str], topic: str) -> Address:
    """The address in the options, which are given by name. Raises `BadUsage`."""
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


def _draw(console: Console, report: ExplainReport) -> None:
    """Draw a row a step, from the record to its event. `table` escapes what records say."""
    command, outcome = report.command, report.outcome
    rows = [("asked", report.asked)]
    if report.place is not None:
        rows.append(("record", str(report.place) + ("" if command is None else _record(command))))
    if command is not None:
        rows.append(("command", _command(command)))
    if facts := _facts(report):
        rows.append(("facts", facts))
    if outcome is None:
        rows.append(("outcome", report.state))
    else:
        if outcome.rule is not None:
            rows.append(("rule", f"{outcome.rule.number}: {outcome.rule.name}{outcome.of_the_rule}"))
        rows.append(("outcome", f"{outcome.code} ({outcome.status}). {outcome.why}"))
        rows.append(("event", _event(report, outcome)))
    if report.ok or outcome is not None or command is not None:  # otherwise the problem below says the same
        rows += [("note", note) for note in report.notes]
    rows += [("also", str(other)) for other in report.others]
    console.print(table(("step", "what became of it"), rows))


def _record(command: CommandReport) -> str:
    key = "no key" if command.key is None else f"key {command.key} ({command.key_bytes} bytes)"
    return f", appended {format_time(command.appended_at)}, {key}, value of {command.value_bytes} bytes"


def _command(command: CommandReport) -> str:
    text, asked, key = "a body that cannot be read", command.asked, "no idempotency key"
    if asked is not None:
        confirmed = ", overage confirmed" if asked.confirm_overage else ""
        text = f"product {asked.product_id}, GTIN {asked.gtin}, serial number {asked.serial_number}{confirmed}"
    if command.idempotency_key is not None:
        key = f"idempotency key {command.idempotency_key}"
    return f"{text}; {key}; {_credentials(command.credentials)}"


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
    return f"credentials: {credentials.kind}"


def _facts(report: ExplainReport) -> str:
    facts = []
    if (bound := report.binding) is not None:
        facts.append(f"the key is bound to passport {bound.passport_id} since {format_time(bound.since)}")
    if (charge := report.charge) is not None:
        facts.append(f"{charge.price_cents} cents were charged at {format_time(charge.charged_at)}")
    if (lane := report.lane) is not None:
        facts.append(f"the lane is at A={lane.applied}, E={lane.emitted}")
    if report.trace_id is not None:
        facts.append(f"trace {report.trace_id}")
    return "; ".join(facts)


def _event(report: ExplainReport, outcome: OutcomeReport) -> str:
    visible = {True: "visible", False: "not visible yet", None: "not known whether visible"}[outcome.emitted]
    place = visible if outcome.result is None else f"at {outcome.result}"
    body = json.dumps(outcome.body, ensure_ascii=False, separators=(",", ":"))
    if len(body) > _MOST_BODY:
        body = f"{body[:_MOST_BODY]}… (--json has all)"
    letter, copy = report.dead_letter, ""
    if letter is not None:
        copy = f"; dead letter ({letter.reason}) at {letter.record or 'no visible place'}"
    return f"{outcome.event} {place}, key {outcome.key}{copy}: {body}"
