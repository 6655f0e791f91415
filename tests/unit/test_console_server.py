"""What the console serves before it asks any server."""

import asyncio
from unittest.mock import AsyncMock, Mock

import pytest

from tests.workbench import get
from worker.settings import Settings
from worker.tools.console import server
from worker.tools.console.guard import Guard
from worker.tools.console.server import ReaderSessions, serving
from worker.tools.demo.embedded import free_port


@pytest.mark.parametrize(
    ("name", "status"),
    [("console.css", 200), ("console.js", 200), ("", 404), ("x" * 300, 404), ("..%2Fserver.py", 404)],
)
async def test_its_own_files_alone(name: str, status: int) -> None:
    """Seen to fail: a name that no file can have was a fault of the console, with a traceback in its log."""
    async with serving(Settings(), "127.0.0.1", free_port(), Guard()) as address:
        assert (await asyncio.to_thread(get, f"{address}static/{name}"))[0] == status


async def test_a_new_session_that_takes_no_limits_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail: it stayed open until somebody collected it, and a role may have few connections."""
    connection = Mock(execute=AsyncMock(side_effect=TimeoutError))
    monkeypatch.setattr(server, "connect", AsyncMock(return_value=connection))
    with pytest.raises(TimeoutError):
        async with ReaderSessions(Settings().database).inspection():
            pass
    connection.terminate.assert_called_once()
