"""What pages say where there is no answer: no server is asked here, and none is there."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

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
from worker.tools.dead_letters.report import DeadLetterReport, DeadLettersListReport

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
        ("/api/explain?q=0/1", 500, "This is a fault of the console. Its log tells more."),
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
