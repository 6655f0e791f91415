"""Who is refused by the console, and what each of its answers has; no server is asked for that."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from multidict import CIMultiDict

from worker.tools.common.address import LONGEST
from worker.tools.console.door import NamedByProxy, Reader, Refused
from worker.tools.console.guard import HEADERS, Guard

Client = TestClient[web.Request, web.Application]


@asynccontextmanager
async def _client(guard: Guard) -> AsyncIterator[Client]:
    async def read(request: web.Request) -> web.Response:
        if "boom" in request.query:
            raise RuntimeError("tp_secret_of_ours")
        return web.Response(text="read")

    def page(_: web.Request, status: int, text: str) -> web.Response:
        return web.Response(status=status, text=text)

    app = web.Application(middlewares=[guard.middleware(page)])
    app.router.add_get("/", read)
    app.router.add_get("/livez", read)
    app.router.add_get("/static/console.css", read)
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8090", 200),
        ("127.0.0.1:8090", 200),
        ("[::1]:8090", 200),
        ("[::1]", 200),
        ("console.example.com", 200),
        ("Console.Example.COM:443", 200),
        ("evil.example.com", 421),
        ("localhost.evil.example.com", 421),
        ("evil.example.com:127.0.0.1", 421),
        ("127.0.0.1.nip.io", 421),
        ("localhost:8090:1", 421),
        ("", 421),
    ],
)
async def test_it_is_asked_by_its_own_names_only(host: str, status: int) -> None:
    """A page of somebody else, whose name leads to our address (DNS rebinding), gets nothing."""
    async with _client(Guard(("console.example.com",))) as client:
        answer = await client.get("/", headers={"Host": host})
        assert answer.status == status
        assert ("read" in await answer.text()) is (status == 200)


@pytest.mark.parametrize("hosts", [(), ("localhost", "evil.example.com"), ("localhost", "localhost")])
async def test_it_is_asked_by_one_name(hosts: tuple[str, ...]) -> None:
    """A proxy in front may have looked at the other one. Newer versions of aiohttp refuse two by themselves."""
    request = make_mocked_request("GET", "/", CIMultiDict(("Host", host) for host in hosts))
    refusal = await Guard().reader(request)
    assert isinstance(refusal, Refused)
    assert refusal.status == 421


async def test_probes_come_under_the_address_of_the_pod() -> None:
    """And they bring no user."""
    async with _client(Guard((), NamedByProxy("X-User"))) as client:
        assert (await client.get("/livez", headers={"Host": "10.1.2.3:8090"})).status == 200


async def test_the_style_of_error_pages_needs_no_user() -> None:
    """It is the same for everybody; but no page of somebody else may load it."""
    async with _client(Guard((), NamedByProxy("X-User"))) as client:
        assert (await client.get("/static/console.css")).status == 200
        assert (await client.get("/static/console.css", headers={"Host": "evil.example.com"})).status == 421


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 401), ({"X-User": " "}, 401), ({"x-user": "ann@example.com"}, 200)]
)
async def test_with_a_sign_on_nobody_reads_without_a_name(headers: dict[str, str], status: int) -> None:
    """Whoever comes around the sign-on has none."""
    async with _client(Guard((), NamedByProxy("X-User"))) as client:
        answer = await client.get("/", headers=headers)
        assert (answer.status, answer.headers.get("WWW-Authenticate")) == (status, "Bearer" if status == 401 else None)


@pytest.mark.parametrize("names", [["ann", "eve"], ["ann", "ann"], ["", "eve"]])
async def test_two_names_are_none(names: list[str]) -> None:
    """A sign-on that adds its header behind one that a browser has sent lets the browser choose who reads.

    Seen to read as the first of them.
    """
    sent = CIMultiDict(("X-User", name) for name in names)
    with structlog.testing.capture_logs() as lines:
        async with _client(Guard((), NamedByProxy("X-User"))) as client:
            answer = await client.get("/", headers=sent)
            assert (answer.status, await answer.text()) == (
                401,
                "The sign-on in front of this console must replace the header of a browser, not add another.",
            )
    assert [line["user"] for line in lines] == [None]


@pytest.mark.parametrize("how", ["post", "put", "delete", "patch", "options"])
async def test_it_only_reads(how: str) -> None:
    """No other method has a handler."""
    async with _client(Guard()) as client:
        asking: Callable[..., Any] = getattr(client, how)
        assert (await asking("/")).status == 405
        assert (await client.head("/")).status == 200


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [("/", "localhost", 200), ("/nothing", "localhost", 404), ("/?boom", "localhost", 500), ("/", "evil.example", 421)],
)
async def test_every_answer_has_the_headers(path: str, host: str, status: int) -> None:
    """Also refusals and errors, which say nothing of what went wrong inside."""
    async with _client(Guard()) as client:
        answer = await client.get(path, headers={"Host": host})
        assert answer.status == status
        assert HEADERS.items() <= dict(answer.headers).items()
        assert "secret" not in await answer.text()


async def test_a_door_that_fails_stays_shut() -> None:
    """The page says so, and not why."""

    class Broken:
        async def reader(self, request: web.Request, needed: str) -> Reader | Refused:
            raise RuntimeError("tp_secret_of_ours")

    async with _client(Guard((), Broken())) as client:
        answer = await client.get("/")
        assert (answer.status, await answer.text()) == (500, "This is a fault of the console. Its log says more.")
        assert HEADERS.items() <= dict(answer.headers).items()


async def test_who_reads_what_is_logged_without_what_looks_like_a_key() -> None:
    """One line a request, with the user as the sign-on named him."""
    with structlog.testing.capture_logs() as lines:
        async with _client(Guard((), NamedByProxy("X-User"))) as client:
            await client.get("/", params={"q": 'a "tp_secret_9'}, headers={"X-User": "ann"})
            await client.get("/livez")
    (line,) = lines
    assert (line["event"], line["user"], line["asked"], line["status"]) == ("console_read", "ann", '/?q=a+"tp_…', 200)
    assert len(line["asked"]) < LONGEST
