"""`passport-worker refusals`: which commands were refused last, according to the result topics."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker.domain.command import is_object_id
from worker.domain.places import Place
from worker.domain.timestamps import parse_time, time_of_ms
from worker.messages.envelope import Record
from worker.messages.events import cause_of
from worker.messages.rules import REFUSALS, ROWS, Kind, OutcomeRow
from worker.settings import Settings
from worker.stream.cluster.permissions import Acl
from worker.stream.cluster.topic_settings import missing_topics
from worker.stream.log_reader import LogReader
from worker.tools.common.answering import error_of
from worker.tools.common.answers import Body, body_of_value, child, outcome_class
from worker.tools.common.companies import COMPANY_UNKNOWN, Company, find_company, names_of
from worker.tools.common.prerequisites import ask_database
from worker.tools.common.records import masked
from worker.tools.common.report import Problem
from worker.tools.common.rights import reading
from worker.tools.common.servers import TOPICS_MISSING, Servers
from worker.tools.refusals.newest import Bound, Newest, Tail, read_newest
from worker.tools.refusals.report import RefusalReport, RefusalsReport

KINDS = tuple(kind for kind in Kind if kind is not Kind.CREATED)
OUTCOMES = tuple(dict.fromkeys([*(kind.label for kind in KINDS), *(row.code for row in REFUSALS.values())]))
"""Outcomes to choose from: kinds of results, and codes of refusals."""
MOST = 1_000
_RIGHTS = reading("company")
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which refusals to show. `company` is an id or a name; `outcomes` are some of `OUTCOMES`; empty means all."""

    company: str | None = None
    outcomes: tuple[str, ...] = ()
    since: datetime | None = None
    most: int = 50


async def refusals(servers: Servers, wanted: Wanted, bound: Bound) -> RefusalsReport:
    """The newest refusals. Postgres is only asked for names: without it, companies have their ids."""
    company = await _company(servers, wanted.company)
    if isinstance(company, Problem):
        return _report(wanted, None, (company,))
    company_id = None if company is None else company.id
    kinds, channels = _kinds(servers.settings), servers.settings.channel_of_topic
    topics = [topic for topic, kind in kinds.items() if not wanted.outcomes or _may_hold(kind, wanted.outcomes)]
    acls = [Acl("Read", "topic", topic) for topic in topics]
    newest = await servers.kafka(lambda: _read(servers, topics, wanted, company_id, bound), acls)
    if isinstance(newest, Problem):
        return _report(wanted, company, (newest,))
    rows = [_refusal(record, kinds[record.topic], channels) for record in newest.records]
    # A turn publishes all its results at once, so the times of the commands tell more.
    rows.sort(key=lambda row: (row.appended_at, [*map(int, row.command.split("/")[1:])]), reverse=True)
    ids = {company_id, *(row.company for row in rows)} - {None}
    names = await ask_database(servers, _RIGHTS, lambda database: names_of(database.connection, ids)) if ids else {}
    problems: tuple[Problem, ...] = ()
    if isinstance(names, Problem):
        problems, names = (names,), {}
    elif company_id is not None and company_id not in names and not rows:
        problems = (Problem(code=COMPANY_UNKNOWN, text=f"The catalogue has no company {company_id}."),)
    if company is not None and not company.name:
        company = Company(company.id, names.get(company.id, ""))
    return _report(
        wanted,
        company,
        problems,
        newest,
        [row.model_copy(update={"name": names.get(row.company or "")}) for row in rows],
    )


async def _company(servers: Servers, text: str | None) -> Company | Problem | None:
    """The chosen company. An id needs no look into the database."""
    if text is None:
        return None
    if is_object_id(text):
        return Company(text.lower(), "")
    return await ask_database(servers, _RIGHTS, lambda database: find_company(database.connection, text))


def _kinds(settings: Settings) -> dict[str, Kind]:
    """The topics of refusals of all channels, with their kinds."""
    channels = settings.by_commands.values()
    return {channel.result_topics[kind - 1]: kind for channel in channels for kind in KINDS}


def _may_hold(kind: Kind, outcomes: Iterable[str]) -> bool:
    """Whether a kind of result can hold one of these outcomes."""
    return not {kind.label, *(row.code for row in REFUSALS.values() if row.kind is kind)}.isdisjoint(outcomes)


