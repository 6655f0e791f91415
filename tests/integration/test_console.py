"""The console in a real browser, over the real worker: what it shows, to whom, and what becomes of hostile texts."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.conftest import fresh_database
from tests.end_to_end.test_replay_and_members import commit_offset
from tests.infrastructure.browser import SIZES, chromium, keep, serious_faults
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.roles import two_roles
from tests.operations.asking import SCHEMAS
from tests.operations.mixture import limit_tenants, mixture
from tests.workbench import REPOSITORY, Workbench, get, make_workbench, run_command, tenant
from worker.demo.embedded import HOST, free_port

pytestmark = pytest.mark.real_kafka

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "';alert(1)//",
    "</title><svg onload=alert(1)>",
    "{{7*7}}{% raw %}",
    "javascript:alert(1)",
    "\u202egnp.exe\u2066",
    "<style>*{display:none}</style>",
)
COMMANDS = 300


class Console:
    """A console process, at `url`."""

    def __init__(self, environment: Mapping[str, str], log: Path, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.log = log
        self._process = subprocess.Popen(
            [sys.executable, "-m", "worker", "console", "--port", str(self.port), *arguments],
            cwd=REPOSITORY,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log.open("ab"),
        )

    @property
    def told(self) -> str:
        """Its log."""
        return self.log.read_text()

    async def serving(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + 20
        while (await asyncio.to_thread(get, f"{self.url}/livez"))[0] != 200:
            assert self._process.poll() is None, self.told
            assert time.monotonic() < deadline, self.told
            await asyncio.sleep(0.1)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(10)


@asynccontextmanager
async def console(environment: Mapping[str, str], log: Path, *arguments: str) -> AsyncIterator[Console]:
    """One that is stopped at the end, and ends well."""
    one = Console(environment, log, *arguments)
    try:
        await one.serving()
        yield one
    finally:
        code = await asyncio.to_thread(one.stop)
    assert code == 0, one.told


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all."""
    async with chromium() as one:
        yield one


@pytest_asyncio.fixture(scope="module")
async def seen(servers: Infrastructure, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Workbench]:
    """A worker's work on commands of all kinds, hostile ones among them, and its environment with a reader's role."""
    folder = tmp_path_factory.mktemp("console")
    async with two_roles(servers.database_url) as roles:
        bench = await make_workbench(servers.bootstrap_servers, roles.owner_url, f"console-{roles.run}")
        await limit_tenants(bench)
        owner = await asyncpg.connect(roles.owner_url)
        await owner.execute("UPDATE company SET name = $2 WHERE id = $1", tenant(0).company_id, HOSTILE[0] + HOSTILE[1])
        await owner.execute(
            "UPDATE plan SET id = id",
        )
        await owner.close()
        bench.publish([*mixture(7, COMMANDS), *hostile_commands(bench)])
        worker = bench.start_worker(folder / "worker.log")
        await bench.wait_for_results(COMMANDS + len(HOSTILE) * 3)
        assert await asyncio.to_thread(bench.stop_worker, worker) == 0  # it tells its last seconds of activity
        done = await asyncio.to_thread(run_command, "migrate", "--grant-read-to", roles.run, **bench.environment)
        assert done.returncode == 0, done
        bench.environment["PASSPORT_DATABASE_URL"] = roles.run_url
        yield bench


def hostile_commands(bench: Workbench) -> list[dict[str, Any]]:
    """Every text that a producer chooses, in a passport, in a refusal and in a dead letter."""
    found: list[dict[str, Any]] = []
    for number, text in enumerate(HOSTILE):
        serial = text.replace("\u202e", "").replace("\u2066", "")[:100]
        one = bench.command(tenant(4), 4, serial, key=text, partition=0)
        party = {"legalName": text, "gln": "4012345000009", "legacyOperatorId": text[:100]}
        refused = bench.command(
            tenant(0), 0, text + "\u0007", key=f"{text}{number}", parties={text: party}, partition=1
        )
        headers = [("authorization", b"Bearer tp_hostile_" + text.encode()), (text, text.encode()), ("y", None)]
        found += [
            {**one, "key": text.encode()},
            {**refused, "key": text.encode()},
            {"value": b"{" + text.encode(), "key": text.encode(), "headers": headers, "partition": 0},
        ]
    return found


