"""The console's worst days, in a real browser: a halted lane, servers that are away; and readers behind a sign-on."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from confluent_kafka import Producer
from playwright.async_api import Browser, expect

from tests.end_to_end.test_replay_and_members import commit_offset
from tests.infrastructure.browser import SIZES, chromium, keep, serious_faults
from tests.infrastructure.choose import Infrastructure
from tests.infrastructure.databases import fresh_database
from tests.infrastructure.kafka import LocalKafka
from tests.integration.console_helpers import console, page_of
from tests.operations.explaining import codes, told
from tests.workbench import Workbench, get, make_workbench, run_command, tenant, until
from worker.messages.events import Answer, event_of
from worker.messages.rules import Kind
from worker.tools.console.cached import FRESH_SECONDS, LATE_SECONDS
from worker.tools.demo.embedded import EmbeddedPostgres

pytestmark = pytest.mark.real_kafka


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all."""
    async with chromium() as one:
        yield one


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


async def test_with_a_proxy_in_front_it_serves_named_readers_only(bench: Workbench, tmp_path: Path) -> None:
    """On another address than loopback's, by an allowed name, and who reads is logged; else 401 and 421."""
    log = tmp_path / "console.log"
    arguments = ("--host", "0.0.0.0", "--allowed-host", "console.example.com", "--user-header", "X-Forwarded-User")
    async with console(bench.environment, log, *arguments) as one, aiohttp.ClientSession() as session:
        host = {"Host": "console.example.com"}
        for headers, status in (
            (host, 401),
            ({**host, "X-Forwarded-User": "ann@example.com"}, 200),
            ({"Host": "evil.example.com", "X-Forwarded-User": "ann"}, 421),
        ):
            async with session.get(f"{one.url}/company/{tenant(0).company_id}", headers=headers) as answer:
                assert answer.status == status
                assert (tenant(0).company_id in await answer.text()) is (status == 200)
    text = log.read_text()
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert [line["user"] for line in lines if line["event"] == "console_read"] == [None, "ann@example.com", None]
    assert "warning: X-Forwarded-User counts only from this machine" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--host", "0.0.0.0"),
            "expected PASSPORT_CONSOLE_JWKS, PASSPORT_CONSOLE_ISSUER and PASSPORT_CONSOLE_AUDIENCE",
        ),
        (("--port", "65536"), "--port: expected a number from 0 to 65535, got 65536"),
    ],
)
async def test_what_would_be_open_to_others_does_not_start(arguments: tuple[str, ...], said: str) -> None:
    """Exit 2, and what was expected."""
    done = await asyncio.to_thread(run_command, "console", *arguments)
    assert (done.returncode, said in done.stderr) == (2, True), done


def test_without_the_extra_it_says_what_to_install() -> None:
    """Jinja2 comes with `console`, and with the demo."""
    code = "import sys; sys.modules['jinja2'] = None; from worker.tools.cli.main import main; main(['console'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    said = "passport-worker: jinja2 is not installed. Run pip install '.[console]' in a checkout of passport-worker\n"
    assert (done.returncode, done.stderr) == (1, said)


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
                said = "Kafka cannot be reached at 127.0.0.1:1: connection refused. Start it, or correct "
                assert f"{said}PASSPORT_KAFKA_BOOTSTRAP_SERVERS." in text, "as `/readyz`, doctor and the verbs say it"
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
                    await keep(page, f"away-{len(titles)}-{path.split('/')[1].partition('?')[0]}")


async def test_the_first_visitor_after_a_quiet_spell_is_not_told_that_all_is_well(
    browser: Browser, tmp_path: Path, servers: Infrastructure, own_postgres: EmbeddedPostgres
) -> None:
    """Postgres was stopped meanwhile. The page says how old its look is, and then what is wrong."""
    async with fresh_database(own_postgres.url) as url:
        bench = await make_workbench(servers.bootstrap_servers, url, f"quiet-{uuid4().hex[:6]}")
        bench.publish([bench.command(tenant(0), 0, "u", partition=0)])
        worker = bench.start_worker(tmp_path / "worker.log")
        await bench.wait_for_results(1)
        async with console(bench.environment, tmp_path / "console.log") as one, page_of(browser) as page:
            await page.goto(one.url)
            await expect(page.locator(".verdict.ok h2")).to_have_text("All 2 lanes are moving", timeout=20_000)
            await page.goto(f"{one.url}/explain")
            await asyncio.to_thread(own_postgres.kill)
            await asyncio.sleep(FRESH_SECONDS + LATE_SECONDS + 1)
            await page.goto(one.url)
            first = await page.locator(".verdict h2").first.inner_text()
            assert re.fullmatch("As of 1[0-9] s ago, checking|Postgres is away", first), first
            assert await page.locator(".verdict.ok").count() == 0
            await keep(page, "quiet")
            await expect(page.locator(".verdict.bad h2")).to_have_text("Postgres is away", timeout=20_000)
        await asyncio.to_thread(own_postgres.start)
        assert await asyncio.to_thread(bench.stop_worker, worker) == 0


