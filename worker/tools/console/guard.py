"""The guard of all pages: it refuses foreign host names and unknown readers, sets headers, and logs who reads."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from urllib.parse import unquote

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from worker.messages.hints import printable
from worker.tools.common.records import masked
from worker.tools.common.selection import BadSelection
from worker.tools.console.door import Door, OpenDoor, Reader, Refused, Role

log = structlog.get_logger(__name__)

ALIVE = "/livez"
"""The kubelet asks for it by the pod's address. It reveals nothing."""
STATIC = "/static/"

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; base-uri 'none'; frame-ancestors 'none'; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
ANSWER_SECONDS = 10.0
_FAULT = "This is a fault of the console. Its log says more."
_TEXTS = {404: "There is no such page.", 405: "This console only reads."}
_LONGEST_PATH = 800
READER = web.RequestKey("reader", Reader)
"""The key under which a request keeps its `Reader`, if that is known."""
VIEWER_PATHS = frozenset({"/", "/api/lanes", "/api/activity"})
"""Paths that a viewer may read: lanes and counts. All others need the role support, including those added later."""

ErrorPage = Callable[[web.Request, int, str], web.StreamResponse]


@dataclass(frozen=True, slots=True)
class Guard:
    """`hosts` are allowed host names in addition to those of loopback. The `door` finds out who reads."""

    hosts: Collection[str] = ()
    door: Door = field(default_factory=OpenDoor)

    async def reader(self, request: web.Request) -> Reader | Refused:
        """Who reads, or why the request is refused."""
        if request.path == ALIVE:
            return Reader()
        # A stranger's page may point its own name to this address (DNS rebinding). If two names come, a proxy in
        # front may have checked the other one.
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or _without_port(hosts[0]) not in {*LOOPBACK, *map(str.lower, self.hosts)}:
            return Refused(421, "This console does not know that host name. Allow it with --allowed-host.")
        if request.path.startswith(STATIC):  # error pages need their style, and it reveals nothing
            return Reader()
        needed: Role = "viewer" if request.path in VIEWER_PATHS else "support"
        return await self.door.reader(request, needed)

    def middleware(self, page: ErrorPage) -> Middleware:
        """Refuse requests, set headers, show errors with `page`, and log who has read what."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            began = time.perf_counter()
            try:
                answer = await self.reader(request)
            except Exception:
                log.exception("console_failed", path=printable(request.path))
                # A door that fails stays shut.
                answer = Refused(500, _FAULT)
            reader = answer.reader if isinstance(answer, Refused) else answer
            if reader is not None:
                request[READER] = reader
            if isinstance(answer, Refused):
                response = page(request, answer.status, answer.text)
                if answer.status == 401:
                    response.headers["WWW-Authenticate"] = "Bearer"
            else:
                response = await _answered(request, handler, page)
            # Refusals and error pages, too: a browser shows them like any other page.
            response.headers.update(HEADERS)
            if request.path != ALIVE and not request.path.startswith(STATIC):
                log.info(
                    "console_read",
                    user=reader and reader.name,
                    subject=reader and reader.subject,
                    role=reader and reader.role,
                    asked=masked(printable(unquote(request.path_qs)))[:_LONGEST_PATH],
                    status=response.status,
                    ms=round((time.perf_counter() - began) * 1000, 1),
                )
            return response

        return guarded


def _without_port(host: str) -> str:
    """The host in lower case. Browsers put an IPv6 address in brackets."""
    name, _, port = host.lower().rpartition(":")
    return name if name and port.isdigit() and not host.endswith("]") else host.lower()


async def _answered(request: web.Request, handler: Handler, page: ErrorPage) -> web.StreamResponse:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await handler(request)
    except BadSelection as error:
        return page(request, 400, str(error))
    except TimeoutError:
        text = "There was no answer in time: other requests are running, or a server is slow. Try again."
        return page(request, 503, text)
    except web.HTTPException as error:
        return page(request, error.status, _TEXTS.get(error.status, error.reason))
    except Exception:
        log.exception("console_failed", path=printable(request.path))
        return page(request, 500, _FAULT)
