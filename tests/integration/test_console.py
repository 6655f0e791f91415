"""The console in a real browser, over the real worker: what it shows, to whom, and what becomes of hostile texts."""

import asyncio
import json
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator
from playwright.async_api import Browser, expect

from tests.infrastructure.browser import SIZES, chromium, keep, serious_faults
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.roles import two_roles
from tests.integration.console_helpers import HOSTILE, Console, console, hostile_commands, page_of
from tests.operations.asking import SCHEMAS
from tests.operations.mixture import limit_tenants, mixture
from tests.workbench import Workbench, get, make_workbench, run_command, tenant
from worker.messages.rules import Kind

pytestmark = pytest.mark.real_kafka

COMMANDS = 300


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
        await owner.close()
        bench.publish([*mixture(7, COMMANDS), *hostile_commands(bench)])
        worker = bench.start_worker(folder / "worker.log")
        await bench.wait_for_results(COMMANDS + len(HOSTILE) * 3)
        assert await asyncio.to_thread(bench.stop_worker, worker) == 0  # it tells its last seconds of activity
        done = await asyncio.to_thread(run_command, "migrate", "--grant-read-to", roles.run, **bench.environment)
        assert done.returncode == 0, done
        bench.environment["PASSPORT_DATABASE_URL"] = roles.run_url
        yield bench


@pytest_asyncio.fixture(scope="module")
async def shown(seen: Workbench, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Console]:
    """The console over it, as a reader."""
    async with console(seen.environment, tmp_path_factory.mktemp("shown") / "console.log") as one:
        yield one


async def places(bench: Workbench) -> dict[str, str]:
    """The query of an explain page of each kind of story, and of the other pages."""
    database = await bench.connect()
    topic = bench.settings.topic_commands
    by_kind = await database.fetch(
        'SELECT DISTINCT ON (kind, replayed) kind, replayed, partition, "offset" FROM ledger JOIN lane ON '
        'lane.id = lane_id WHERE topic = $1 ORDER BY kind, replayed, "offset" DESC',
        topic,
    )
    passport = await database.fetchrow(
        "SELECT encode(id, 'hex') AS id, gtin, serial FROM passport WHERE serial LIKE '%script%'"
    )
    letter = await database.fetchrow(
        'SELECT partition, d."offset" FROM dead_letter d JOIN lane ON lane.id = lane_id ORDER BY 2 DESC LIMIT 1'
    )
    await database.close()
    assert passport is not None
    assert letter is not None
    found = {
        f"explain-{'replayed' if row['replayed'] else Kind(row['kind']).label}": (
            f"/explain?q={row['partition']}/{row['offset']}"
        )
        for row in by_kind
    }
    dead = f"{letter['partition']}/{letter['offset']}"
    return {
        "overview": "/",
        **found,
        "explain-passport": f"/explain?q={passport['id']}",
        "explain-dead": f"/explain?q={dead}",
        "search": "/explain",
        "nothing": "/explain?q=zzz",
        "refusals": "/refusals",
        "refusals-of-a-company": f"/refusals?company={tenant(0).company_id}&since=1h",
        "no-refusals": "/refusals?company=nobody",
        "dead-letters": "/dead-letters",
        "dead-letter": f"/dead-letters/{dead}",
        "company": f"/company/{tenant(0).company_id}",
        "error": "/nowhere",
    }


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1280, "light"),
        (390, "dark"),
        pytest.param(1280, "dark", marks=pytest.mark.repeat),
        pytest.param(390, "light", marks=pytest.mark.repeat),
    ],
)
async def test_every_page_at_a_desk_and_on_a_telephone(
    browser: Browser, shown: Console, seen: Workbench, width: int, scheme: str
) -> None:
    """Nothing sticks out, axe-core finds nothing serious, and nothing hostile runs."""
    size = {"width": width, "height": SIZES[width]}
    async with page_of(browser, viewport=size, color_scheme=scheme) as page:
        for name, path in (await places(seen)).items():
            await page.goto(shown.url + path)
            await keep(page, f"{name}-{width}-{scheme}")
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
            assert await serious_faults(page) == [], name


async def test_overview_says_in_words_what_happened(browser: Browser, shown: Console) -> None:
    """Lanes, the hour, the refused of hour and day, quotas, dead letters; no worker runs, and nothing waits."""
    async with page_of(browser) as page:
        await page.goto(shown.url)
        assert await page.locator(".verdict h2").all_inner_texts() == ["No worker is running"]
        text = await page.inner_text("main")
        for part in ("Oldest unanswered", "This hour", "Refused this hour", "Quotas near their end", "Dead letters"):
            assert part in text
        today = json.loads((await asyncio.to_thread(get, f"{shown.url}/api/quota/{tenant(0).company_id}"))[1])[
            "quotas"
        ][0]
        row = page.locator("section[aria-labelledby=today] tr", has_text=HOSTILE[0])
        refused, answered = (await row.locator("td").all_inner_texts())[1:]
        assert (int(refused), int(answered)) == (today["refusedToday"], today["answeredToday"])
        assert 0 < today["refusedToday"] < today["answeredToday"]
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