async def test_a_page_that_is_paused_does_not_say_that_all_is_well(
    browser: Browser, bench: Workbench, tmp_path: Path
) -> None:
    """A verdict that no update has confirmed loses its colour, and says its age."""
    bench.start_worker(tmp_path / "worker.log")
    async with console(bench.environment, tmp_path / "console.log") as one, page_of(browser) as page:
        await page.clock.install()
        await page.goto(one.url)
        await page.click("text=Pause")
        await page.clock.fast_forward(70_000)
        await expect(page.locator(".verdict .aged").first).to_contain_text("s ago, updates are paused")
        green = "getComputedStyle(document.querySelector('.verdict h2')).color"
        assert await page.evaluate(green) == await page.evaluate(
            "getComputedStyle(document.querySelector('small, .muted, .as-of')).color"
        )
        await page.click("text=Resume")
        await expect(page.locator(".aged")).to_have_count(0, timeout=10_000)


@pytest.mark.long
async def test_servers_that_come_back_are_asked_again(
    tmp_path: Path, own_kafka: LocalKafka, own_postgres: EmbeddedPostgres
) -> None:
    """Frozen or dead: the overview says so, and how old the rest is; a story tells what the other server knows."""
    async with fresh_database(own_postgres.url) as url:
        bench = await make_workbench(own_kafka.bootstrap_servers, url, "back")
        bench.publish({**bench.command(tenant(0), 0, f"u{n}"), "partition": 0} for n in range(20))
        worker = bench.start_worker(tmp_path / "worker.log")
        await bench.wait_for_results(20)
        assert await asyncio.to_thread(bench.stop_worker, worker) == 0
        async with console(bench.environment, tmp_path / "console.log") as one:

            async def read(path: str) -> str:
                return (await asyncio.to_thread(get, one.url + path))[1]

            def says(text: str, *, yes: bool = True) -> bool:
                return (text in get(one.url)[1]) is yes

            await until(lambda: says("No worker is running"), 30, "an overview")
            whole = await read("/api/explain?q=0/7")
            for server, away, back, known_by in (
                (own_kafka, own_kafka.freeze, own_kafka.thaw, "ledger"),
                (own_kafka, own_kafka.kill, own_kafka.start, "ledger"),
                (own_postgres, own_postgres.kill, own_postgres.start, "result"),
            ):
                name = "Kafka" if server is own_kafka else "Postgres"
                await asyncio.to_thread(away)
                await until(lambda: says(f"{name} is away"), 30, f"{name} is away")  # noqa: B023 - it is awaited
                assert "As of " in await read("/")
                story = json.loads(await read("/api/explain?q=0/7"))
                assert codes(story) == [f"{name.lower()}-away"], story
                assert (story["outcome"]["code"], story["outcome"]["source"]) == ("created", known_by)
                await asyncio.to_thread(back)
                await until(lambda: says(f"{name} is away", yes=False), 60, f"{name} is back")  # noqa: B023 - as above
                assert await read("/api/explain?q=0/7") == whole


STRANGE = {
    "too deep": (Kind.REJECTED, f'{{"status":400,"error":"x","a":{"[" * 400}{"]" * 400}}}', None, None),
    "as deep as it may be": (Kind.REJECTED, f'{{"a":{"[" * 239}{"]" * 239}}}', None, None),
    "omitted": (Kind.REJECTED, '{"status":400,"error":"Validation error","details":{"omitted":"<u>"}}', None, None),
    "digits": (Kind.REJECTED, f'{{"status":{"9" * 4300},"error":{"9" * 4300}}}', None, None),
    "true": (Kind.CONFLICT, '{"status":true,"error":{"a":"</script>"},"request":[],"details":7}', None, None),
    "surrogates": (Kind.OVERAGE_REQUIRED, '{"status":402,"error":"overage_required\\ud800","a":"\\udfff"}', None, None),
    "not JSON": (Kind.REJECTED, "<script>alert(1)</script>", None, None),
    "ids": (Kind.CREATED, '{"_id":{"<u>":[]},"overage":{"priceCents":"<u>"}}', "\x00" * 24, "'; --"),
    "no hexadecimal digits": (Kind.CREATED, "{}", "\u0663" * 24, "g" * 24),
}
"""Kind, body, company and passport of results that no worker writes."""


async def test_whatever_a_stranger_publishes_as_a_result_is_told(bench: Workbench, tmp_path: Path) -> None:
    """By verb and page; no server and no rule is broken by it."""
    topic, settings = bench.settings.topic_commands, bench.settings
    bench.publish({**bench.command(tenant(0), 0, f"u{n}"), "partition": 0} for n in range(len(STRANGE)))
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for offset, (kind, body, company, passport) in enumerate(STRANGE.values()):
        event = event_of(Answer(offset, 0, kind, "<k>\x00", body.encode(), company, passport), topic, 0)
        producer.produce(settings.result_topics[kind - 1], event.value, event.key, 0, headers=[*event.headers])
    assert producer.flush(20) == 0
    async with console(bench.environment, tmp_path / "console.log") as one:
        for offset, name in enumerate(STRANGE):
            report = await told(bench, f"0/{offset}")
            is_answer = name not in ("ids", "no hexadecimal digits")
            assert (report["outcome"] is not None) is is_answer, (name, report)
            assert codes(report) == ([] if is_answer else ["result-differs"]), (name, report)
            status, page = await asyncio.to_thread(get, f"{one.url}/explain?q=0/{offset}")
            assert (status, "<u>" in page, "</script></" in page) == (200, False, False), (name, page)
