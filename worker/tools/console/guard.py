"""What every answer of the console has, and whom it refuses: other hosts' names, readers whom nobody has named."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from urllib.parse import unquote

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from worker.messages.hints import printable
from worker.tools.common.selection import BadSelection
from worker.tools.explain.told_command import masked

log = structlog.get_logger(__name__)

ALIVE = "/livez"
"""Asked by kubelet under the address of the pod, and tells nothing."""

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
_SAID = {404: "There is no such page.", 405: "This console only reads."}
_LONGEST_USER = 200
_LONGEST_ASKED = 800

ErrorPage = Callable[[web.Request, int, str], web.StreamResponse]


@dataclass(frozen=True, slots=True)
class Guard:
    """`hosts`: names beside loopback's by which it may be asked; `user_header`: in which a sign-on names the reader."""

    hosts: Collection[str] = ()
    user_header: str | None = None

    def refusal(self, request: web.Request) -> tuple[int, str] | None:
        """Status and sentence; None for who may read."""
        if request.path == ALIVE:
            return None
        named = request.headers.getall("Host", [])
        if len(named) != 1 or _without_port(named[0]) not in {*LOOPBACK, *map(str.lower, self.hosts)}:
            return 421, "This console is not asked by that name: add it with --allowed-host."
        if self.user_header is not None and len(request.headers.getall(self.user_header, [])) > 1:
            return (
                401,
                "The sign-on in front of this console has to set its header in place of one that a browser sends.",
            )
        if self.user_header is not None and not self.user(request):
            return 401, "The sign-on in front of this console did not say who you are."
        return None

    def user(self, request: web.Request) -> str | None:
        """Who reads, by the sign-on; None where the header is there twice: a browser may have sent one of them."""
        named = [] if self.user_header is None else request.headers.getall(self.user_header, [])
        return printable(named[0].strip())[:_LONGEST_USER] or None if len(named) == 1 else None

    def middleware(self, page: ErrorPage) -> Middleware:
        """Refuses, sets the headers of all answers, has errors told by `page`, and logs who has read what."""

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
                    asked=masked(printable(unquote(request.path_qs)))[:_LONGEST_ASKED],
                    status=response.status,
                    ms=round((time.perf_counter() - began) * 1000, 1),
                )
            return response

        return guarded


def _without_port(host: str) -> str:
    """As a browser sends it: lower case for the comparison, an IPv6 address in brackets."""
    name, _, port = host.lower().rpartition(":")
    return name if name and port.isdigit() and not host.endswith("]") else host.lower()


async def _answered(request: web.Request, handler: Handler, page: ErrorPage) -> web.StreamResponse:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await handler(request)
    except BadSelection as error:
        return page(request, 400, str(error))
    except TimeoutError:
        text = "There was no answer in time: others are being answered, or a server is slow. Try again."
        return page(request, 503, text)
    except web.HTTPException as error:
        return page(request, error.status, _SAID.get(error.status, error.reason))
    except Exception:
        log.exception("console_failed", path=printable(request.path))
        return page(request, 500, "That is a fault of the console; its log tells more.")
