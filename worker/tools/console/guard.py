"""The guard of all pages: it refuses foreign host names and unnamed readers, sets headers, and logs who reads."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import unquote

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from worker.messages.hints import printable
from worker.tools.common.records import masked
from worker.tools.common.selection import BadSelection

log = structlog.get_logger(__name__)

ALIVE = "/livez"
"""The kubelet asks for it by the pod's address. It reveals nothing."""

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
_TEXTS = {404: "There is no such page.", 405: "This console only reads."}
_LONGEST_USER = 200
_LONGEST_PATH = 800

ErrorPage = Callable[[web.Request, int, str], web.StreamResponse]


@dataclass(frozen=True, slots=True)
class Guard:
    """`hosts` are allowed host names beside loopback's. A sign-on names the reader in the header `user_header`."""

    hosts: Collection[str] = ()
    user_header: str | None = None

    def refusal(self, request: web.Request) -> tuple[int, str] | None:
        """Status and sentence for a refused request, else None."""
        if request.path == ALIVE:
            return None
        hosts = request.headers.getall("Host", [])
        if len(hosts) != 1 or _without_port(hosts[0]) not in {*LOOPBACK, *map(str.lower, self.hosts)}:
            return 421, "This console does not know that host name. Allow it with --allowed-host."
        if self.user_header is not None and len(request.headers.getall(self.user_header, [])) > 1:
            return (
                401,
                "The sign-on in front of this console must replace the header of a browser, not add another.",
            )
        if self.user_header is not None and not self.user(request):
            return 401, "The sign-on in front of this console did not say who you are."
        return None

    def user(self, request: web.Request) -> str | None:
        """The reader, as the sign-on says. None if the header is repeated: a browser may have sent one of them."""
        users = [] if self.user_header is None else request.headers.getall(self.user_header, [])
        return printable(users[0].strip())[:_LONGEST_USER] or None if len(users) == 1 else None

    def middleware(self, page: ErrorPage) -> Middleware:
        """Refuse requests, set headers, show errors with `page`, and log who has read what."""

        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            began = time.perf_counter()
            refusal = self.refusal(request)
            response = page(request, *refusal) if refusal else await _answered(request, handler, page)
            response.headers.update(HEADERS)
            if request.path != ALIVE and not request.path.startswith("/static/"):
                log.info(
                    "console_read",
                    user=self.user(request),
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
        return page(request, 500, "This is a fault of the console. Its log tells more.")
