"""The HTTP server of a worker ends when it has to."""

import asyncio
import time

from prometheus_client import CollectorRegistry

from worker.observability.health import HealthServer
from worker.tools.demo.embedded import free_port


async def test_no_client_holds_a_stop_up() -> None:
    """Seen to fail: it waited for 10 s for a body that a client had announced, and a stop has 10 s in all."""
    port = free_port()
    server = HealthServer("127.0.0.1", port, list, list, CollectorRegistry())
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    began = time.monotonic()
    await server.close()
    assert time.monotonic() - began < 3.0
    writer.close()
