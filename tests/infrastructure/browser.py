"""A real browser for pages: Debian's Chromium, driven by playwright, which downloads none of its own."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.infrastructure.tools import NODE_MODULES, tool

SCREENSHOTS = os.environ.get("PASSPORT_TEST_SCREENSHOTS")
"""The folder in which pages are kept as a test has seen them, if it is set."""
SIZES = {1280: 900, 390: 844}
"""Widths of a desk and of a telephone, with their heights."""
_SERIOUS = ("serious", "critical")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """It runs meanwhile; skips the test where it is missing."""
    program = tool("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


async def serious_faults(page: Page) -> list[str]:
    """What axe-core finds serious or critical for people with a keyboard, a screen reader, or weak eyes."""
    script = NODE_MODULES / "axe-core" / "axe.min.js"
    if not script.is_file():
        pytest.skip("needs axe-core, which .ci/tools installs")
    await page.evaluate(
        script.read_text(encoding="utf-8")
    )  # as the browser's tools do: no policy of the page forbids it
    found = await page.evaluate("axe.run({resultTypes: ['violations']})")  # no details of what passes
    return [
        f"{one['id']}: {one['help']}: {node['html']}"
        for one in found["violations"]
        if one["impact"] in _SERIOUS
        for node in one["nodes"]
    ]


async def keep(page: Page, name: str) -> None:
    """Keep a picture of the whole page, if somebody asks for pictures."""
    if SCREENSHOTS is not None:
        await page.screenshot(path=Path(SCREENSHOTS, f"{name}.png"), full_page=True)  # makes the folder, too
