"""What pages say where there is no answer: no server is asked here, and none is there."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from tests.unit.lane_reports import lane_report
from tests.unit.test_console_views import NOON
from worker.settings import Settings
from worker.tools.common.lane_report import LanesReport
from worker.tools.common.selection import BadSelection
from worker.tools.common.servers import Servers
from worker.tools.console import cached, guard, pages
from worker.tools.console.cached import CachedReport, CachedReports
from worker.tools.console.door import Reader
from worker.tools.console.guard import Guard
from worker.tools.console.pages import Pages
from worker.tools.console.report import ActivityReport, MinuteActivity, RefusedCompany
from worker.tools.dead_letters.report import DeadLetterReport, DeadLettersListReport, RedrivenReport
from worker.tools.explain.report import (
    AskedReport,
    BindingReport,
    CommandReport,
    CredentialsReport,
    ExplainReport,
    OutcomeReport,
    RecordPlace,
)
from worker.tools.quota.report import CompanyQuota, QuotaShowReport

Client = TestClient[web.Request, web.Application]
COMPANY = "6650a0b1c2d3e4f5a6b7c8d9"
NOWHERE = Settings(kafka_bootstrap_servers="127.0.0.1:1", database_url="postgresql://127.0.0.1:1/none")


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A browser without a screen."""
    servers = Servers(NOWHERE, 0.1)
    sources = CachedReports(servers)
    made = Pages(servers, sources)
    app = web.Application(middlewares=[Guard().middleware(made.error)])
    app.router.add_routes(made.routes())
    async with TestClient(TestServer(app)) as one:
        yield one
    await sources.close()
    await servers.cluster.close()


async def test_who_comes_while_another_is_answered_is_told_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """In time, and the first one goes on: commands are explained one at a time."""
    begun, may_answer = asyncio.Event(), asyncio.Event()

    async def explain(*_: object) -> None:
        begun.set()
        await may_answer.wait()
        raise BadSelection("it has come to its end")

    monkeypatch.setattr(pages, "explain", explain)
    first = asyncio.create_task(client.get("/explain?q=0/1"))
    await begun.wait()
    begun.clear()
    monkeypatch.setattr(guard, "ANSWER_SECONDS", 0.2)
    second = await client.get("/explain?q=0/2")
    assert (second.status, begun.is_set()) == (503, False)
    assert "There was no answer in time" in await second.text()
    may_answer.set()
    assert "It has come to its end" in await (await first).text()


