"""The console behind a real oauth2-proxy with the component's settings, a local issuer and a real browser."""

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.async_api import Browser, Page

from tests.deploy.manifests import DEPLOY, of_kind, rendered
from tests.infrastructure.browser import chromium, keep, serious_faults
from tests.infrastructure.sign_in_issuer import Issuer, issuing
from tests.infrastructure.tools import tool
from tests.integration.console_helpers import Console, console, page_of
from tests.workbench import Workbench, get, tenant
from worker.tools.demo.embedded import HOST, free_port

SETTINGS = DEPLOY / "kubernetes/components/console/oauth2-proxy.cfg"


@dataclass(frozen=True)
class Entrance:
    """Issuer, console and the proxy in front of it, with the proxy's address."""

    issuer: Issuer
    console: Console
    url: str


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all."""
    async with chromium() as one:
        yield one


@asynccontextmanager
async def _proxy(issuer: Issuer, upstream: str, log: Path, **changes: str) -> AsyncIterator[str]:
    """A real oauth2-proxy, with the component's settings and what an installation adds."""
    port = free_port()
    own = {
        "OIDC_ISSUER_URL": issuer.url,
        "CLIENT_ID": issuer.client,
        "CLIENT_SECRET": "hidden",
        "COOKIE_SECRET": "0123456789abcdef0123456789abcdef",
        "REDIRECT_URL": f"http://{HOST}:{port}/oauth2/callback",
        # What differs here from the settings: loopback, and no TLS in front of it.
        "UPSTREAMS": upstream,
        "HTTP_ADDRESS": f"{HOST}:{port}",
        "COOKIE_SECURE": "false",
        **changes,
    }
    environment = {**os.environ, **{f"OAUTH2_PROXY_{name}": value for name, value in own.items()}}
    with log.open("ab") as file:
        command = [tool("oauth2-proxy"), f"--config={SETTINGS}"]
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)  # noqa: ASYNC220 - it is quick
    try:
        deadline = time.monotonic() + 20
        while (await asyncio.to_thread(get, f"http://{HOST}:{port}/ping"))[0] != 200:
            assert process.poll() is None, f"it has ended; see {log}"
            assert time.monotonic() < deadline, f"it does not answer; see {log}"
            await asyncio.sleep(0.1)
        yield f"http://{HOST}:{port}"
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 10)


@pytest_asyncio.fixture
async def entrance(bench: Workbench, tmp_path: Path) -> AsyncIterator[Entrance]:
    """The console with the component's settings, except for its issuer's address."""
    maps = of_kind(rendered("kubernetes/components/console"), "ConfigMap")
    (settings,) = [one["data"] for name, one in maps.items() if name.startswith("passport-worker-console-")]
    async with issuing(settings["PASSPORT_CONSOLE_AUDIENCE"]) as issuer:
        own = {"PASSPORT_CONSOLE_JWKS": f"{issuer.url}/keys", "PASSPORT_CONSOLE_ISSUER": issuer.url}
        async with (
            console({**bench.environment, **settings, **own}, tmp_path / "console.log") as one,
            _proxy(issuer, one.url, tmp_path / "proxy.log") as url,
        ):
            yield Entrance(issuer, one, url)


async def _opened(page: Page, url: str) -> int:
    answer = await page.goto(url)
    assert answer is not None
    return answer.status