@pytest_asyncio.fixture(scope="module")
async def shown(seen: Workbench, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    """The console over it, as a reader."""
    async with console(seen.environment, tmp_path_factory.mktemp("shown") / "console.log") as one:
        yield one


@asynccontextmanager
async def page_of(browser: Browser, **options: Any) -> AsyncIterator[Page]:
    """A page in which nothing is refused by its policy, nothing fails and nothing pops up."""
    context: BrowserContext = await browser.new_context(**options)
    wrong: list[str] = []
    page = await context.new_page()
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda message: wrong.append(message.text) if "status of 4" not in message.text else None)
    page.on("request", lambda one: wrong.append(one.url) if not one.url.startswith(f"http://{HOST}:") else None)
    try:
        yield page
        assert wrong == []
    finally:
        await context.close()


async def places(bench: Workbench) -> dict[str, str]:
    """The query of an explain page of each kind of story, and of the other pages."""
    database = await bench.connect()
    topic = bench.settings.topic_commands
    by_kind = await database.fetch(
        'SELECT DISTINCT ON (kind, passport_id IS NULL) kind, partition, "offset" FROM ledger JOIN lane ON '
        'lane.id = lane_id WHERE topic = $1 ORDER BY kind, passport_id IS NULL, "offset" DESC',
        topic,
    )
    passport = await database.fetchrow("SELECT id, gtin, serial FROM passport WHERE serial LIKE '%script%'")
    letter = await database.fetchrow(
        'SELECT partition, d."offset" FROM dead_letter d JOIN lane ON lane.id = lane_id ORDER BY 2 DESC LIMIT 1'
    )
    await database.close()
    assert passport is not None
    assert letter is not None
    found = {f"explain-{row['kind']}": f"/explain?q={row['partition']}/{row['offset']}" for row in by_kind}
    dead = f"{letter['partition']}/{letter['offset']}"
    return {
        "overview": "/",
        **found,
        "explain-passport": f"/explain?q={passport['id']}",
        "explain-dead": f"/explain?q={dead}",
        "search": "/explain",
        "nothing": "/explain?q=zzz",
        "dead-letters": "/dead-letters",
        "dead-letter": f"/dead-letters/{dead}",
        "company": f"/company/{tenant(0).company_id}",
        "error": "/nowhere",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
async def test_every_page_at_a_desk_and_on_a_telephone(
    browser: Browser, shown: Console, seen: Workbench, width: int, scheme: str
) -> None:
    """Nothing sticks out, axe-core finds nothing serious, nothing hostile runs; each is kept as a picture."""
    size = {"width": width, "height": SIZES[width]}
    async with page_of(browser, viewport=size, color_scheme=scheme) as page:
        for name, path in (await places(seen)).items():
            await page.goto(shown.url + path)
            await keep(page, f"{name}-{width}-{scheme}")
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            assert await serious_faults(page) == [], name


async def test_overview_says_in_words_what_happened(browser: Browser, shown: Console) -> None:
    """Lanes, the hour, the refused, quotas, dead letters; a worker is missing here, and nothing waits."""
    async with page_of(browser) as page:
        await page.goto(shown.url)
        assert await page.locator(".verdict h2").all_inner_texts() == ["No worker is running"]
        text = await page.inner_text("main")
        for part in ("Oldest unanswered", "This hour", "Refused this hour", "Quotas near their end", "Dead letters"):
            assert part in text
        assert HOSTILE[0] + HOSTILE[1] in text, "a company's name is shown as it is"
        label = await page.get_attribute("svg.chart", "aria-label") or ""
        activity = json.loads((await asyncio.to_thread(get, f"{shown.url}/api/activity"))[1])
        created = sum(one["created"] for one in activity["minutes"])
        assert f"{created:,} created" in label
        total = sum(one[name] for one in activity["minutes"] for name in one if name != "minute")
        assert total == COMMANDS + len(HOSTILE) * 3


async def test_main_follows_while_nobody_is_at_it(browser: Browser, shown: Console, seen: Workbench) -> None:
    """And stands still when it is paused; "/" leads to the field, which leads to a story by the keyboard alone."""
    async with page_of(browser) as page:
        await page.goto(shown.url)
        await page.evaluate("document.querySelector('.verdict h2').textContent = 'old'")
        await expect(page.locator(".verdict h2")).not_to_have_text("old", timeout=15_000)
        await page.click("text=As a table")
        await page.evaluate("document.querySelector('.verdict h2').textContent = 'old'")
        await expect(page.locator(".verdict h2")).not_to_have_text("old", timeout=15_000)
        await expect(page.locator("#minutes summary")).to_be_focused()
        await expect(page.locator("#minutes table")).to_be_visible()
        await page.click("text=Pause")
        assert await page.inner_text("#live span") == "Updates paused"
        await page.keyboard.press("/")
        await page.keyboard.type("0/0")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/explain?q=0%2F0")
        assert f"{seen.settings.topic_commands}/0/0" in await page.inner_text("h1")


async def test_without_scripts_it_works_and_loads_itself_again(browser: Browser, shown: Console) -> None:
    """Every link and the form; `?still` stops it."""
    async with page_of(browser, java_script_enabled=False) as page:
        await page.goto(shown.url)
        assert await page.locator("meta[http-equiv=refresh]").count() == 1
        await page.goto(f"{shown.url}/?still")
        assert await page.locator("meta[http-equiv=refresh]").count() == 0
        await page.fill("#q", "0/1")
        await page.click("text=Explain")
        assert "/0/1" in await page.inner_text("h1")


async def test_a_story_leads_on_at_every_step(browser: Browser, shown: Console, seen: Workbench) -> None:
    """From a hostile serial number to its passport, key, company and neighbours: each link is a page that knows it."""
    async with page_of(browser) as page:
        await page.goto(shown.url + (await places(seen))["explain-passport"])
        links = await page.locator(".story a").evaluate_all("all => all.map(one => one.href)")
        assert len(links) >= 6
        for link in links:
            answer = await page.goto(link)
            assert answer is not None
            assert answer.status == 200, link
            assert await page.locator("h1 .state").all_inner_texts() != ["not-found"], link


async def test_a_halted_lane_is_impossible_to_miss(browser: Browser, bench: Workbench, tmp_path: Path) -> None:
    """First and largest, with what happened and what to do, at both widths, light and dark."""
    bench.publish({**bench.command(tenant(0), 0, f"u{n}"), "partition": n % 2} for n in range(20))
    worker = bench.start_worker(tmp_path / "worker.log")
    await bench.wait_for_results(20)
    assert await asyncio.to_thread(bench.stop_worker, worker) == 0
    await asyncio.to_thread(commit_offset, bench, 1, 90)
    bench.start_worker(tmp_path / "worker.log")
    async with console(bench.environment, tmp_path / "console.log") as one:
        for width, height in SIZES.items():
            for scheme in ("light", "dark"):
                size = {"width": width, "height": height}
                async with page_of(browser, viewport=size, color_scheme=scheme) as page:
                    await page.goto(one.url)
                    first = page.locator("main > section").first
                    await expect(first.locator("h2")).to_have_text("1 of 2 lanes is halted", timeout=20_000)
                    text = await first.inner_text()
                    assert "Lane 1 E=90" in text
                    assert "passport-worker doctor" in text
                    assert await first.evaluate("one => getComputedStyle(one.querySelector('h2')).fontSize") > "20px"
                    box = await first.bounding_box()
                    assert box is not None
                    assert box["y"] + box["height"] < height, "it is seen without scrolling"
                    assert await serious_faults(page) == []
                    await keep(page, f"halted-{width}-{scheme}")


async def test_json_is_what_the_verbs_print(shown: Console, seen: Workbench) -> None:
    """The same documents, by the same schemas."""
    for path, schema in (
        ("lanes", "lanes"),
        ("activity", "activity"),
        ("quota", "quota-show"),
        (f"quota/{tenant(1).company_id}", "quota-show"),
        ("dead-letters?limit=3", "dead-letters-list"),
        ("dead-letters/0/1", "dead-letters-show"),
        ("explain?q=0/1", "explain"),
    ):
        status, text = await asyncio.to_thread(get, f"{shown.url}/api/{path}")
        assert status == 200, text
        Draft202012Validator(json.loads((SCHEMAS / f"{schema}.json").read_text())).validate(json.loads(text))
    printed = await asyncio.to_thread(run_command, "explain", "0/1", "--json", **seen.environment)
    assert json.loads((await asyncio.to_thread(get, f"{shown.url}/api/explain?q=0/1"))[1]) == json.loads(printed.stdout)
    for path in ("explain?q=x", "dead-letters?limit=0", "dead-letters?limit=1001", "dead-letters?limit=٣"):
        status, text = await asyncio.to_thread(get, f"{shown.url}/api/{path}".replace("٣", "%D9%A3"))
        assert status == 400, text
        assert "expected" in json.loads(text)["error"]


async def test_with_a_sign_on_in_front_it_serves_named_readers_only(seen: Workbench, tmp_path: Path) -> None:
    """On another address than loopback's, by an allowed name, and who reads is logged; else 401 and 421."""
    log = tmp_path / "console.log"
    arguments = ("--host", "0.0.0.0", "--allowed-host", "console.example.com", "--user-header", "X-Forwarded-User")
    async with console(seen.environment, log, *arguments) as one, aiohttp.ClientSession() as session:
        host = {"Host": "console.example.com"}
        for headers, status in (
            (host, 401),
            ({**host, "X-Forwarded-User": "ann@example.com"}, 200),
            ({"Host": "evil.example.com", "X-Forwarded-User": "ann"}, 421),
        ):
            async with session.get(f"{one.url}/company/{tenant(0).company_id}", headers=headers) as answer:
                assert answer.status == status
                assert (tenant(0).company_id in await answer.text()) is (status == 200)
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [line["user"] for line in lines if line["event"] == "console_read"] == [None, "ann@example.com", "ann"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0"), "--host 0.0.0.0: expected --user-header beside it"),
        (("--port", "65536"), "--port: expected a number from 0 to 65535, got 65536"),
    ],
)
async def test_what_would_be_open_to_others_does_not_start(arguments: tuple[str, ...], said: str) -> None:
    """Exit 2, and what was expected."""
    done = await asyncio.to_thread(run_command, "console", *arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done


async def test_servers_that_are_away_are_named(browser: Browser, tmp_path: Path, servers: Infrastructure) -> None:
    """With neither, with Postgres alone: each page says so within seconds, and shows what is known."""
    async with fresh_database(servers.database_url) as url:
        done = await asyncio.to_thread(run_command, "migrate", PASSPORT_DATABASE_URL=url)
        assert done.returncode == 0
        for database, titles in (
            ("postgresql://127.0.0.1:1/none", ["Kafka is away", "Postgres is away"]),
            (url, ["Kafka is away"]),
        ):
            environment = {"PASSPORT_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "PASSPORT_DATABASE_URL": database}
            async with console(environment, tmp_path / "away.log") as one, page_of(browser) as page:
                await page.goto(one.url)
                await expect(page.locator(".verdict.bad")).to_have_count(len(titles), timeout=20_000)
                assert sorted(await page.locator(".verdict h2").all_inner_texts()) == titles
                text = await page.inner_text("main")
                assert ("Nobody was refused" in text) is ("Postgres is away" not in titles), "what is not known is no 0"
                await keep(page, f"away-{len(titles)}")
                for path in (
                    "/dead-letters",
                    "/explain?q=0/1",
                    "/dead-letters/0/1",
                    f"/company/{tenant(0).company_id}",
                ):
                    answer = await page.goto(one.url + path)
                    assert answer is not None
                    assert answer.status in (200, 404), path
