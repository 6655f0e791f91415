"""The console as an HTTP server, and its database sessions, which can only read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
from aiohttp import web

from worker.settings import Settings
from worker.store.database import Database
from worker.tools.common.connect import connect
from worker.tools.common.inspection import Inspection
from worker.tools.common.servers import Servers
from worker.tools.console.cached import CachedReports
from worker.tools.console.guard import ALIVE, STATIC, Guard
from worker.tools.console.pages import Pages

PATIENCE_SECONDS = 3.0
"""Time that a page waits for an unreachable server."""
_STATIC = Path(__file__).parent / "static"
_LONGEST_LINE = 8 * 1024
_LONGEST_HEADER = 16 * 1024
"""Tokens that list many groups are long."""

_LIMITS = (
    "SET application_name = 'passport-worker console'; SET default_transaction_read_only = on; "
    "SET statement_timeout = '2s'; SET lock_timeout = '2s'; SET jit = off; "
    # All questions but one are look-ups: no plan, such as one made while a table was small, may scan a table.
    "SET plan_cache_mode = force_custom_plan; SET enable_seqscan = off"
)


class ReaderSessions:
    """At most two read-only sessions, opened when needed and kept open. A statement may take two seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._free = asyncio.Semaphore(2)
        self._idle: list[asyncpg.Connection[asyncpg.Record]] = []

    @asynccontextmanager
    async def inspection(self) -> AsyncIterator[Inspection]:
        """A session for one question. It is closed if the question fails. Raises `CannotConnect`."""
        async with self._free:
            idle = self._idle.pop() if self._idle else None
            connection = await connect(self._database) if idle is None or idle.is_closed() else idle
            try:
                if connection is not idle:
                    await connection.execute(_LIMITS)
                yield Inspection(connection)
            except BaseException:
                connection.terminate()
                raise
            self._idle.append(connection)

    async def close(self) -> None:
        """Close all idle sessions."""
        while self._idle:
            self._idle.pop().terminate()


@asynccontextmanager
async def serving(settings: Settings, host: str, port: int, guard: Guard) -> AsyncIterator[str]:
    """Serve inside the context, which gets the address. Raises `OSError` if the port is taken."""
    sessions = ReaderSessions(settings.database)
    servers = Servers(settings, PATIENCE_SECONDS, sessions.inspection)
    cached = CachedReports(servers)
    pages = Pages(servers, cached)
    app = web.Application(middlewares=[guard.middleware(pages.error)])
    app.router.add_get(ALIVE, _alive)
    app.router.add_routes(pages.routes())
    # One route per file: no path of a request is ever looked up on the disk.
    for file in _STATIC.iterdir():
        app.router.add_get(f"{STATIC}{file.name}", partial(_file, file))
    # The guard logs each request, with API keys masked. aiohttp's own log would repeat what somebody typed.
    runner = web.AppRunner(
        app, access_log=None, max_line_size=_LONGEST_LINE, max_field_size=_LONGEST_HEADER, shutdown_timeout=1.0
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{runner.addresses[0][1]}/"
    finally:
        # Requests first, then the reports that ask servers, then the connections.
        await runner.cleanup()
        await cached.close()
        await servers.cluster.close()
        await sessions.close()


async def _file(path: Path, _request: web.Request) -> web.FileResponse:
    return web.FileResponse(path)


async def _alive(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")