async def test_a_page_of_another_is_no_update(browser: Browser, shown: Console) -> None:
    """A sign-on or an ingress answers while the console is away, and the line at the foot says so.

    Seen to fail before: it said "Updates every 5 s" for as long as nothing was updated.
    """
    async with page_of(browser) as page:
        await page.goto(f"{shown.url}/dead-letters")
        answer = {"status": 200, "content_type": "text/html", "body": "<h1>Bad Gateway</h1>"}
        await page.route("**/dead-letters", lambda route: route.fulfill(**answer))
        await expect(page.locator("#live span")).to_contain_text("The console has not answered since", timeout=15_000)
        await page.unroute("**/dead-letters")
        await expect(page.locator("#live span")).to_have_text("Updates every 5 s", timeout=15_000)


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


async def test_a_click_on_a_number_leads_to_the_commands_behind_it(browser: Browser, shown: Console) -> None:
    """From the overview and from a company's page, and from a list to each story and back to its like."""
    for start in (shown.url, f"{shown.url}/company/{tenant(0).company_id}"):
        async with page_of(browser) as page:
            await page.goto(start)
            row = page.locator("section[aria-labelledby=refused] tbody tr", has_text="product-not-found").first
            company = await row.locator("td").first.inner_text()
            count = int(await row.locator("td.n a").inner_text())
            await row.locator("td.n a").click()
            await page.wait_for_url("**/refusals?**outcome=product-not-found**")
            rows = page.locator("table.cards tbody tr")
            assert await rows.count() == count
            assert set(await page.locator("[data-name=Why] code").all_inner_texts()) == {"product-not-found"}
            if start == shown.url:
                assert await page.inner_text("h1") == f"Refusals of {company}"
            assert "Looked at " in await page.inner_text("main")
            await page.locator("[data-name=Story] a").last.click()
            await page.wait_for_url("**/explain?**")
            assert await page.inner_text("h1 .state") == "product-not-found"
            await page.click("text=Newest refusals of this company for product-not-found")
            await page.wait_for_url("**/refusals?**outcome=product-not-found**")
            assert await page.locator("table.cards tbody tr").count() == count


async def test_names_of_companies_stand_on_every_page(browser: Browser, shown: Console, seen: Workbench) -> None:
    """And the product's name once."""
    name = HOSTILE[0] + HOSTILE[1]
    async with page_of(browser) as page:
        for path in (f"/refusals?company={tenant(0).company_id}", f"/company/{tenant(0).company_id}"):
            await page.goto(shown.url + path)
            assert name in await page.inner_text("h1")
            assert (await page.inner_text("body")).count("passport-worker") == 1
        await page.goto(f"{shown.url}/refusals?company={tenant(0).company_id}&outcome=invalid")
        await page.locator("[data-name=Story] a").first.click()
        await page.wait_for_url("**/explain?**")
        assert name in await page.inner_text(".story")


async def test_tables_are_cards_on_a_telephone(browser: Browser, shown: Console) -> None:
    """No row has to be scrolled sideways, and each value says what it is."""
    async with page_of(browser, viewport={"width": 390, "height": 844}) as page:
        for path in ("/dead-letters", "/refusals"):
            await page.goto(shown.url + path)
            assert await page.evaluate(
                "[...document.querySelectorAll('.scroll')].every(e => e.scrollWidth <= e.clientWidth)"
            )
            label = "getComputedStyle(document.querySelector('.cards td'), '::before').content"
            assert await page.evaluate(label) in ("attr(data-name)", '"Place"', '"Time"')


async def test_json_is_what_the_verbs_print(shown: Console, seen: Workbench) -> None:
    """The same documents, by the same schemas."""
    for path, schema in (
        ("lanes", "lanes"),
        ("activity", "activity"),
        ("quota", "quota-show"),
        (f"quota/{tenant(1).company_id}", "quota-show"),
        ("refusals", "refusals"),
        (f"refusals?company={tenant(0).company_id}&outcome=invalid,conflict&since=1h&limit=3", "refusals"),
        ("dead-letters?limit=3", "dead-letters-list"),
        ("dead-letters/0/1", "dead-letters-show"),
        ("explain?q=0/1", "explain"),
    ):
        status, text = await asyncio.to_thread(get, f"{shown.url}/api/{path}")
        assert status == 200, text
        Draft202012Validator(json.loads((SCHEMAS / f"{schema}.json").read_text())).validate(json.loads(text))
    printed = await asyncio.to_thread(run_command, "explain", "0/1", "--json", **seen.environment)
    assert json.loads((await asyncio.to_thread(get, f"{shown.url}/api/explain?q=0/1"))[1]) == json.loads(printed.stdout)
    bad = ("refusals?outcome=created", "refusals?since=now", "refusals?limit=1001", "refusals?company=" + "x" * 201)
    for path in (*bad, "explain?q=x", "dead-letters?limit=0", "dead-letters?limit=1001", "dead-letters?limit=٣"):
        status, text = await asyncio.to_thread(get, f"{shown.url}/api/{path}".replace("٣", "%D9%A3"))
        assert status == 400, text
        assert "expected" in json.loads(text)["error"]
