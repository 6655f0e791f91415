"""The console as an HTTP server, over sessions that may only read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from worker.settings import Settings
from worker.tools.common.servers import Servers
from worker.tools.console.guard import ALIVE, Guard
from worker.tools.console.pages import Pages
from worker.tools.console.reader_sessions import ReaderSessions
from worker.tools.console.sources import Sources

PATIENCE_SECONDS = 3.0
"""How long a page waits for a server that is away."""
_STATIC = Path(__file__).parent / "static"
_LONGEST_LINE = 8 * 1024


@asynccontextmanager
async def serving(settings: Settings, host: str, port: int, guard: Guard) -> AsyncIterator[str]:
    """Serve meanwhile; its address. Raises `OSError` when the port is taken."""
    sessions = ReaderSessions(settings.database_url)
    servers = Servers(settings, PATIENCE_SECONDS, sessions.inspection)
    sources = Sources(servers)
    pages = Pages(servers, sources)
    app = web.Application(middlewares=[guard.middleware(pages.error)])
    app.router.add_get(ALIVE, _alive)
    app.router.add_routes(pages.routes())
    app.router.add_static("/static", _STATIC)
    runner = web.AppRunner(app, access_log=None, max_line_size=_LONGEST_LINE, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()
        await sources.close()
        await servers.cluster.close()
        await sessions.close()


async def _alive(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")