async def _read(
    servers: Servers, topics: list[str], wanted: Wanted, company_id: str | None, bound: Bound
) -> Newest | Problem:
    reader = LogReader(servers.cluster)
    counts = await servers.cluster.partition_counts(topics)
    if missing := [topic for topic in topics if topic not in counts]:
        return Problem(code=TOPICS_MISSING, text=str(missing_topics(missing)))
    tails = await asyncio.gather(*(_tails(reader, topic, range(counts[topic]), wanted.since) for topic in topics))
    wants = _chooser(servers.settings, company_id, frozenset(wanted.outcomes))
    return await read_newest(reader, [tail for of_topic in tails for tail in of_topic], wants, wanted.most, bound)


async def _tails(reader: LogReader, topic: str, partitions: range, since: datetime | None) -> list[Tail]:
    bounds = await reader.bounds(topic, partitions)
    firsts = {} if since is None else await reader.first_since(topic, partitions, since)
    return [Tail(topic, at, max(log.first, firsts.get(at, 0)), log.end) for at, log in bounds.items()]


def _chooser(settings: Settings, company_id: str | None, outcomes: frozenset[str]) -> Callable[[Record], Place | None]:
    """Return a function from a wanted result to its command; for other results it returns None.

    Installations may share result topics, and strangers may have written anything there.
    """
    kinds, commands = _kinds(settings), settings.by_commands
    company = None if company_id is None else company_id.encode()
    # A body without these texts has none of the outcomes, and need not be parsed.
    errors = [_error_in_json(row) for row in REFUSALS.values() if row.code in outcomes]

    def command_of(record: Record) -> Place | None:
        if company is not None and dict(record.headers).get("ce_companyid") != company:
            return None
        cause = cause_of(record.headers)
        if cause is None or cause.topic not in commands:
            return None
        kind = kinds[record.topic]
        if not outcomes or kind.label in outcomes:
            return cause
        value = record.value or b""
        return cause if any(error in value for error in errors) and _code(record, kind) in outcomes else None

    return command_of


def _error_in_json(row: OutcomeRow[Any]) -> bytes:
    """The fixed beginning of a refusal's sentence, as its body has it."""
    return json.dumps(row.error.partition("{")[0])[:-1].encode()


def _code(record: Record, kind: Kind) -> str:
    outcome = outcome_class(kind, body_of_value(record.value or b""))
    return _UNKNOWN if outcome is None else ROWS[outcome].code


def _refusal(record: Record, kind: Kind, channels: Mapping[str, str]) -> RefusalReport:
    """The row of a result, with channels by command topic.

    Anybody may have written the result, so every part but its cause may be missing or odd.
    """
    cause = cause_of(record.headers)
    assert cause is not None
    headers, body = dict(record.headers), body_of_value(record.value or b"")
    request = child(body, "request")
    gs1, status = child(request, "gs1"), body.get("status")
    company = _text(headers.get("ce_companyid"))
    return RefusalReport(
        appended_at=parse_time(_text(headers.get("ce_time")) or "") or time_of_ms(record.timestamp_ms),
        refused_at=time_of_ms(record.timestamp_ms),
        company=company.lower() if is_object_id(company) else None,
        name=None,
        outcome=kind.label,
        code=_code(record, kind),
        status=status if type(status) is int and 0 <= status < 1000 else None,
        error=masked(error_of(body)),
        key=_text(record.key) or "",
        product_id=_member(request, "productId"),
        gtin=_member(gs1, "gtin"),
        serial_number=_member(gs1, "serialNumber"),
        channel=channels[cause.topic],
        command=str(cause),
        result=str(record.place),
    )


def _text(data: bytes | None) -> str | None:
    return None if data is None else masked(data.decode("utf-8", "replace"))


def _member(body: Body, name: str) -> str | None:
    value = body.get(name)
    return masked(value) if isinstance(value, str) else None


def _report(
    wanted: Wanted,
    company: Company | None,
    problems: tuple[Problem, ...],
    newest: Newest | None = None,
    rows: Iterable[RefusalReport] = (),
) -> RefusalsReport:
    back_to_ms = None if newest is None else newest.back_to_ms
    return RefusalsReport(
        problems=problems,
        company=company and company.id,
        name=(company and company.name) or None,
        outcomes=wanted.outcomes,
        since=wanted.since,
        refusals=tuple(rows),
        looked_at=0 if newest is None else newest.looked_at,
        back_to=None if back_to_ms is None else time_of_ms(back_to_ms),
        reach=newest and newest.reach,
    )
