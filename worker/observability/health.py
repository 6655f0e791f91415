"""`/livez`, `/readyz` and `/metrics`, on the worker's own event loop: a loop that hangs fails its probe."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

# Returns a sentence for each current problem.
Problems = Callable[[], list[str]]


class HealthServer:
    """An HTTP server on `host`:`port`. Port 0 turns it off."""

    def __init__(
        self, host: str, port: int, not_alive: Problems, not_ready: Problems, metrics: CollectorRegistry
    ) -> None:
        self._host, self._port = host, port
        self._metrics = metrics
        app = web.Application()
        app.router.add_get("/livez", _probe(not_alive))
        app.router.add_get("/readyz", _probe(not_ready))
        app.router.add_get("/metrics", self._show_metrics)
        # No client may delay a stop, such as one that never sends the body that it has announced.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, lingering_time=0.0)

    async def start(self) -> None:
        """Serve. Raises `OSError` when the port is taken."""
        if self._port:
            await self._runner.setup()
            await web.TCPSite(self._runner, self._host, self._port).start()

    async def close(self) -> None:
        """Stop serving, if it ever started."""
        await self._runner.cleanup()

    async def _show_metrics(self, request: web.Request) -> web.Response:
        # Clients that accept OpenMetrics, such as Prometheus, get exemplars with it; others get the text format.
        encode, content_type = choose_encoder(",".join(request.headers.getall("Accept", [])))
        return web.Response(body=encode(self._metrics), headers={"Content-Type": content_type})


def _probe(problems: Problems) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        current = problems()
        text = "".join(f"{problem}\n" for problem in current)
        return web.Response(text=text or "ok\n", status=503 if current else 200)

    return answer
