"""What the console serves before it asks any server."""

import asyncio

import pytest

from tests.workbench import get
from worker.settings import Settings
from worker.tools.console.guard import Guard
from worker.tools.console.server import serving
from worker.tools.demo.embedded import free_port


@pytest.mark.parametrize(
    ("name", "status"),
    [("console.css", 200), ("console.js", 200), ("", 404), ("x" * 300, 404), ("..%2Fserver.py", 404)],
)
async def test_its_own_files_alone(name: str, status: int) -> None:
    """Seen to fail: a name that no file can have was a fault of the console, with a traceback in its log."""
    async with serving(Settings(), "127.0.0.1", free_port(), Guard()) as address:
        assert (await asyncio.to_thread(get, f"{address}static/{name}"))[0] == status
