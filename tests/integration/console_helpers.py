"""A console process, a page that tolerates nothing odd, and texts that would do harm where they were not escaped."""

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, BrowserContext, Page

from tests.infrastructure.forked import ForkedProcess
from tests.workbench import Workbench, get, tenant
from worker.tools.demo.embedded import HOST, free_port

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


class Console:
    """A console process, at `url`."""

    def __init__(self, environment: Mapping[str, str], log: Path, *arguments: str) -> None:
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.log = log
        self._process = ForkedProcess[bytes](
            "worker",
            ["console", "--port", str(self.port), *arguments],
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