async def test_readers_see_what_their_role_allows(browser: Browser, entrance: Entrance) -> None:
    """Support sees everything, a viewer lanes and counts. A page says which role is missing."""
    company = f"/company/{tenant(0).company_id}"
    for roles, allowed in ((["support"], "all"), (["viewer"], "counts"), (["staff"], "nothing")):
        entrance.issuer.person = {"sub": f"id-{roles[0]}", "email": "ann@example.com", "roles": roles}
        async with page_of(browser) as page:
            assert await _opened(page, entrance.url) == (403 if allowed == "nothing" else 200)
            assert await page.locator("footer b").inner_text() == "ann@example.com"
            links = await page.locator("nav a").all_inner_texts()
            assert (
                links
                == {"all": ["Overview", "Refusals", "Dead letters"], "counts": ["Overview"], "nothing": []}[allowed]
            )
            assert await page.locator("form[role=search]").count() == (allowed == "all")
            assert await serious_faults(page) == []
            await keep(page, f"sign-in-{allowed}")
            for path in ("/explain", "/refusals", "/dead-letters", company, "/api/quota", "/api/explain?q=0/1"):
                assert (await _opened(page, entrance.url + path) != 403) is (allowed == "all"), path
                if allowed != "all":
                    text = (await page.inner_text("body")).replace("`", "")
                    assert "needs the role support in the claim roles of your token" in text, path
            await _opened(page, entrance.url + company)
            await keep(page, f"sign-in-{allowed}-company")
    lines = [json.loads(line) for line in entrance.console.told.splitlines() if line.startswith("{")]
    readers = {(line["user"], line["subject"], line["role"]) for line in lines if line["event"] == "console_read"}
    assert readers == {
        ("ann@example.com", f"id-{name}", role)
        for name, role in (("support", "support"), ("viewer", "viewer"), ("staff", None))
    }
    assert not re.search(r"eyJ[\w-]{20}", entrance.console.told), "no token is in the log"


async def test_nobody_gets_around_the_proxy(browser: Browser, entrance: Entrance) -> None:
    """A name, a token of a stranger, of another audience or of yesterday: 401, also from this machine."""
    issuer = entrance.issuer
    issuer.person = {"sub": "7", "email": "ann@example.com", "roles": ["support"]}
    stranger = Issuer(issuer.url, issuer.client, issuer.person, key=ec.generate_private_key(ec.SECP256R1()))
    for headers, status, said in (
        ({}, 401, "sent no token"),
        ({"X-Forwarded-User": "ann", "X-User": "ann"}, 401, "sent no token"),
        ({"Authorization": f"Bearer {stranger.id_token()}"}, 401, "not signed by this console's issuer"),
        ({"Authorization": f"Bearer {issuer.id_token(aud='another')}"}, 401, "not signed by this console's issuer"),
        ({"Authorization": f"Bearer {issuer.id_token(exp=time.time() - 86_400)}"}, 401, "expired"),
        ({"Authorization": f"Bearer {issuer.id_token()}"}, 200, "You are"),
    ):
        async with page_of(browser, extra_http_headers=headers) as page:
            assert await _opened(page, entrance.console.url) == status
            assert said in await page.inner_text("body")


async def test_what_a_browser_sends_is_replaced(entrance: Entrance) -> None:
    """A viewer with a token of support in the browser's own header stays a viewer."""
    issuer = entrance.issuer
    issuer.person = {"sub": "7", "email": "ann@example.com", "roles": ["viewer"]}
    forged = {"Authorization": f"Bearer {issuer.id_token(roles=['support'])}", "X-Forwarded-User": "root"}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), headers=forged) as session:
        async with session.get(f"{entrance.url}/api/lanes") as answer:
            assert answer.status == 401
        async with session.get(entrance.url) as answer:
            assert answer.status == 200
            assert "ann@example.com</b>, viewer" in await answer.text()
        async with session.get(f"{entrance.url}/api/quota") as answer:
            assert answer.status == 403
            assert "needs the role `support`" in (await answer.json())["error"]
        async with session.get(f"{entrance.url}/api/lanes") as answer:
            assert answer.status == 200


async def test_an_expired_token_is_replaced_without_a_question(
    browser: Browser, entrance: Entrance, tmp_path: Path
) -> None:
    """The issuer still knows the reader. Without `cookie_refresh`, the proxy would go on sending the old token."""
    issuer = entrance.issuer
    issuer.person, issuer.lifetime = {"sub": "7", "email": "ann@example.com", "roles": ["viewer"]}, 3.0
    async with (
        _proxy(issuer, entrance.console.url, tmp_path / "quick.log", COOKIE_REFRESH="1s") as url,
        page_of(browser) as page,
    ):
        assert await _opened(page, url) == 200
        await asyncio.sleep(3.5)
        assert await _opened(page, url) == 200
        assert await page.locator("footer b").inner_text() == "ann@example.com"