async def test_a_fault_of_ours_is_told_without_its_text(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went wrong inside is for the log."""

    async def explain(*_: object) -> None:
        raise RuntimeError("tp_inside")

    monkeypatch.setattr(pages, "explain", explain)
    answer = await client.get("/explain?q=0/1")
    text = await answer.text()
    assert (answer.status, "tp_" in text) == (500, False)
    assert "This is a fault of the console" in text


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/explain?q=zzz", 400, "Expected the id of a passport"),
        ("/explain?q=tp_live_0123456789", 400, "This looks like an API key"),
        ("/refusals?company=tp_live_0123456789", 200, 'value="tp_…"'),
        ("/dead-letters?code=nonsense", 400, "code: expected one of bom, "),
        ("/refusals?outcome=created", 400, "outcome: expected one of overage-required, "),
        ("/refusals?since=now", 400, "since: expected one of 15m, "),
        ("/refusals?company=" + "x" * 201, 400, "company: expected at most 200 characters"),
        ("/refusals?limit=0000000009999", 400, "limit: expected a number from 1 to 1000"),
        ("/refusals?company=+", 200, '<div class="note bad">'),  # whichever server is found to be away first
        ("/dead-letters/nowhere", 400, "expected topic/partition/offset or partition/offset"),
        ("/dead-letters/%00%3Cb%3E", 400, "\\x00&lt;b&gt;"),
        ("/company/123", 404, "There is no such page."),
        ("/explain?q=%3Cscript%3E", 400, 'value="&lt;script&gt;"'),
    ],
)
async def test_what_is_no_question_is_answered_with_what_was_expected(
    client: Client, path: str, status: int, said: str
) -> None:
    """On a page like all others; what was typed is escaped, and an API key not repeated."""
    answer = await client.get(path)
    text = await answer.text()
    assert (answer.status, said in text) == (status, True), text
    assert "0123456789" not in text
    assert "<b>" not in text
    assert "<script>" not in text


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/explain?q=zzz", 400, "expected the id of a passport"),
        ("/api/dead-letters?limit=0", 400, "limit: expected a number from 1 to 1000"),
        ("/api/nothing", 404, "There is no such page."),
        ("/api/quota/123", 404, "There is no such page."),
        ("/api/explain?q=0/1", 500, "This is a fault of the console. Its log says more."),
    ],
)
async def test_who_asks_for_json_is_told_in_json_what_is_wrong(
    client: Client, monkeypatch: pytest.MonkeyPatch, path: str, status: int, said: str
) -> None:
    """In the words of the page."""

    async def explain(*_: object) -> None:
        raise RuntimeError("tp_inside")

    monkeypatch.setattr(pages, "explain", explain)
    answer = await client.get(path)
    assert (answer.status, answer.content_type) == (status, "application/json")
    assert (await answer.json())["error"].startswith(said)
    page = await client.get(path.removeprefix("/api"))
    assert page.content_type == "text/html"
    other = await client.get(path, headers={"Host": "evil.example.com"})
    assert (other.status, await other.json()) == (
        421,
        {"error": "This console does not know that host name. Allow it with --allowed-host."},
    )


async def test_the_first_visitor_after_a_quiet_spell_sees_no_old_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres was stopped meanwhile, and a server that hangs does not say so soon. Seen to be green for a minute."""
    servers = Servers(NOWHERE, 0.1)
    sources, now = CachedReports(servers), time.time()
    hanging = asyncio.Event()

    async def lanes() -> LanesReport:
        if hanging.is_set():
            await asyncio.sleep(60)
        return LanesReport(group="g", lanes=(lane_report(0), lane_report(1)))

    sources.lanes = CachedReport[LanesReport](lanes, 5.0, lambda report: bool(report.lanes))
    monkeypatch.setattr(cached, "WAIT_SECONDS", 0.2)
    overview = Pages(servers, sources).overview
    request = make_mocked_request("GET", "/")
    request[guard.READER] = Reader()
    text = str((await overview(request)).text)
    assert '<section class="verdict ok"' in text
    assert "All 2 lanes are moving" in text
    hanging.set()
    monkeypatch.setattr(time, "time", lambda: now + 70)
    text = str((await overview(request)).text)
    assert "verdict ok" not in text
    assert "are moving" not in text
    assert "As of 70 s ago, checking" in text
    await sources.close()
    await servers.cluster.close()


async def test_a_viewer_sees_lanes_and_counts_and_no_company(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a link that would answer 403. Support sees both."""
    servers = Servers(NOWHERE, 0.1)
    sources = CachedReports(servers)

    async def lanes() -> LanesReport:
        return LanesReport(group="g", lanes=(lane_report(0), lane_report(1)))

    async def activity() -> ActivityReport:
        minute = MinuteActivity(minute=NOON, created=70, replayed=0, overage_required=0, conflict=0, rejected=5)
        rows = [(COMPANY, "EuroBat", "invalid", 3), ("f" * 24, "Cells", "invalid", 2), (COMPANY, "EuroBat", "gone", 1)]
        refusals = (RefusedCompany(company=id_, name=name, code=code, count=n) for id_, name, code, n in rows)
        return ActivityReport(minutes=(minute,), refusals=tuple(refusals))

    sources.lanes = CachedReport[LanesReport](lanes, 5.0, lambda report: bool(report.lanes))
    sources.activity = CachedReport[ActivityReport](activity, 5.0, lambda report: bool(report.minutes))
    monkeypatch.setattr(cached, "WAIT_SECONDS", 0.2)
    made = Pages(servers, sources)
    pages_by_role = {}
    for role in ("viewer", "support"):
        request = make_mocked_request("GET", "/")
        request[guard.READER] = Reader("ann", role)
        pages_by_role[role] = str((await made.overview(request)).text)
        report = json.loads(str((await made.activity(request)).text))
        seen = [(row["company"], row["code"], row["count"]) for row in report["refusals"]]
        assert seen == (
            [(None, "invalid", 5), (None, "gone", 1)]
            if role == "viewer"
            else [(COMPANY, "invalid", 3), ("f" * 24, "invalid", 2), (COMPANY, "gone", 1)]
        )
    for words in ("All 2 lanes are moving", "invalid", "You are <b>ann</b>"):
        assert all(words in text for text in pages_by_role.values()), words
    links = ("/company/", "/refusals", "/dead-letters", "/explain", "/api/quota")
    for words in ("EuroBat", COMPANY, "Quotas near", "Refused today", *(f'="{link}' for link in links)):
        assert [words in pages_by_role[role] for role in ("viewer", "support")] == [False, words != '="/api/quota']
    await sources.close()
    await servers.cluster.close()


async def test_lanes_and_places_of_other_channels_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each channel has a lane 3: seen to fail where both were called so, and both dead letters 3/7."""
    servers = Servers(NOWHERE, 0.1)
    sources, topic = CachedReports(servers), NOWHERE.topic_commands
    halted = {"state": "halted", "advice": "look"}
    own, other = lane_report(3, topic=topic, **halted), lane_report(3, topic=f"acme.{topic}", channel="acme", **halted)

    async def lanes() -> LanesReport:
        return LanesReport(group="g", lanes=(own, other))

    async def letters() -> DeadLettersListReport:
        about = dict.fromkeys(("appended_at", "key", "value_bytes", "company", "name", "redriven"))
        places = (f"{lane.topic}/3/7" for lane in (own, other))
        return DeadLettersListReport(
            dead_letters=tuple(DeadLetterReport(place=place, code="x", **about) for place in places)
        )

    sources.lanes = CachedReport[LanesReport](lanes, 5.0, lambda report: bool(report.lanes))
    sources.letters = CachedReport[DeadLettersListReport](letters, 5.0, lambda report: bool(report.dead_letters))
    monkeypatch.setattr(cached, "WAIT_SECONDS", 0.2)
    made = Pages(servers, sources)
    request = make_mocked_request("GET", "/")
    request[guard.READER] = Reader()
    text = str((await made.overview(request)).text)
    assert "<strong>Lanes 3, acme 3</strong>" in text
    assert [f'<td class="n">{name}</td>' in text for name in ("3", "acme 3")] == [True, True]
    text = str((await made.letters(request)).text)
    assert [f">{place}</a>" in text for place in ("3/7", f"acme.{topic}/3/7")] == [True, True]
    await sources.close()
    await servers.cluster.close()


def _story(topic: str, gtin: str, serial: str, key: str) -> ExplainReport:
    """A command of a created passport."""
    credentials = CredentialsReport(kind="none", **dict.fromkeys(("label", "hash_digits", "key_id", "expires_at")))
    command = CommandReport(
        appended_at=NOON,
        key=None,
        key_bytes=0,
        value_bytes=1,
        headers=1,
        idempotency_key=key,
        credentials=credentials,
        asked=AskedReport(product_id="p", gtin=gtin, serial_number=serial, confirm_overage=None),
    )
    outcome = OutcomeReport(
        code="created",
        status=201,
        rule=None,
        why="",
        event="created",
        company_id=COMPANY,
        company_name=None,
        passport_id="f" * 24,
        key=key,
        body={},
        source="ledger",
        emitted=True,
        result=None,
    )
    return ExplainReport(
        asked="",
        place=RecordPlace(topic=topic, partition=3, offset=7),
        state="answered",
        notes=(),
        command=command,
        lane=None,
        outcome=outcome,
        dead_letter=None,
        binding=BindingReport(
            company_id=COMPANY, key=key, passport_id="f" * 24, since=NOON, until=NOON + timedelta(days=1)
        ),
        charge=None,
        trace_id=None,
        others=(),
    )


async def _told(client: Client, monkeypatch: pytest.MonkeyPatch, report: ExplainReport, asked: str = "3/7") -> str:
    """The page of this story."""

    async def explain(*_: object) -> ExplainReport:
        return report

    monkeypatch.setattr(pages, "explain", explain)
    answer = await client.get("/explain", params={"q": asked})
    assert answer.status == 200
    return await answer.text()


async def test_the_neighbours_of_a_record_are_those_of_its_channel(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen to fail before: from a record of channel acme, the next one was another's, on the default channel."""
    topic = f"acme.{NOWHERE.topic_commands}"
    text = await _told(client, monkeypatch, _story(topic, "04012345000016", "U1", "k"))
    assert [f'href="/explain?q={topic}/3/{offset}"' in text for offset in (6, 8)] == [True, True]


@pytest.mark.parametrize(
    ("gtin", "serial", "key", "links"),
    [
        ("04012345000016", "U1", "k1", ["04012345000016%20U1", f"{COMPANY}%20k1"]),
        ("04012345000016", "/1", "/k1", ["https%3A//id.gs1.org/01/04012345000016/21/%252F1"]),
        ("123", "U1", "k1 ", []),
    ],
)
async def test_a_link_leads_to_its_own_unit_and_key(
    client: Client, monkeypatch: pytest.MonkeyPatch, gtin: str, serial: str, key: str, links: list[str]
) -> None:
    """Or there is none, where the search field would take the text for another. What was sent is shown all the same.

    Seen to fail before: serial number `/1` led to the story of unit `1`, and key `/k1` to the passport under `k1`.
    """
    text = await _told(client, monkeypatch, _story(NOWHERE.topic_commands, gtin, serial, key))
    (own,) = text.split("<h2>Command</h2>")[1:]
    own = own.partition("</li>")[0]
    assert [part.partition('"')[0] for part in own.split('href="/explain?q=')[1:]] == links
    assert serial in own
    assert key in own


@pytest.mark.parametrize(("asked", "is_offered"), [("f" * 24, True), ("04012345000016 BP-48V-10", False)])
async def test_only_what_may_be_a_company_leads_to_one(
    client: Client, monkeypatch: pytest.MonkeyPatch, asked: str, is_offered: bool
) -> None:
    """Seen to fail before: a GTIN and a serial number of 24 characters were, too, and the link answered 404."""
    none = dict.fromkeys(("place", "command", "lane", "outcome", "dead_letter", "binding", "charge", "trace_id"))
    report = ExplainReport(asked=asked, state="not-found", notes=(), others=(), **none)
    text = await _told(client, monkeypatch, report, asked)
    assert ("Is it a company?" in text) is is_offered


async def _overview(monkeypatch: pytest.MonkeyPatch, **reports: CachedReport) -> str:  # type: ignore[type-arg]
    """The overview with these reports; no server answers for the others."""
    servers = Servers(NOWHERE, 0.1)
    sources = CachedReports(servers)
    for name, report in reports.items():
        setattr(sources, name, report)
    monkeypatch.setattr(cached, "WAIT_SECONDS", 0.2)
    request = make_mocked_request("GET", "/")
    request[guard.READER] = Reader()
    text = str((await Pages(servers, sources).overview(request)).text)
    await sources.close()
    await servers.cluster.close()
    return text


async def test_an_age_that_nobody_could_read_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither that of another lane as the oldest one. Seen to fail before: 0.0 s, while a command waited for hours."""

    async def lanes() -> LanesReport:
        return LanesReport(group="g", lanes=(lane_report(0), lane_report(1, lag_records=2, lag_seconds=None)))

    text = await _overview(monkeypatch, lanes=CachedReport[LanesReport](lanes, 5.0, lambda _: True))
    assert "<dt>Oldest unanswered</dt><dd>-</dd>" in text
    assert "<dt>Waiting</dt><dd>2</dd>" in text


async def test_the_last_minute_is_that_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minutes of a worker whose clock is ahead stand behind it.

    Seen to fail before: what that worker alone had answered was told as the answers of all.
    """
    counts = dict.fromkeys(range(60), 1) | {58: 100, 59: 50, 63: 7, 64: 3}

    async def activity() -> ActivityReport:
        zero = dict.fromkeys(("replayed", "overage_required", "conflict", "rejected"), 0)
        minutes = (
            MinuteActivity(minute=NOON + timedelta(minutes=at), created=count, **zero) for at, count in counts.items()
        )
        return ActivityReport(minutes=tuple(minutes), refusals=())

    text = await _overview(monkeypatch, activity=CachedReport[ActivityReport](activity, 5.0, lambda _: True))
    assert "<dt>Answered last minute</dt><dd>100</dd>" in text


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (199, "No dead letter waits to be published again."),
        (200, "None of the newest 200 waits to be published again; older ones may."),
    ],
)
async def test_dead_letters_that_were_not_looked_at_may_wait(
    monkeypatch: pytest.MonkeyPatch, count: int, said: str
) -> None:
    """Seen to fail before: once the newest 200 had been published again, none was said to wait, whatever lay behind."""
    about = dict.fromkeys(("appended_at", "key", "value_bytes", "company", "name"))
    redriven = RedrivenReport(times=1, place="t/0/9", operation="o")

    async def letters() -> DeadLettersListReport:
        found = (DeadLetterReport(place=f"t/0/{at}", code="x", redriven=redriven, **about) for at in range(count))
        return DeadLettersListReport(dead_letters=tuple(found))

    text = await _overview(monkeypatch, letters=CachedReport[DeadLettersListReport](letters, 5.0, lambda _: True))
    assert said in text


async def test_a_closed_company_near_its_end_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its plan stays full for good, and concerns nobody. One that closes later is still open."""

    async def quotas() -> QuotaShowReport:
        one = CompanyQuota(
            company=COMPANY,
            name="EuroBat",
            plan="growth",
            slots_used=9,
            slots_limit=9,
            slots_share=1.0,
            writes_today=0,
            writes_limit=None,
            writes_share=None,
            charges=0,
            charged_cents=0,
            answered_today=0,
            refused_today=0,
            closed_at=NOON - timedelta(days=999),
        )
        later = one.model_copy(update={"plan": "large", "closed_at": NOON + timedelta(days=99_999)})
        return QuotaShowReport(day=None, currency="EUR", quotas=(one, later))

    text = await _overview(monkeypatch, quotas=CachedReport[QuotaShowReport](quotas, 60.0, lambda _: True))
    assert [f'<small class="muted">{words}</small>' in text for words in ("growth, closed", "large")] == [True, True]


async def test_while_nothing_is_known_no_number_is_shown(client: Client) -> None:
    """A 0 would be a claim."""
    text = await (await client.get("/")).text()
    for _ in range(50):
        if "Postgres is away" in text and "Kafka is away" in text:
            break
        await asyncio.sleep(0.1)
        text = await (await client.get("/")).text()
    assert text.count("<dd>-</dd>") == 6
    assert "Not known: Postgres is away." in text
    assert (await client.get("/api/lanes")).status == 200
