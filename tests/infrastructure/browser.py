"""A real browser for pages: Debian's Chromium, driven by playwright, which downloads none of its own."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.infrastructure.tools import CACHE, NODE_MODULES, tool

SCREENSHOTS = Path(os.environ.get("PASSPORT_TEST_SCREENSHOTS") or CACHE / "screenshots")
"""Where pages are kept as a test has seen them."""
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
    found = await page.evaluate("axe.run()")
    return [
        f"{one['id']}: {one['help']}: {node['html']}"
        for one in found["violations"]
        if one["impact"] in _SERIOUS
        for node in one["nodes"]
    ]


async def keep(page: Page, name: str) -> Path:
    """A picture of the whole page."""
    path = SCREENSHOTS / f"{name}.png"
    await page.screenshot(path=path, full_page=True)  # makes the folder, too
    return path
